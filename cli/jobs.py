"""An output file that is written bit by bit, and that a killed job can go on with.

Beside the output there are, until it is complete,

::

    .NAME.unfinished    what has been translated
    .NAME.journal       line 1: what is translated, with which model and settings; then, after each chunk,
                        how many lines of the input and bytes of the output are done

The journal is written after the bytes that it tells of are on the disk. What is behind them, of a chunk that was
being written, is cut off when the job goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from mtmoe.errors import UserError

_READ_BYTES = 1 << 20
_IDENTITY_VERSION = 1


class InputFile(NamedTuple):
    """What a job knows of one of its inputs."""

    path: str
    num_lines: int
    digest: str


def examine(path: Path) -> InputFile:
    """Count the lines of a plain or compressed file, and hash its content, in one pass.

    Raises:
        UserError: it cannot be read, or holds no text.
    """
    from mtmoe.data.lines import check_is_text, open_decompressed

    digest = hashlib.blake2b(digest_size=16)
    num_lines, last = 0, b"\n"
    with open_decompressed(path) as stream:
        while block := stream.read(_READ_BYTES):
            if not num_lines and last == b"\n":
                check_is_text(block, path)
            digest.update(block)
            num_lines += block.count(b"\n")
            last = block[-1:]
    return InputFile(str(path), num_lines + (last != b"\n"), digest.hexdigest())


class Job:
    """One output file and what it is the translation of."""

    def __init__(self, output: Path, identity: Mapping[str, Any], inputs: Sequence[InputFile]) -> None:
        """``identity``: everything that the output depends on, besides the inputs; as JSON can say it."""
        self.output = output
        self._partial = output.with_name(f".{output.name}.unfinished")
        self._journal = output.with_name(f".{output.name}.journal")
        contents = [{"num_lines": file.num_lines, "digest": file.digest} for file in inputs]
        names = [file.path for file in inputs]
        self._identity = {"version": _IDENTITY_VERSION, **identity, "input": dict(zip(names, contents, strict=True))}
        self._contents = contents
        self.unreadable = Unreadable()
        """Of the lines that were answered before the output was opened."""

    def begin(self) -> None:
        """Take the output as one of this job's, and what is there as something that it will replace.

        Raises:
            UserError: another process is writing it.
        """
        with open(self._journal, "a+", encoding="utf-8") as journal:
            _lock(journal, self.output)
            journal.truncate(0)
            _append(journal, self._identity)

    @contextlib.contextmanager
    def opened(self, *, resume: bool) -> Iterator[PartialOutput | None]:
        """The output from where it is; None if it is complete already. Complete it with ``finish``.

        What was written stays for ``resume`` when the block is left without it.

        Raises:
            UserError: what is there was made by another job, or another process is writing it.
        """
        with open(self._journal, "a+", encoding="utf-8") as journal:
            _lock(journal, self.output)
            done = self._found(journal) if resume else None
            self.unreadable = done.unreadable if done else Unreadable()
            if done and done.is_finished:
                if self._partial.exists():
                    os.replace(self._partial, self.output)
                yield None
                return
            if done is None:
                done = _Done(0, 0, Unreadable())
                journal.truncate(0)
                _append(journal, self._identity)
                self._partial.write_bytes(b"")
            with self._partial.open("r+b") as file:
                file.truncate(done.num_bytes)
                file.seek(done.num_bytes)
                output = PartialOutput(file, journal, done)
                yield output
            if output.is_finished:
                os.replace(self._partial, self.output)

    def forget(self) -> None:
        """Remove the journal of a complete output."""
        self._journal.unlink(missing_ok=True)

    def _found(self, journal: IO[str]) -> _Done | None:
        """How far the job is; None if it has not begun."""
        journal.seek(0)
        content = journal.read()
        entries = list(_entries(content))
        if content and not content.endswith("\n"):
            journal.write("\n")
        if not entries:
            if self.output.exists():
                self.forget()
                raise UserError(
                    f"{self.output}: exists, and there is no unfinished translation of it to go on with",
                    fix="leave out --resume to translate anew",
                )
            return None
        self._check_identity(entries[0])
        last = entries[-1]
        if last.get("finished") and (self._partial.exists() or self.output.exists()):
            return _Done(0, 0, Unreadable.of(last), is_finished=True)
        entries = [entry for entry in entries if "finished" not in entry]  # what was complete is gone: anew
        num_bytes = self._partial.stat().st_size if self._partial.exists() else 0
        for entry in reversed(entries[1:]):
            if entry["bytes"] <= num_bytes:
                return _Done(entry["lines"], entry["bytes"], Unreadable.of(entry))
        return None

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        before, now = dict(_flat(self._comparable(found))), dict(_flat(self._comparable(self._identity)))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                raise UserError(
                    f"{self.output}: its unfinished translation was begun with {key} = {before.get(key)}, "
                    f"but now it is {now.get(key)}",
                    fix="give the same command as before, or leave out --resume to translate anew",
                )

    def _comparable(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Without the names of the inputs: a file may have moved."""
        inputs = identity.get("input", {})
        numbered = {str(number): content for number, content in enumerate(inputs.values(), start=1)}
        return {**identity, "input": {"files": len(numbered), **numbered}}


class Unreadable(NamedTuple):
    """Lines of the input that could not be read, and what was wrong with the first."""

    number: int = 0
    first_problem: str = ""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Unreadable:
        """Those that a line of the journal tells of."""
        return cls(entry.get("unreadable", 0), entry.get("first_problem", ""))

    def as_entry(self) -> dict[str, Any]:
        """The inverse of :meth:`of`."""
        return {"unreadable": self.number, "first_problem": self.first_problem} if self.number else {}

    def and_then(self, other: Unreadable) -> Unreadable:
        """These, and others of later lines."""
        return Unreadable(self.number + other.number, self.first_problem or other.first_problem)


_ALL_READABLE = Unreadable()


class _Done(NamedTuple):
    num_lines: int
    num_bytes: int
    unreadable: Unreadable
    is_finished: bool = False


class PartialOutput:
    """The unfinished output of a job."""

    def __init__(self, file: IO[bytes], journal: IO[str], done: _Done) -> None:
        self._file = file
        self._journal = journal
        self._unreadable = done.unreadable
        self.num_lines_done = done.num_lines
        """Lines of the input, in all, of which the answers are on the disk."""
        self.is_finished = False

    def write(self, text: str, num_lines: int, unreadable: Unreadable = _ALL_READABLE) -> None:
        """Write the answers to the next ``num_lines`` lines; when this returns they are safe.

        Args:
            unreadable: those among them.
        """
        self._file.write(text.encode("utf-8"))
        _sync(self._file)
        self.num_lines_done += num_lines
        self._unreadable = self._unreadable.and_then(unreadable)
        done = {"lines": self.num_lines_done, "bytes": self._file.tell()}
        _append(self._journal, {**done, **self._unreadable.as_entry()})

    def finish(self) -> None:
        """Say that all is written."""
        _sync(self._file)
        _append(self._journal, {"finished": True, **self._unreadable.as_entry()})
        self.is_finished = True


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _append(journal: IO[str], entry: Mapping[str, Any]) -> None:
    journal.write(json.dumps(entry) + "\n")
    _sync(journal)


def _entries(journal: str) -> Iterator[dict[str, Any]]:
    """Whole entries: a line may have been cut off with the power."""
    for line in journal.splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _lock(journal: IO[str], output: Path) -> None:
    try:
        import fcntl  # not on Windows: there two commands at the same time are not guarded
    except ImportError:
        return
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(
            f"{output}: another process is writing it", fix="wait for it, or write to another file"
        ) from None


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
