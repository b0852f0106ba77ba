"""Server: loads runs and answers requests until it is told to stop; then all that were accepted are answered."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from mtmoe.errors import UserError
from mtmoe.inference.engine import Limits, engine_on_all_cores
from mtmoe.serving.api_keys import read_api_keys
from mtmoe.serving.application import application
from mtmoe.serving.detection import detect
from mtmoe.serving.glossaries import Glossaries
from mtmoe.serving.interfaces.endpoint import Server
from mtmoe.serving.loading import directions_of, load_run
from mtmoe.serving.metrics import Metrics
from mtmoe.serving.reloading import Reloading
from mtmoe.serving.service import RequestLimits, TranslationService

_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 1000
"""Beyond them the answer is 503: each holds memory, whoever it is."""


class ServerOptions(NamedTuple):
    """How a server is run. port 0: any free one. certificate, private_key: of TLS. glossaries: directory of those that
    clients make. pivot: language by way of which to translate where no run does. reload_seconds: how often to look
    whether a run has another checkpoint."""

    runs: Sequence[Path]
    host: str = "127.0.0.1"
    port: int = 8000
    device: str | None = None
    checkpoint: str = "best"
    overrides: Iterable[str] = ()
    api_keys: Path | None = None
    cors_origins: Sequence[str] = ()
    limits: RequestLimits = RequestLimits()
    queue_lines: int = 2000
    certificate: Path | None = None
    private_key: Path | None = None
    logs_requests: bool = True
    glossaries: Path | None = None
    pivot: str | None = None
    reload_seconds: float | None = None


def serve(options: ServerOptions, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP loads all runs anew.

    Args:
        tell: takes lines for whoever runs the server. They have no text of requests.

    Raises:
        UserError: a run, file of keys, glossary, address or certificate that cannot be used.
    """
    keys = None if options.api_keys is None else read_api_keys(options.api_keys)
    tls = _tls(options)
    glossaries = Glossaries(options.glossaries)
    directions_of(options.runs, options.pivot)  # a mistake is told before models are loaded
    overrides = tuple(options.overrides)
    load = partial(load_run, device=options.device, checkpoint=options.checkpoint, overrides=overrides)
    with listening(options.host, options.port) as listener, contextlib.ExitStack() as stack:
        runs = [load(path) for path in options.runs]
        metrics = Metrics(lambda: engine.num_waiting)
        engine = engine_on_all_cores(
            {run.name: run.model for run in runs},
            Limits(queue_lines=options.queue_lines),
            is_on_cpu=all(run.is_on_cpu for run in runs),
            listener=metrics,
        )
        stack.enter_context(engine)
        service = TranslationService(runs, engine, metrics, options.limits, pivot=options.pivot)
        reloading = Reloading(runs, engine, load, options.checkpoint, tell, every_seconds=options.reload_seconds)
        stack.enter_context(reloading)
        del runs  # so that nothing but the engine keeps a model
        detect("Hello", service.directions.sources)  # loads the identifier, which takes seconds
        served = Server(service, keys, tell if options.logs_requests else lambda line: None, glossaries)
        config = uvicorn.Config(
            application(served, cors_origins=options.cors_origins),
            log_config=None,
            access_log=False,  # it would write the query, which may hold text and keys
            server_header=False,
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=_MOST_CONNECTIONS,
            **tls,
        )
        config.load()
        scheme = "https" if options.certificate else "http"
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        for direction in service.directions:
            tell(f"{direction} by {direction.runs}")
        listener.listen(config.backlog)  # who reads the next line may ask at once
        tell(f"serving {scheme}://{shown}:{port}")
        server = DrainingServer(config, tell, reloading.ask)
        server.run(sockets=[listener])
    if not server.force_exit:
        tell("stopped: every accepted request was answered")


class DrainingServer(uvicorn.Server):
    """Takes no more connections after the first SIGTERM or SIGINT, and ends when all requests are answered; calls
    ``reload`` at SIGHUP."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[str], None], reload: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell, self._reload = tell, reload

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at signals, and return in peace: whoever stops a server this way wanted it to end."""
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
            self._tell("stopping at once")
            return
        self.should_exit = True
        self._tell("stopping: no more requests are taken, those at work are answered")


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open the socket that requests come to.

    Raises:
        UserError: no such address here, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: {_reason(error)}", fix="name an address of this machine") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise UserError(f"cannot serve at {host}:{port}: {_reason(error)}", fix="take another --port") from None
        yield listener


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _tls(options: ServerOptions) -> dict[str, Any]:
    """Return uvicorn's settings of TLS, after a look at the files.

    Raises:
        UserError: they are no certificate and its key.
    """
    if options.certificate is None or options.private_key is None:
        return {}
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.certificate, options.private_key)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{options.certificate} and {options.private_key} are no certificate and its key: {_reason(error)}",
            fix="give PEM files, the key without a password",
        ) from None
    return {"ssl_certfile": str(options.certificate), "ssl_keyfile": str(options.private_key)}
