#!/usr/bin/env python3
"""Load of a server: throughput against one call of the translator, errors, memory, and SIGTERM in the middle.

    server_load.py RUN LINES [--clients N] [--minutes M] [--lines-a-round N] [--repeats R] [SERVE OPTION ...]

Starts `mtmoe serve RUN --port 0 --quiet SERVE OPTION ...`. In turn, one call of mtmoe.Translator translates lines of
the file LINES, and N clients with a connection each ask the server for the same lines, one a request, each as soon as
it is answered, R times; so on for M minutes of the server's time. At last the server is sent SIGTERM while every client
waits for an answer. Prints the circumstances; for each round lines a second and processor seconds of both; what
failed, what was told to come back (429), how many translations differ; the time of a request; memory of the server at
the begin, after each round and at the end; and the time of single sentences with nothing else to do. Linux only.

The clients are in this process, which takes some of the processor's time. RUN's network computes with as many threads
as torch finds cores, or OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SINGLE_SENTENCES = 60
MOST_RETRIES = 1000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Reads numbers of lines, a range a time; answers with seconds, processor seconds and the translations.
TRANSLATOR = """
import json, sys, time
import mtmoe
mtmoe.prepare_for_translation()
translator = mtmoe.Translator(sys.argv[1])
lines = open(sys.argv[2], encoding="utf-8").read().split("\\n")[:-1]
translator.translate(lines[:32], with_scores=False)
data = translator.loaded.recipe.data
print(json.dumps([data.source_language, data.target_language]), flush=True)
for request in sys.stdin:
    begin, end = map(int, request.split())
    begun, cpu = time.perf_counter(), time.process_time()
    found = translator.translate(lines[begin:end], with_scores=False)
    took = time.perf_counter() - begun, time.process_time() - cpu
    print(json.dumps([*took, [each.text for each in found]]), flush=True)
"""


class Round(NamedTuple):
    """Lines a second and processor milliseconds a line, of the translator and of the server."""

    translator_rate: float
    server_rate: float
    translator_cpu: float
    server_cpu: float


class Counts:
    """What became of the requests."""

    def __init__(self) -> None:
        self.answered = self.differing = self.told_to_come_back = 0
        self.errors: list[str] = []
        self.seconds: list[float] = []


class Connection:
    """A connection that stays open, and speaks as much HTTP as is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, fields: dict[str, object]) -> tuple[int, dict[str, str], bytes]:
        """Send a request to /translate; return status, headers and body."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        body = json.dumps(fields).encode()
        head = (
            f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self._writer.write(head.encode() + b"\r\n" + body)
        await self._writer.drain()
        status = (await self._reader.readline()).split()
        if not status:
            raise ConnectionError("closed without an answer")
        headers = {}
        while line := (await self._reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status[1]), headers, await self._reader.readexactly(int(headers["content-length"]))

    async def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
        self._writer = None


async def client(port: int, lines: Iterator[tuple[str, str]], languages: Sequence[str], counts: Counts) -> None:
    """Ask for one line after the other, as long as there are any."""
    connection = Connection(port)
    for line, expected in lines:
        fields = {"q": line, "source": languages[0], "target": languages[1]}
        begun = time.perf_counter()
        try:
            for _ in range(MOST_RETRIES):
                status, headers, body = await connection.ask(fields)
                if status != 429:
                    break
                counts.told_to_come_back += 1
                await asyncio.sleep(float(headers["retry-after"]))
            if status != 200:
                raise ConnectionError(f"status {status}")
        except (OSError, asyncio.IncompleteReadError) as error:
            counts.errors.append(str(error))
            await connection.close()
            continue
        counts.seconds.append(time.perf_counter() - begun)
        counts.answered += 1
        counts.differing += json.loads(body)["translatedText"] != expected
    await connection.close()


async def all_clients(
    number: int, port: int, pairs: Sequence[tuple[str, str]], languages: Sequence[str], counts: Counts
) -> None:
    """Let so many clients share the lines."""
    lines = iter(pairs)
    await asyncio.gather(*(client(port, lines, languages, counts) for _ in range(number)))


async def stopped_in_the_middle(
    server: subprocess.Popen[str], port: int, number: int, line: str, languages: Sequence[str]
) -> list[str]:
    """Send SIGTERM while clients wait whose requests the server has read; return what each was answered."""
    before = num_lines_asked(port)
    fields = {"q": line, "source": languages[0], "target": languages[1]}
    asked = [asyncio.ensure_future(Connection(port).ask(fields)) for _ in range(number)]
    while await asyncio.to_thread(num_lines_asked, port) < before + number:
        await asyncio.sleep(0.01)
    server.send_signal(signal.SIGTERM)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [str(answer) if isinstance(answer, BaseException) else str(answer[0]) for answer in answers]


def num_lines_asked(port: int) -> float:
    """Return how many lines the server has been asked for."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        content = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in content if line.startswith("mtmoe_lines_total"))


def cpu_seconds(process_id: int) -> float:
    """Return the processor's time that a process has taken."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def megabytes(process_id: int) -> float:
    """Return the resident memory of a process in MB."""
    fields = Path(f"/proc/{process_id}/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) / 1000


def circumstances() -> str:
    """Return date, commit and processor."""
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = f"{models[0].partition(':')[2].strip()}, {os.cpu_count()} cores" if models else "unknown"
    threads = os.environ.get("OMP_NUM_THREADS", "as torch finds")
    return (
        f"date: {time.strftime('%Y-%m-%d')}\ncommit: {commit.stdout.strip()}\n"
        f"processor: {processor}, threads: {threads}"
    )


def main() -> None:
    """Put a server under load and print what it did."""
    parser = argparse.ArgumentParser(prog="server_load.py", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("run")
    parser.add_argument("lines", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--lines-a-round", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=1)
    options, of_serve = parser.parse_known_args()
    lines = options.lines.read_text(encoding="utf-8").split("\n")[:-1]
    print(circumstances())
    command = ["mtmoe", "serve", options.run, "--port", "0", "--quiet", *of_serve]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server,
        subprocess.Popen(
            [sys.executable, "-c", TRANSLATOR, options.run, str(options.lines)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as translator,
    ):
        try:
            assert server.stderr is not None
            address = next(line for line in server.stderr if line.startswith("serving "))
            load(options, lines, server, int(address.rpartition(":")[2]), translator)
            translator.communicate()
            print(f"server: {server.stderr.read().strip()!r}, status {server.wait()}")
        finally:
            server.kill()
            translator.kill()


def load(
    options: argparse.Namespace,
    lines: Sequence[str],
    server: subprocess.Popen[str],
    port: int,
    translator: subprocess.Popen[str],
) -> None:
    """Take rounds for as long as is wanted, then stop the server."""
    assert translator.stdin is not None
    assert translator.stdout is not None
    languages = json.loads(translator.stdout.readline())
    counts, rounds, served_seconds, num_lines = Counts(), [], 0.0, 0
    print(f"memory at the begin: {megabytes(server.pid):.0f} MB")
    begin = 0
    while served_seconds < 60 * options.minutes:
        end = min(begin + options.lines_a_round, len(lines))
        print(begin, end, file=translator.stdin, flush=True)
        seconds, cpu, expected = json.loads(translator.stdout.readline())
        pairs = list(zip(lines[begin:end], expected, strict=True))
        begun, cpu_before = time.perf_counter(), cpu_seconds(server.pid)
        asyncio.run(all_clients(options.clients, port, pairs * options.repeats, languages, counts))
        served, served_cpu = time.perf_counter() - begun, cpu_seconds(server.pid) - cpu_before
        number, asked = end - begin, (end - begin) * options.repeats
        rounds.append(Round(number / seconds, asked / served, 1000 * cpu / number, 1000 * served_cpu / asked))
        print(
            "round: translator {:.1f} lines/s, server {:.1f}; processor {:.2f} and {:.2f} ms a line".format(*rounds[-1])
            + f"; memory {megabytes(server.pid):.0f} MB",
            flush=True,
        )
        served_seconds += served
        num_lines += asked
        begin = end if end < len(lines) else 0
    by_time = statistics.median(each.server_rate / each.translator_rate for each in rounds)
    by_cpu = statistics.median(each.translator_cpu / each.server_cpu for each in rounds)
    percentiles = statistics.quantiles(counts.seconds, n=100)
    print(
        f"requests: {counts.answered} answered, {len(counts.errors)} errors, {counts.told_to_come_back} told to come "
        f"back (429), {counts.differing} translations differ from those of one call\n"
        f"throughput of the server / of one call: {by_time:.2f} by time, {by_cpu:.2f} by processor seconds (medians)\n"
        f"a request: p50 {1000 * percentiles[49]:.0f} ms, p99 {1000 * percentiles[98]:.0f} ms\n"
        f"memory at the end: {megabytes(server.pid):.0f} MB"
    )
    for error in sorted(set(counts.errors)):
        print(f"error: {error} ({counts.errors.count(error)} times)")
    alone = Counts()
    asyncio.run(all_clients(1, port, [(line, "") for line in lines[:SINGLE_SENTENCES]], languages, alone))
    print(f"one client alone: p50 {1000 * statistics.median(alone.seconds):.0f} ms")
    answers = asyncio.run(stopped_in_the_middle(server, port, options.clients, " ".join(lines[:3]), languages))
    told = ", ".join(f"{answers.count(each)} x {each}" for each in sorted(set(answers)))
    print(f"SIGTERM while {options.clients} clients wait: {told}")


if __name__ == "__main__":
    main()
