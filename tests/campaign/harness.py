"""Commands run by the thousand: each in a forked child of a process that has imported everything once, and judged.

``run_cases(cases)`` yields a :class:`Verdict` for each :class:`Case`, several at a time. A case is one command with its
files in a directory of its own. It is good when it

- ends by itself, in time, without a signal, with one of the exit statuses that the case allows;
- shows no traceback and no name of a Python exception;
- with status 1, says ``error:``, then what is wrong, naming something that was given, and what to do about it;
- leaves the files that it was given as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

NUM_AT_ONCE = 2
_MOST_SECONDS = 60.0
_POLL_SECONDS = 0.005
EARLIER = "out.earlier"
_PYTHON_ERROR = re.compile(r"\b(?!UserError)[A-Z]\w+(?:Error|Exception|Warning)\b(?!\s*=)")
_NAMED = re.compile(r"[/.\d'\"=]|--\w|[a-z]_[a-z]|standard output")


class Case(NamedTuple):
    """One command. ``prepare`` fills the working directory; ``arguments`` are relative to it."""

    name: str
    arguments: tuple[str | bytes, ...]
    prepare: Callable[[Path], None] = lambda place: None
    stdin: bytes = b""
    environment: Mapping[str, str | None] = {}
    statuses: tuple[int, ...] = (0, 1, 2)
    limits: Mapping[int, int] = {}
    """Of :mod:`resource`, such as ``{resource.RLIMIT_NOFILE: 20}``."""
    most_seconds: float = _MOST_SECONDS


class Outcome(NamedTuple):
    """What a command did. ``status``: negative for a signal; None where it had to be killed."""

    status: int | None
    output: str
    talk: str
    seconds: float
    changed: tuple[str, ...]


class Verdict(NamedTuple):
    """A case and what is wrong with it; nothing, it is to be hoped."""

    case: Case
    outcome: Outcome
    findings: tuple[str, ...]


_ADVICE = re.compile(r"; |should |it is one of")
"""What says in the line itself what to do: an advice after a semicolon, or the values that a key may have."""


def judge(case: Case, outcome: Outcome) -> tuple[str, ...]:
    """Return what is wrong with an outcome, in words."""
    findings = []
    if outcome.status is None:
        findings.append(f"hang: killed after {case.most_seconds:.0f} s")
    elif outcome.status < 0:
        findings.append(f"signal: {signal.Signals(-outcome.status).name}")
    elif outcome.status not in case.statuses:
        findings.append(f"status: {outcome.status}, not one of {case.statuses}")
    if "Traceback" in outcome.talk or "Traceback" in outcome.output:
        findings.append("traceback")
    elif named := _PYTHON_ERROR.search(outcome.talk):
        findings.append(f"exception's name: {named[0]}")
    if outcome.status == 1:
        findings += _judge_message(outcome.talk, [os.fsdecode(argument) for argument in case.arguments[1:]])
    findings += [f"changed: {name}" for name in outcome.changed]
    return tuple(findings)


def _judge_message(talk: str, given: Sequence[str]) -> Iterator[str]:
    if "error: " not in talk:
        if "warning: " not in talk:  # translate answers a line that cannot be read, and warns
            yield "message: neither error nor warning, with status 1"
        return
    problem, *others = talk[talk.index("error: ") + 7 :].strip().splitlines()
    if not _NAMED.search(problem) and not any(argument and argument in problem for argument in given):
        yield f"message: names no file, line or key: {problem[:100]}"
    if not any(other.strip() for other in others) and not _ADVICE.search(problem):
        yield f"message: does not say what to do: {problem[:100]}"


def run_cases(cases: Iterable[Case], num_at_once: int = NUM_AT_ONCE) -> Iterator[Verdict]:
    """Run the cases and yield what became of each, in the order in which they end."""
    import_everything()
    waiting = iter(cases)
    running: dict[int, _Running] = {}
    while True:
        while len(running) < num_at_once and (case := next(waiting, None)) is not None:
            child = _Running(case)
            running[child.pid] = child
        if not running:
            return
        for pid, child in list(running.items()):
            child.listen()
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended or child.is_late():
                if not ended:
                    child.kill()
                outcome = child.outcome(os.waitstatus_to_exitcode(status) if ended else None)
                del running[pid]
                yield Verdict(child.case, outcome, judge(child.case, outcome))
        time.sleep(_POLL_SECONDS)


def import_everything() -> None:
    """Import what commands import, so that a child need not; nothing is run, for a fork has one thread."""
    import datasets  # noqa: F401
    import numpy  # noqa: F401
    import sacrebleu  # noqa: F401
    import sentencepiece  # noqa: F401
    import torch
    from mtmoe.cli import main  # noqa: F401

    import mtmoe.benchmark.expert_layer
    import mtmoe.checkpoint
    import mtmoe.data.prepared.preparation
    import mtmoe.inference.translator
    import mtmoe.planning.plan
    import mtmoe.training.trainer  # noqa: F401

    torch.set_num_threads(1)


class _Running:
    """A command at work in a child process."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.place = Path(tempfile.mkdtemp(prefix="mtmoe-campaign-"))
        self.work, self.began = self.place / "work", time.monotonic()
        self.work.mkdir()
        case.prepare(self.work)
        self.before = _digests(self.work)
        (self.place / "stdin").write_bytes(case.stdin)
        self._talk = bytearray()
        # Through a pipe: what a case may write into files is limited, and what it says must come through whole.
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become_command(writer)
        os.close(writer)

    def _become_command(self, talk: int) -> NoReturn:
        try:
            os.setsid()
            os.dup2(os.open(self.place / "stdin", os.O_RDONLY), 0)
            os.dup2(os.open(self.place / "stdout", os.O_WRONLY | os.O_CREAT, 0o600), 1)
            os.dup2(talk, 2)
            os.close(talk)
            os.chdir(self.work)
            for name, value in self.case.environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            for kind, most in self.case.limits.items():
                resource.setrlimit(kind, (most, most))
            sys.stdin, sys.stdout, sys.stderr = (
                open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
                for number, mode, errors in (
                    (0, "r", "surrogateescape"),
                    (1, "w", "strict"),
                    (2, "w", "backslashreplace"),
                )
            )
            sys.argv = ["mtmoe", *map(os.fsdecode, self.case.arguments)]
            from mtmoe.cli import run

            run()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1 if end.code else 0
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
            status = 99
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    def listen(self) -> None:
        """Take in what the command has said, so that it need not wait."""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._reader, 1 << 16):
                self._talk += block

    def is_late(self) -> bool:
        return time.monotonic() - self.began > self.case.most_seconds

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def outcome(self, status: int | None) -> Outcome:
        self.listen()
        os.close(self._reader)
        output, talk = _text(self.place / "stdout"), self._talk.decode("utf-8", "replace")
        after = _digests(self.work)
        changed = tuple(
            name
            for name, digest in self.before.items()
            if after.get(name) != digest and (name != EARLIER or (status == 1 and "error: " in talk))
        )
        seconds = time.monotonic() - self.began
        shutil.rmtree(self.place, ignore_errors=True)
        return Outcome(status, output, talk, seconds, changed)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def _digests(place: Path) -> dict[str, str]:
    """Of each input of a case, which is what lies in ``in``, and of an earlier output, which an error must not take.
    The rest is the command's to change."""
    inputs = place / "in"
    found = {}
    for path in (place / EARLIER, *(sorted(inputs.rglob("*")) if inputs.is_dir() else ())):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(place).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def copy_tree(source: Path, place: Path) -> None:
    """Copy a directory, links as links."""
    shutil.copytree(source, place, symlinks=True)


def shown(verdict: Verdict) -> str:
    """Return a failure with what it takes to see it again."""
    arguments = " ".join(repr(argument)[:200] for argument in verdict.case.arguments)
    talk = verdict.outcome.talk.strip().splitlines()[-3:]
    return f"{verdict.case.name}\n  mtmoe {arguments}\n  {'; '.join(verdict.findings)}\n  " + "\n  ".join(talk)


def table(verdicts: Sequence[Verdict]) -> str:
    """Return totals by part: cases, exit statuses, findings by kind."""
    parts: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        parts.setdefault(verdict.case.name.partition(":")[0], []).append(verdict)
    lines = [f"{'part':<12}{'cases':>7}{'status 0':>10}{'1':>7}{'2':>7}{'other':>7}{'findings':>10}"]
    for part, found in [*parts.items(), ("all", list(verdicts))]:
        statuses = [verdict.outcome.status for verdict in found]
        counts = [sum(status == number for status in statuses) for number in (0, 1, 2)]
        bad = sum(bool(verdict.findings) for verdict in found)
        others = len(found) - sum(counts)
        lines.append(f"{part:<12}{len(found):>7}{counts[0]:>10}{counts[1]:>7}{counts[2]:>7}{others:>7}{bad:>10}")
    return "\n".join(lines)
