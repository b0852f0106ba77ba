"""Commands killed at random moments: what they make in the end has the bytes that it has without.

``python -m tests.campaign.kills --kills 200 --terms 100 --seed 1`` sends so many SIGKILLs, and so many of SIGTERM,
SIGINT and SIGHUP by turns, to train, filter, translate (a stream, files into one, files into a directory), synthesise,
preprocess (a new directory, one that is there), fetch, average and export, at work in processes of their own that had
torch imported. After each the same command runs to its end, with --resume where it has that. Wrong is: other bytes, a
file too many, a traceback, another status than 128 and the signal's number (0 where the work was done already).
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests import forked
from tests.cli.conftest import recipe_text, write_text
from tests.parallel_text import sentences, write_lines

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_COMPLETE = "there is no unfinished translation of it to go on with"
_BLOCKS, _BLOCK_SECONDS = 20, 0.02  # of a download


class Place(NamedTuple):
    """What all commands start from; nothing of it changes."""

    folder: Path
    run: Path
    data: Path
    recipe: Path
    address: str
    """Of the server of the text that is fetched."""


class Command(NamedTuple):
    """A command that can be killed. ``arguments`` and ``made`` are given a new directory for what it makes."""

    name: str
    arguments: Callable[[Place, Path], list[str | Path]]
    made: Callable[[Path], Path] = lambda work: work / "out"
    begin: Callable[[Place, Path], None] = lambda place, work: None
    resume: Callable[[Path], bool] = lambda work: False
    """Whether --resume is to be added to what was begun there."""
    input: str = ""
    ignored: tuple[str, ...] = (".lock",)
    """Files that are not compared: measurements of time."""


def _copied_run(place: Place, work: Path) -> None:
    shutil.copytree(place.run, work / "out", symlinks=True)


def _fetching(place: Place, work: Path) -> list[str | Path]:
    return ["fetch", place.folder / "fetched.toml", "--cache", work / "out"]


_TRAINED = ("metrics.jsonl", ".lock", "state.json", "tensorboard", "data")
COMMANDS = (
    Command("preprocess", lambda place, work: ["preprocess", place.recipe, work / "out", "--workers", "1"]),
    Command(
        "preprocess into a directory that is there",
        lambda place, work: ["preprocess", place.recipe, work / "out", "--workers", "1"],
        begin=lambda place, work: (work / "out").mkdir(),
    ),
    Command("fetch", _fetching),
    Command("export", lambda place, work: ["export", place.run, work / "out"]),
    Command(
        "average", lambda place, work: ["average", work / "out", "--last", "2"], begin=_copied_run, ignored=_TRAINED[:1]
    ),
    Command(
        "train",
        lambda place, work: ["train", place.recipe, work / "out", "--data", place.data, "--device", "cpu"],
        resume=lambda work: (work / "out" / "recipe.toml").exists(),
        ignored=_TRAINED,
    ),
    Command(
        "filter",
        lambda place, work: [
            "filter", place.folder / "pairs.en", place.folder / "pairs.de", "--form", "--near-duplicates",
            "--keep-share", "0.5", "--scores", "--output", work / "out"
        ],
        resume=lambda work: True,
    ),
    Command(
        "translate a stream",
        lambda place, work: ["translate", place.run, "--device", "cpu", "--output", work / "out"],
        input="valid.en",
    ),
    Command(
        "translate files into one",
        lambda place, work: [
            "translate", place.run, *_texts(place), "--device", "cpu", "--output", work / "out"
        ],
        resume=lambda work: True,
    ),
    Command(
        "translate files into a directory",
        lambda place, work: [
            "translate", place.run, *_texts(place), "--device", "cpu", "--output-dir", work / "out"
        ],
        resume=lambda work: True,
    ),
    Command(
        "synthesise",
        lambda place, work: [
            "synthesise", place.run, place.folder / "train.fr", work / "out", "--method", "top-k", "--device", "cpu"
        ],
        resume=lambda work: True,
    ),
)  # fmt: skip


def _texts(place: Place) -> list[Path]:
    return [place.folder / f"{name}.en" for name in ("valid", "test", "train")]


class Totals(NamedTuple):
    """How many signals there were, by command and by what became of them, and everything that was wrong."""

    sent: Counter[str]
    ends: Counter[str]
    wrong: list[str]


def kill_commands(
    folder: Path, *, num_kills: int, num_terms: int, seed: int, commands: Sequence[Command] = COMMANDS
) -> Totals:
    """Send the signals, one command after the other, and compare."""
    generator = random.Random(seed)
    totals = Totals(Counter(), Counter(), [])
    signals = [signal.SIGKILL] * num_kills + [ENDING[number % len(ENDING)] for number in range(num_terms)]
    generator.shuffle(signals)
    with _prepared(folder) as place:
        undisturbed: dict[str, tuple[dict[str, str], float]] = {}
        for number, sent in enumerate(signals):
            command = commands[(number + seed) % len(commands)]
            if command.name not in undisturbed:
                undisturbed[command.name] = _undisturbed(command, place)
            wrong = _one(command, place, sent, undisturbed[command.name], generator, totals)
            totals.sent[f"{command.name}: {sent.name}"] += 1
            if wrong:
                totals.wrong.append(f"signal {number + 1}, {sent.name} to {command.name}: {wrong}")
                print(totals.wrong[-1], file=sys.stderr, flush=True)
    return totals


def _undisturbed(command: Command, place: Place) -> tuple[dict[str, str], float]:
    """What it makes, and how long it takes."""
    with tempfile.TemporaryDirectory(dir=place.folder) as directory:
        work = Path(directory)
        command.begin(place, work)
        began = time.monotonic()
        finished = _finish(command, place, work)
        assert finished.status == 0, f"{command.name}: {finished.stderr}"
        return _content(work, command), time.monotonic() - began


def _one(
    command: Command,
    place: Place,
    sent: signal.Signals,
    undisturbed: tuple[dict[str, str], float],
    generator: random.Random,
    totals: Totals,
) -> str:
    """One command that is sent a signal and then done to its end; what was wrong, or nothing."""
    expected, seconds = undisturbed
    with tempfile.TemporaryDirectory(dir=place.folder) as directory:
        work = Path(directory)
        command.begin(place, work)
        delay = generator.uniform(0.0, 1.1 * seconds)
        status, told = _signalled(command, place, work, sent, delay)
        totals.ends[_named(status)] += 1
        if "Traceback" in told:
            return f"after {delay:.2f} s: {told}"
        if status not in {0, -sent if sent == signal.SIGKILL else 128 + sent}:
            return f"after {delay:.2f} s: status {status}: {told}"
        finished = _finish(command, place, work)
        if finished.status and _COMPLETE not in finished.stderr:
            return f"after {delay:.2f} s, status {status}; then {finished.status}: {finished.stderr}"
        found = _content(work, command)
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        return f"after {delay:.2f} s, status {status}: differ: {', '.join(different)}" if different else ""


def _signalled(command: Command, place: Place, work: Path, sent: signal.Signals, delay: float) -> tuple[int, str]:
    process = _started(command, place, command.arguments(place, work))
    if process.is_alive_after(delay):
        process.send_signal(sent)
    ended = process.end()
    return ended.status, ended.stderr


def _finish(command: Command, place: Place, work: Path) -> forked.Ended:
    resume = ["--resume"] if command.resume(work) else []
    return _started(command, place, [*command.arguments(place, work), *resume]).end()


def _started(command: Command, place: Place, arguments: Sequence[str | Path]) -> forked.Command:
    text = place.folder / command.input if command.input else os.devnull
    return forked.Command(*arguments, stdin=text, environment=_environment(place))


def _environment(place: Place) -> Mapping[str, str]:
    return {**os.environ, "SSL_CERT_FILE": str(place.folder / "certificate.pem"), "OMP_NUM_THREADS": "1"}


def _content(work: Path, command: Command) -> dict[str, str]:
    """The hash of every file, hidden ones too, by its path."""
    files = (path for path in sorted(work.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not set(path.relative_to(work).parts) & set(command.ignored)
    }


def _named(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)


# ------------------------------------------------------------------------------------------- what they need


@contextmanager
def _prepared(folder: Path) -> Iterator[Place]:
    write_text(folder)
    for code in ("en", "de"):
        write_lines(folder / f"pairs.{code}", sentences(code))
    recipe = folder / "tiny.toml"
    recipe.write_text(recipe_text(folder), encoding="utf-8")
    with _served((folder / "train.en").read_bytes() * 20, folder) as address:
        place = Place(folder, folder / "run", folder / "data", recipe, address)
        (folder / "fetched.toml").write_text(_with_downloads(recipe, address, folder), encoding="utf-8")
        for arguments in (["preprocess", recipe, place.data], ["train", recipe, place.run, "--data", place.data]):
            done = forked.run_command(*arguments, environment=_environment(place))
            assert done.status == 0, done.stderr
        yield place


def _with_downloads(recipe: Path, address: str, folder: Path) -> str:
    """The recipe with its training text on the server, in an archive for one of the two sides."""
    sha256 = hashlib.sha256((folder / "train.en").read_bytes() * 20).hexdigest()
    text = recipe.read_text(encoding="utf-8")
    for language in ("en", "fr"):
        path = f'path = "{folder}/train.{language}"'
        assert path in text
        side = "source_file" if language == "en" else "target_file"
        text = text.replace(f"{side}.{path}", f'{side} = {{ url = "{address}/{language}", sha256 = "{sha256}" }}')
    return text


@contextmanager
def _served(content: bytes, folder: Path) -> Iterator[str]:
    """The address of a slow server of that content on this machine."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True, capture_output=True,
    )  # fmt: skip

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            size = len(content) // _BLOCKS + 1
            for start in range(begin, len(content), size):
                self.wfile.write(content[start : start + size])
                time.sleep(_BLOCK_SECONDS)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The client was killed."""

    server = Server(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Print what was sent, what became of it, and what was wrong; the exit status is 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--terms", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        totals = kill_commands(Path(folder), num_kills=asked.kills, num_terms=asked.terms, seed=asked.seed)
    for title, counts in (("sent", totals.sent), ("exit statuses", totals.ends)):
        print(f"{title}:")
        for name, count in sorted(counts.items()):
            print(f"  {count:5}  {name}")
    print(f"{asked.kills} SIGKILLs and {asked.terms} others, seed {asked.seed}: {len(totals.wrong)} wrong")
    for wrong in totals.wrong:
        print(f"  {wrong}")
    sys.exit(bool(totals.wrong))


if __name__ == "__main__":
    main()
