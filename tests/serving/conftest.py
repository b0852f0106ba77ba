"""A real server on a free port, with an untrained run; what is told it and what it says."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

from mtmoe.inference.engine import Limits, TranslationEngine
from mtmoe.inference.translator import Translator
from mtmoe.serving.api_keys import add_api_key, read_api_keys
from mtmoe.serving.application import application
from mtmoe.serving.glossaries import Glossaries
from mtmoe.serving.interfaces.endpoint import Server
from mtmoe.serving.loading import ServedRun, load_run
from mtmoe.serving.metrics import Metrics
from mtmoe.serving.server import listening
from mtmoe.serving.service import RequestLimits, TranslationService
from tests.inference.conftest import SENTENCES, untrained_run
from tests.serving.models import HeldRun


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class RunningServer:
    """A server in a thread. ``log`` has the lines that it wrote about requests."""

    def __init__(
        self,
        runs: Sequence[ServedRun],
        *,
        keys: Path | None = None,
        limits: RequestLimits = RequestLimits(),  # noqa: B008, it is immutable
        queue_lines: int = 100,
        cors_origins: Sequence[str] = (),
        glossaries: Path | None = None,
        pivot: str | None = None,
    ) -> None:
        self.log: list[str] = []
        self.metrics = Metrics(lambda: self.engine.num_waiting)
        models = {run.name: run.model for run in runs}
        self.engine = TranslationEngine(models, Limits(queue_lines=queue_lines), listener=self.metrics)
        service = TranslationService(runs, self.engine, self.metrics, limits, pivot=pivot)
        server = Server(service, read_api_keys(keys) if keys else None, self.log.append, Glossaries(glossaries))
        app = application(server, cors_origins=cors_origins)
        self._listening = listening("127.0.0.1", 0)
        self._socket = self._listening.__enter__()
        self._socket.listen()
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> RunningServer:
        self.engine.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()
        self.engine.close()
        self._listening.__exit__(None, None, None)

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Send a request: ``body`` as it is, or else ``fields`` as JSON."""
        sent = dict(headers or {})
        if body is None and fields:
            body = json.dumps(fields)
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode("utf-8"))
        finally:
            connection.close()


@pytest.fixture(scope="session")
def english_french(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run."""
    return untrained_run(tmp_path_factory.mktemp("en-fr"), SENTENCES)


@pytest.fixture(scope="session")
def translator(english_french: Path) -> Translator:
    """What `mtmoe translate` translates with."""
    return Translator(english_french, device="cpu")


@pytest.fixture(scope="session")
def french_english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another untrained run, of the other direction."""
    text = {"format": "text", "name": "x", "source_file": {"path": "x.fr"}, "target_file": {"path": "x.en"}}
    data = {"source_language": "fr", "target_language": "en", "train": [text], "valid": [text], "test": [text]}
    return untrained_run(tmp_path_factory.mktemp("fr-en"), SENTENCES, seed=3, data=data)


@pytest.fixture(scope="session")
def server(
    english_french: Path, french_english: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server of two runs, without keys."""
    runs = [load_run(path, device="cpu") for path in (english_french, french_english)]
    with RunningServer(runs, glossaries=tmp_path_factory.mktemp("glossaries")) as running:
        yield running


@pytest.fixture(scope="session")
def keyed(english_french: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    """A server that asks for a key, and the key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    key = add_api_key(keys, "anna")
    with RunningServer([load_run(english_french, device="cpu")], keys=keys) as running:
        yield running, key


@pytest.fixture
def held() -> HeldRun:
    """A run that waits."""
    return HeldRun()


@pytest.fixture
def running() -> Callable[..., RunningServer]:
    """Make a server: a context."""
    return RunningServer
