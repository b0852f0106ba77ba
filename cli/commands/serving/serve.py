"""``mtmoe serve``: runs as an HTTP server with a page."""

from __future__ import annotations

from pathlib import Path

import click

from mtmoe.errors import UserError
from mtmoe.system.process_settings import prepare_for_translation

from ...console import note
from ...options import FILE, MODEL, RealRange, checkpoint_option, decoding_set_option, device_option

_DAY_SECONDS = 86_400


@click.command()
@click.argument("runs", metavar="RUN...", type=MODEL, nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all of them.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Its port; 0 is any free one."
)
@click.option("--api-keys", type=FILE, metavar="KEYS", help="Ask for a key; KEYS is made by `mtmoe add-key`.")
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin (https://example.org, or `*`) ask the server. Can be repeated.",
)
@click.option(
    "--max-characters",
    type=click.IntRange(1, 10_000_000),
    default=20_000,
    show_default=True,
    help="Of all texts of a request.",
)
@click.option(
    "--max-lines", type=click.IntRange(1, 1_000_000), default=500, show_default=True, help="Of all texts of a request."
)
@click.option(
    "--max-queue",
    "queue_lines",
    type=click.IntRange(1, 10_000_000),
    default=2000,
    show_default=True,
    help="Lines that may wait; beyond them the answer is 429, with the seconds after which to try again.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=RealRange(0, _DAY_SECONDS, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds after which a request is given up.",
)
@click.option(
    "--glossaries",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the glossaries that clients make in DIR; without it, none can be made.",
)
@click.option(
    "--pivot",
    metavar="LANGUAGE",
    help="Where no run translates a direction, go by way of this language: de-en and en-fr serve de-fr, too.",
)
@click.option(
    "--reload",
    "reload_seconds",
    type=RealRange(0, _DAY_SECONDS, min_open=True),
    metavar="SECONDS",
    help="Look every so many seconds whether a run has another checkpoint, and go on with it. SIGHUP does so at once.",
)
@click.option("--tls-certificate", "certificate", type=FILE, help="Serve HTTPS with this certificate chain (PEM) ...")
@click.option("--tls-key", "private_key", type=FILE, help="... and its private key (PEM).")
@click.option("--quiet", is_flag=True, help="Do not write a line about each request to standard error.")
@checkpoint_option
@decoding_set_option
@device_option
def serve(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    api_keys: Path | None,
    cors_origins: tuple[str, ...],
    max_characters: int,
    max_lines: int,
    queue_lines: int,
    timeout_seconds: float,
    glossaries: Path | None,
    pivot: str | None,
    reload_seconds: float | None,
    certificate: Path | None,
    private_key: Path | None,
    quiet: bool,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Serve a page to translate at, and interfaces that programs know.

    Clients of LibreTranslate, DeepL and OpenAI work as they are. Each RUN gives a direction, a multilingual one
    several. A line gets the translation that `mtmoe translate` gives it, whatever else is translated at the time.

    \b
    /                       a page to translate at
    /translate              LibreTranslate; also /detect, /languages, /frontend/settings
    /v2/translate           DeepL; also /v2/languages, /v2/usage, /v2/glossaries
    /v1/chat/completions    OpenAI; also /v1/models
    /health, /ready         for whoever watches the server
    /metrics                for Prometheus
    /openapi.json           all of it described

    Needs the extra: pip install 'mtmoe[serve]'. Only this machine can ask, unless --host says otherwise. SIGTERM and
    Ctrl-C answer what was accepted, and end with status 0; given twice, they end at once. SIGHUP loads all RUNs anew,
    without a lost request.
    """
    if (certificate is None) != (private_key is None):
        raise click.UsageError("--tls-certificate and --tls-key belong together: give both")
    try:
        from mtmoe.serving.server import ServerOptions, serve
    except ModuleNotFoundError as error:
        raise UserError(f"mtmoe serve needs {error.name}", fix="pip install 'mtmoe[serve]'") from None
    from mtmoe.serving.service import RequestLimits

    prepare_for_translation()
    options = ServerOptions(
        runs,
        host,
        port,
        device=device,
        checkpoint=checkpoint,
        overrides=overrides,
        api_keys=api_keys,
        cors_origins=cors_origins,
        limits=RequestLimits(max_characters, max_lines, timeout_seconds),
        queue_lines=queue_lines,
        certificate=certificate,
        private_key=private_key,
        logs_requests=not quiet,
        glossaries=glossaries,
        pivot=pivot,
        reload_seconds=reload_seconds,
    )
    serve(options, note)
