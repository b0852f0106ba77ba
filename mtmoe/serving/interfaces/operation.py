"""What those ask who run the server: is it alive, is it ready, what does it do; and what all endpoints are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from mtmoe import __version__
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Interface, json_response
from mtmoe.serving.metrics import CONTENT_TYPE
from mtmoe.serving.refusal import Refusal

INTERFACE = Interface("operation", lambda refusal: {"error": refusal.message})


async def health(call: Call) -> Response:
    """Tell that the process answers."""
    return json_response({"status": "ok", "version": __version__})


async def ready(call: Call) -> Response:
    """Tell that requests are translated; 503 while the server is stopping, or if its thread has ended."""
    if not call.service.engine.is_alive:
        raise Refusal(503, "not ready: the server is being stopped")
    return json_response({"status": "ready", "directions": list(map(str, call.service.directions))})


async def metrics(call: Call) -> Response:
    """Send the metrics in the text format of Prometheus."""
    return Response(call.service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def described(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint of the OpenAPI description of these."""
    description = openapi(endpoints)

    async def answer(call: Call) -> Response:
        return json_response(description)

    return Endpoint(INTERFACE, "GET", "/openapi.json", answer, "This description.", is_open=True)


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the description of endpoints in OpenAPI 3.1; the bodies are those that are checked."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for endpoint in endpoints:
        operation: dict[str, Any] = {
            "summary": endpoint.summary,
            "tags": [endpoint.interface.name],
            "operationId": f"{endpoint.method.lower()}{endpoint.path}",
            "responses": {"200": {"description": "The answer."}, "default": {"description": "A refusal, in one line."}},
        }
        if "{" in endpoint.path:
            name = endpoint.path.partition("{")[2].partition("}")[0]
            operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
        if not endpoint.is_open:
            operation["security"] = [{}, {"key": []}]
        if endpoint.model is not None:
            name = f"{endpoint.interface.name}.{endpoint.model.__name__}"
            schema = endpoint.model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[name] = schema
            content = {"schema": {"$ref": f"#/components/schemas/{name}"}}
            kinds = ("application/json", "application/x-www-form-urlencoded")
            operation["requestBody"] = {"required": True, "content": dict.fromkeys(kinds, content)}
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    key = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "mtmoe", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": key}},
    }


ENDPOINTS = [
    Endpoint(INTERFACE, "GET", "/health", health, "Tell that the process answers.", is_open=True),
    Endpoint(INTERFACE, "GET", "/ready", ready, "Tell that requests are translated.", is_open=True),
    Endpoint(INTERFACE, "GET", "/metrics", metrics, "Metrics for Prometheus.", is_open=True),
]
