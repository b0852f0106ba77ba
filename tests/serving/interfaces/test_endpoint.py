"""What must not be believed: bodies, fields and paths from outside. Each refusal is one line of JSON."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.loading import ServedRun
from mtmoe.serving.service import RequestLimits
from tests.inference.held_models import AtOnce

JSON = {"Content-Type": "application/json"}
MESSAGE: dict[str, Callable[[Any], str]] = {
    "/translate": lambda answer: answer["error"],
    "/v2/translate": lambda answer: answer["message"],
    "/v1/chat/completions": lambda answer: answer["error"]["message"],
    "/mtmoe/translate": lambda answer: answer["error"],
}
GOOD: dict[str, dict[str, Any]] = {
    "/translate": {"q": "Hello.", "source": "en", "target": "fr"},
    "/v2/translate": {"text": ["Hello."], "source_lang": "EN", "target_lang": "FR"},
    "/v1/chat/completions": {"model": "en-fr", "messages": [{"role": "user", "content": "Hello."}]},
    "/mtmoe/translate": {"text": "Hello.", "source": "en", "target": "fr"},
}


def refused(answer: Any, path: str, status: int) -> str:
    """Return the message of a refusal, which is one line."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    message = MESSAGE[path](answer.json)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("path", MESSAGE)
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON at line 1, column 2"),
        (b"[1]", 400, "must be a JSON object"),
        (b'{"q": NaN}', 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b'{"q": ' + b"9" * 5000 + b"}", 400, "no JSON"),
        (b"\xff\xfe{}", 400, ""),
        (b'{"q": "\xff"}', 400, "encoding"),
        (b"", 400, "Field required"),
        (b" " * 400_000, 413, "the most"),
    ],
)
def test_bodies_that_are_none(server: Any, path: str, body: bytes, status: int, said: str) -> None:
    assert said in refused(server.send("POST", path, body, JSON), path, status)


@pytest.mark.parametrize("path", MESSAGE)
def test_fields_of_wrong_types(server: Any, path: str) -> None:
    for key in GOOD[path]:
        for wrong in (None, 5, {"a": [1]}, [{}], True):
            if (path, key, wrong) != ("/v2/translate", "source_lang", None):
                message = refused(server.send("POST", path, None, None, **GOOD[path] | {key: wrong}), path, 400)
                assert message.startswith(key)


@pytest.mark.parametrize("path", MESSAGE)
def test_languages_that_are_no_languages(server: Any, path: str) -> None:
    for value in ("xx\r\nSet-Cookie: a=b", "../../etc/passwd", "<script>alert(1)</script>", "e" * 5000, "\ud800", "\0"):
        for key in {"source", "target", "source_lang", "target_lang", "model"} & GOOD[path].keys():
            answer = server.send("POST", path, None, None, **GOOD[path] | {key: value})
            message = refused(answer, path, 404 if key == "model" else 400)
            assert "set-cookie" not in {name.lower() for name in answer.headers}
            assert len(message) < 400


@pytest.mark.parametrize("path", MESSAGE)
def test_a_body_of_another_kind_and_a_method_that_is_not_for_the_path(server: Any, path: str) -> None:
    assert "must be" in refused(server.send("POST", path, b"x", {"Content-Type": "text/xml"}), path, 415)
    assert "not for this path" in refused(server.send("DELETE", path), path, 405)


def test_paths_that_are_none_are_told_in_the_form_of_the_interface(server: Any) -> None:
    assert server.send("GET", "/nothing").json == {"error": "there is nothing here"}
    assert server.send("GET", "/v2/nothing").json == {"message": "there is nothing here"}
    assert server.send("GET", "/v1/nothing").json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/page.css/../../server.py", "/%2e%2e/server.py", "//etc/passwd", "/page/index.html"]
)
def test_no_path_leads_to_a_file(server: Any, path: str) -> None:
    assert server.send("GET", path).status == 404


def test_lone_surrogates_and_control_characters_are_translated_somehow(server: Any) -> None:
    assert server.send("POST", "/translate", q="a \ud800 b \0 \x1b[2J", source="en", target="fr").status == 200


def test_a_length_that_is_a_lie_and_one_beyond_all_numbers(server: Any) -> None:
    for length in ("9" * 30, "999999999"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            head = f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}"
            connection.sendall(f"{head}\r\n\r\n{{}}".encode())
            assert connection.recv(100).split()[1] in (b"413", b"400")


def test_a_form_of_very_many_fields(server: Any) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.send("POST", "/translate", "q=a&" * 5000, form).status == 400


def test_limits_of_a_request(running: Any) -> None:
    model = AtOnce(lambda lines, wanted: [Translation("")] * len(lines))
    run = ServedRun("r", [ServedDirection("en", "fr", "r")], model, 0)
    with running([run], limits=RequestLimits(max_characters=10, max_lines=2)) as server:
        good = GOOD["/translate"]
        many = server.send("POST", "/translate", **good | {"q": ["aaaaa", "bbbbbb"]})
        assert refused(many, "/translate", 413) == "the request has 11 characters, and 10 are the most"
        lines = server.send("POST", "/translate", **good | {"q": "a\nb\n\nc"})
        assert refused(lines, "/translate", 413) == "the request has 3 lines, and 2 are the most"
        assert server.send("POST", "/translate", **good | {"q": "a\nb\n"}).status == 200


def test_a_full_queue_is_told_with_the_time_to_come_back(running: Any, held: Any) -> None:
    with running([held.served()], queue_lines=1, limits=RequestLimits(timeout_seconds=0.2)) as server:
        jobs = []
        jobs.append(server.engine.submit("held", [Request("a")]))
        assert held.begun.acquire(timeout=60)
        jobs.append(server.engine.submit("held", [Request("b")]))
        for path in MESSAGE:
            answer = server.send("POST", path, None, None, **GOOD[path])
            assert "1 lines are waiting" in refused(answer, path, 429)
            assert int(answer.headers["retry-after"]) >= 1
        server.engine.cancel(jobs[1])
        late = server.send("POST", "/translate", **GOOD["/translate"])  # waits for what holds the engine
        assert "not translated in time" in refused(late, "/translate", 504)
        assert server.engine.num_waiting == 0
        held.go.release(9)
    assert held.batches == [["a"]]


def test_who_leaves_is_not_waited_for(running: Any, held: Any) -> None:
    with running([held.served()]) as server:
        first = server.engine.submit("held", [Request("a")])
        assert held.begun.acquire(timeout=60)
        body = json.dumps(GOOD["/translate"]).encode()
        head = f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            until(lambda: server.engine.num_waiting == 1)
        until(lambda: server.engine.num_waiting == 0)
        held.go.release()
        first.future.result(60)
        until(lambda: any(" 499 " in line for line in server.log))
    assert held.batches == [["a"]]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    import time

    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_mistake_of_the_server_tells_no_text(running: Any) -> None:
    def translate(lines: Any, wanted: Wanted) -> list[Translation]:
        raise RuntimeError(f"cannot translate {lines[0].text}")

    with running([ServedRun("r", [ServedDirection("en", "fr", "r")], AtOnce(translate), 0)]) as server:
        for path in MESSAGE:
            message = refused(server.send("POST", path, None, None, **GOOD[path]), path, 500)
            assert "Hello" not in message
    assert any(line.startswith("error: RuntimeError at ") for line in server.log)
    assert "Hello" not in "".join(server.log)


def test_the_log_has_no_text_and_no_query(server: Any) -> None:
    server.send("POST", "/translate?q=Secret&source=en&target=fr")
    server.send("GET", "/translate?q=Secret")
    server.send("POST", "/translate", **GOOD["/translate"] | {"q": "Secret"})
    assert any(line.startswith("POST /translate 200 in ") for line in server.log)
    assert "Secret" not in "".join(server.log)
    assert "Secret" not in server.send("GET", "/metrics").text


def test_keys_are_asked_for_where_text_is_sent(keyed: Any) -> None:
    server, key = keyed
    for path in MESSAGE:
        status = 401 if path.startswith("/v1") else 403
        assert refused(server.send("POST", path, None, None, **GOOD[path]), path, status) == "an API key is needed"
        wrong = {"Authorization": "Bearer wrong", **JSON}
        body = json.dumps(GOOD[path])
        assert refused(server.send("POST", path, body, wrong), path, status) == "the API key is not known"
        for scheme in ("Bearer", "DeepL-Auth-Key"):
            assert server.send("POST", path, body, {"Authorization": f"{scheme} {key}", **JSON}).status == 200
    for path in ("/health", "/ready", "/languages", "/openapi.json"):
        assert server.send("GET", path).status == 200
    assert any(line.endswith(" by anna") for line in server.log)


def test_other_origins_are_let_in_where_they_are_named(server: Any, running: Any, held: Any) -> None:
    origin = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in server.send("GET", "/health", headers=origin).headers
    with running([held.served()], cors_origins=["https://example.org"]) as other:
        allowed = other.send("GET", "/health", headers=origin).headers["access-control-allow-origin"]
        assert allowed == "https://example.org"
        assert (
            "access-control-allow-origin" not in other.send("GET", "/health", headers={"Origin": "https://x"}).headers
        )
