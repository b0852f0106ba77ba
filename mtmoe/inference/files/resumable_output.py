"""Output file that is written bit by bit, and that a job that was killed can go on with.

Beside the output there are, until it is complete,

::

    .NAME.unfinished    what has been translated
    .NAME.journal       line 1: what is translated, with which model and settings; then, after each chunk,
                        how many lines of the input and bytes of the output are done

The journal is written after the bytes that it tells of are on the disk. What is behind them, of a chunk that was
being written, is cut off when the job goes on. Both are plain files that a job has made: nothing else of these names
is opened.

A command with several outputs has a job for each. The first journal to be written names all of them, and each journal
stays until all outputs are complete: so a command that was killed, whenever that was, knows its own outputs from those
that a user has had there before. A complete output keeps a mark (an extended attribute, where the file system has them)
that says of which job it is: for the command may be killed while it removes the journals, or be given again later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from mtmoe.errors import UserError
from mtmoe.inference.files.journal import (
    NO_FAULTS,
    LineFaults,
    append_entry,
    foreign_file_error,
    opened_own_file,
    read_entries,
    sync_file,
)
from mtmoe.system.atomic_files import (
    check_replaceable,
    hidden_beside,
    make_directory,
    opened_atomically,
    place_of,
    put_in_place,
)
from mtmoe.system.locks import try_lock

_READ_BYTES = 1 << 20
_IDENTITY_VERSION = 1
_BEGINNING = b'{"version": '
_MARK = "user.mtmoe.job"


class InputFile(NamedTuple):
    """An input file: its name, number of lines and hash."""

    path: str
    num_lines: int
    digest: str


def examine_input(path: Path) -> InputFile:
    """Count the lines of a plain or compressed file, and hash its content, in one pass.

    Raises:
        UserError: it cannot be read, or holds no text.
    """
    from mtmoe.data.raw.lines import check_is_text, open_decompressed

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


class ResumableOutput:
    """One output file and what it is the translation of."""

    def __init__(
        self,
        output: Path,
        identity: Mapping[str, Any],
        inputs: Sequence[InputFile],
        *,
        outputs: Sequence[str] = (),
        work: str = "translation",
        afresh: str = "leave out --resume to translate anew",
        composed: Callable[[BinaryIO], Iterable[bytes]] | None = None,
    ) -> None:
        """
        Args:
            identity: everything that the output depends on, besides the inputs; as JSON can say it.
            outputs: the names of all outputs of a command that may have several.
            work, afresh: what the output is, and how it is begun anew; for messages.
            composed: yields the output bit by bit, made of all that was written; by default it is just that.

        Raises:
            OSError: the output cannot be written, or is no file.
        """
        self.output = output
        self._place = place_of(output)
        check_replaceable(self._place)
        self._partial = hidden_beside(self._place, "unfinished")
        self._journal = hidden_beside(self._place, "journal")
        contents = [{"num_lines": file.num_lines, "digest": file.digest} for file in inputs]
        names = [file.path for file in inputs]
        self._identity = {"version": _IDENTITY_VERSION, **identity, "input": dict(zip(names, contents, strict=True))}
        self._outputs = list(outputs)
        self._work, self._afresh = work, afresh
        self._composed = composed
        self.faults = LineFaults()
        """Of the lines that were answered before the output was opened."""

    @property
    def is_begun(self) -> bool:
        """Return whether a job has begun with the output and not ended yet, be it this or another."""
        return self._journal.exists()

    def begin(self) -> None:
        """Take the output as one of this job's, and what is there as something that it will replace.

        Raises:
            UserError: another process is writing it, or there are files in the way.
        """
        self._check_nothing_is_in_the_way()
        with self._opened_journal() as journal:
            self._write_first_entry(journal)

    def _check_nothing_is_in_the_way(self) -> None:
        if os.path.lexists(self._partial) and not self._journal.exists():
            raise foreign_file_error(self._partial)

    def begun_outputs(self) -> set[str]:
        """Return the names of the outputs that were begun together with this one; none if this one was not begun."""
        if not self._journal.exists():
            return set()
        with self._opened_journal() as journal:
            entries = list(read_entries(journal.read(), self._journal))
        return set(entries[0].get("outputs", ())) if entries else set()

    @contextlib.contextmanager
    def opened(self, *, resume: bool, is_begun: bool = False) -> Iterator[PartialOutput | None]:
        """Yield the output from where it is, to be completed with ``finish``; None if it is complete already.

        What was written stays for ``resume`` when the block is left without it.

        Args:
            is_begun: an earlier command has begun with this output, though nothing of it may be there yet.

        Raises:
            UserError: what is there was made by another job, or another process is writing it.
        """
        self._check_nothing_is_in_the_way()
        if resume and not self._journal.exists() and self._place.exists():
            marked = self._marked()
            if marked is not None:
                self.faults = marked
                yield None
                return
            if not is_begun:
                raise UserError(
                    f"{self.output}: exists, and there is no unfinished {self._work} of it to go on with",
                    fix=self._afresh,
                )
        with self._opened_journal() as journal:
            done = self._found(journal) if resume else None
            self.faults = done.faults if done else LineFaults()
            if done and done.is_finished:
                if self._partial.exists():
                    self._complete()
                yield None
                return
            if done is None:
                done = _Done(0, 0, LineFaults())
                self._write_first_entry(journal)
            with opened_own_file(self._partial) as file:
                file.truncate(done.num_bytes)
                file.seek(done.num_bytes)
                output = PartialOutput(file, journal, done, self._partial)
                yield output
            if output.is_finished:
                self.faults = output.faults
                self._complete()

    def _complete(self) -> None:
        """Let the output take its place."""
        if self._composed is None:
            put_in_place(self._partial, self._place)
            return
        make_directory(self._place.parent)
        with self._partial.open("rb") as written, opened_atomically(self._place) as output:
            output.writelines(self._composed(written))
        self._partial.unlink()

    def remove_journal(self) -> None:
        """Remove the journal of a complete output, and mark the output as this job's."""
        self._set_mark()
        self._journal.unlink(missing_ok=True)

    def _set_mark(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(self._place, _MARK, self._mark(self.faults))

    @contextlib.contextmanager
    def _opened_journal(self) -> Iterator[IO[bytes]]:
        with opened_own_file(self._journal) as journal:
            if not try_lock(journal.fileno(), self.output):
                raise UserError(
                    f"{self.output}: another process is writing it", fix="wait for it, or write to another file"
                )
            first = journal.readline()
            if first and not first.startswith(_BEGINNING):
                raise UserError(
                    f"{self._journal}: is no journal of a {self._work}, which would have this name",
                    fix="move it away, or write to another file",
                )
            journal.seek(0)
            yield journal

    def _write_first_entry(self, journal: IO[bytes]) -> None:
        journal.seek(0)
        journal.truncate()
        append_entry(journal, {**self._identity, "outputs": self._outputs})

    def _mark(self, faults: LineFaults) -> bytes:
        """Return which job the output is of, that nobody has changed it since, and what was wrong with its lines."""
        about = self._place.stat()
        told = {**self._comparable(self._identity), "size": about.st_size, "time": about.st_mtime_ns}
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()
        return json.dumps({"job": digest, **faults.as_entry()}).encode()

    def _marked(self) -> LineFaults | None:
        """Return what a complete output of this very job is marked with; None if it is none."""
        with contextlib.suppress(OSError, AttributeError, UserError):
            found = os.getxattr(self._place, _MARK)
            for entry in read_entries(found, self._place):
                faults = LineFaults.from_entry(entry)
                return faults if found == self._mark(faults) else None
        return None

    def _found(self, journal: IO[bytes]) -> _Done | None:
        """Return how far the job is; None if it has not begun."""
        content = journal.read()
        entries = list(read_entries(content, self._journal))
        if content and not content.endswith(b"\n"):
            journal.write(b"\n")
        if not entries:
            return None
        self._check_identity(entries[0])
        last = entries[-1]
        if last.get("finished") and (self._partial.exists() or self._place.exists()):
            return _Done(0, 0, LineFaults.from_entry(last), is_finished=True)
        entries = [entry for entry in entries if "finished" not in entry]  # what was complete is gone: anew
        num_bytes = self._partial.stat().st_size if self._partial.exists() else 0
        for entry in reversed(entries[1:]):
            if "lines" in entry and "bytes" in entry and entry["bytes"] <= num_bytes:
                return _Done(entry["lines"], entry["bytes"], LineFaults.from_entry(entry))
        return None

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        before, now = dict(_flat(self._comparable(found))), dict(_flat(self._comparable(self._identity)))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                raise UserError(
                    f"{self.output}: its unfinished {self._work} was begun with {key} = {before.get(key)}, "
                    f"but now it is {now.get(key)}",
                    fix=f"give the same command as before, or {self._afresh}",
                )

    def _comparable(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out the names of the inputs, as a file may have moved, and those of the other outputs."""
        inputs = identity.get("input", {})
        numbered = {str(number): content for number, content in enumerate(inputs.values(), start=1)}
        others = {key: value for key, value in identity.items() if key != "outputs"}
        return {**others, "input": {"files": len(numbered), **numbered}}


class _Done(NamedTuple):
    num_lines: int
    num_bytes: int
    faults: LineFaults
    is_finished: bool = False


class PartialOutput:
    """The unfinished output of a job."""

    def __init__(self, file: IO[bytes], journal: IO[bytes], done: _Done, path: Path) -> None:
        self._file, self._path, self._num_bytes_before = file, path, done.num_bytes
        self._journal = journal
        self.faults = done.faults
        self.num_lines_done = done.num_lines
        """Lines of the input, in all, of which the answers are on the disk."""
        self.is_finished = False

    def write(self, text: str, num_lines: int, faults: LineFaults = NO_FAULTS) -> None:
        """Write the answers to the next ``num_lines`` lines; when this returns they are safe.

        Args:
            faults: those of these lines.
        """
        self._file.write(text.encode("utf-8"))
        sync_file(self._file)
        self.num_lines_done += num_lines
        self.faults = self.faults.plus(faults)
        done = {"lines": self.num_lines_done, "bytes": self._file.tell()}
        append_entry(self._journal, {**done, **self.faults.as_entry()})

    def lines_before(self) -> Iterator[bytes]:
        """Yield the lines that were there when the output was opened, with their line ends."""
        num_bytes = 0
        with self._path.open("rb") as file:
            while num_bytes < self._num_bytes_before:
                line = file.readline()
                num_bytes += len(line)
                yield line

    def finish(self) -> None:
        """Say that all is written."""
        sync_file(self._file)
        append_entry(self._journal, {"finished": True, **self.faults.as_entry()})
        self.is_finished = True


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
