"""Health, readiness, metrics, and the description of all endpoints."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mtmoe.serving.application import endpoints


def values(text: str) -> dict[tuple[str, ...], float]:
    """Return samples by name and labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_health_and_readiness(server: Any, running: Any, held: Any) -> None:
    assert server.send("GET", "/health").json["status"] == "ok"
    assert server.send("GET", "/ready").json == {"status": "ready", "directions": ["en-fr", "fr-en"]}
    with running([held.served()]) as other:
        other.engine.close()
        assert other.send("GET", "/health").status == 200
        assert other.send("GET", "/ready").status == 503


def test_metrics_count_what_was_done(server: Any) -> None:
    before = values(server.send("GET", "/metrics").text)
    server.send("POST", "/translate", q="One.\nTwo.", source="en", target="fr")
    server.send("POST", "/translate", q="One.", source="en", target="xx")
    after = values(server.send("GET", "/metrics").text)

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert grown("mtmoe_lines_total", "en-fr") == 2
    assert grown("mtmoe_characters_total", "en-fr") == 8
    assert grown("mtmoe_requests_total", "libretranslate", "200") == 1
    assert grown("mtmoe_requests_total", "libretranslate", "400") == 1
    assert after[("mtmoe_waiting_lines",)] == 0


def test_the_description_has_every_endpoint_and_leads_nowhere_else(server: Any) -> None:
    description = server.send("GET", "/openapi.json").json
    described = {(path, method.upper()) for path, methods in description["paths"].items() for method in methods}
    assert described == {(each.path, each.method) for each in endpoints()} - {("/openapi.json", "GET")}
    for methods in description["paths"].values():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"]["$ref"].removeprefix("#/components/schemas/")
                assert description["components"]["schemas"][name]["properties"]
