"""The encoded corpus on disk: flat arrays of subword ids, memory-mapped, so that its size hardly matters.

corpus.json            format version, id type, counts, parts
source.ids.bin         ids of all source sentences, one after the other (no special ids)
source.offsets.npy     int64, pairs + 1: sentence i is ids[offsets[i]:offsets[i + 1]]
target.ids.bin, target.offsets.npy
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Literal, NamedTuple

import numpy as np
from pydantic import Field

from mtmoe.errors import UserError
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, read_json
from mtmoe.system.readable_files import check_readable, unreadable

FORMAT_VERSION = 2
LENGTHS_PER_BLOCK = 1 << 22
_IDS_PER_BLOCK = 1 << 24
_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_REDO = "remove the directory and run `mtmoe preprocess` again"


class _PartRecord(JsonRecord):
    name: str
    weight: Annotated[float, Field(gt=0, le=1e12)]
    num_pairs: _Count


class _About(JsonRecord):
    """The content of corpus.json. No other type of ids: numpy would take some for pointers."""

    id_type: Literal["<u2", "<u4"]
    vocabulary_size: Annotated[int, Field(ge=1, le=1 << 32)]
    num_pairs: _Count
    num_source_tokens: _Count
    num_target_tokens: _Count
    parts: tuple[_PartRecord, ...]


class Part(NamedTuple):
    """A stretch of consecutive pairs that came from one source of the recipe."""

    name: str
    weight: float
    num_pairs: int


class Side:
    """Sentences of one language: ``side[i]`` are the ids of sentence i."""

    def __init__(self, directory: Path, name: str, id_type: np.dtype, num_sentences: int, num_tokens: int) -> None:
        offsets_path, ids_path = directory / f"{name}.offsets.npy", directory / f"{name}.ids.bin"
        self._offsets_path, self._ids_path = offsets_path, ids_path
        self.offsets = _mapped_offsets(offsets_path, num_sentences)
        self.ids = _mapped_ids(ids_path, id_type, num_tokens)
        if self.offsets[0] != 0 or self.offsets[-1] != num_tokens:
            raise UserError(
                f"{offsets_path}: damaged: goes from {self.offsets[0]} to {self.offsets[-1]}, "
                f"but there are {num_tokens} ids",
                fix=_REDO,
            )
        self._lengths: np.ndarray | None = None

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.ids[self.offsets[index] : self.offsets[index + 1]])

    @property
    def lengths(self) -> np.ndarray:
        """Number of subwords of every sentence, int32; computed at the first use."""
        if self._lengths is None:
            lengths = np.empty(len(self.offsets) - 1, np.int32)
            for begin in range(0, len(lengths), LENGTHS_PER_BLOCK):
                end = min(begin + LENGTHS_PER_BLOCK, len(lengths))
                differences = np.diff(self.offsets[begin : end + 1])
                if len(differences) and not 0 <= differences.min() <= differences.max() < 1 << 31:
                    place = begin + int(np.argmax((differences < 0) | (differences >= 1 << 31)))
                    raise UserError(
                        f"{self._offsets_path}: damaged: sentence {place + 1} has length {differences[place - begin]}",
                        fix=_REDO,
                    )
                lengths[begin:end] = differences
            self._lengths = lengths
        return self._lengths

    def check(self, vocabulary_size: int) -> None:
        """Read everything once, at the speed of the disk.

        Raises:
            UserError: lengths that cannot be, or an id that is of no subword: a bit has flipped.
        """
        assert len(self.lengths) == len(self.offsets) - 1
        for begin in range(0, len(self.ids), _IDS_PER_BLOCK):
            block = self.ids[begin : begin + _IDS_PER_BLOCK]
            if int(block.max()) >= vocabulary_size:
                place = begin + int(block.argmax())
                raise UserError(
                    f"{self._ids_path}: damaged: subword {place + 1} is {block.max()}, but there are {vocabulary_size}",
                    fix=_REDO,
                )


class ParallelCorpus:
    """Pairs of encoded sentences. Opening reads the index's ends alone; text is paged in as it is used."""

    def __init__(self, directory: str | Path) -> None:
        """Open a corpus that :class:`CorpusWriter` finished.

        Raises:
            UserError: when it is not one, was cut short, or has another format version.
        """
        self.directory = Path(directory)
        about = _read_about(self.directory)
        self.vocabulary_size = about.vocabulary_size
        self.parts = tuple(Part(part.name, part.weight, part.num_pairs) for part in about.parts)
        id_type, self._num_pairs = np.dtype(about.id_type), about.num_pairs
        self.source_side = Side(self.directory, "source", id_type, self._num_pairs, about.num_source_tokens)
        self.target_side = Side(self.directory, "target", id_type, self._num_pairs, about.num_target_tokens)

    def check(self) -> ParallelCorpus:
        """Return this corpus when everything in it can be; see :meth:`Side.check`."""
        self.source_side.check(self.vocabulary_size)
        self.target_side.check(self.vocabulary_size)
        return self

    def __len__(self) -> int:
        return self._num_pairs

    @property
    def monolingual(self) -> bool:
        """Tell whether no source sentence has a token."""
        return self.num_source_tokens == 0

    def source(self, index: int) -> np.ndarray:
        """Return the ids of a source sentence, without special ids."""
        return self.source_side[index]

    def target(self, index: int) -> np.ndarray:
        """Return the ids of a target sentence, without special ids."""
        return self.target_side[index]

    @property
    def source_lengths(self) -> np.ndarray:
        """Return the subwords of every source sentence, without special ids (int32)."""
        return self.source_side.lengths

    @property
    def target_lengths(self) -> np.ndarray:
        """Return the subwords of every target sentence, without special ids (int32)."""
        return self.target_side.lengths

    @property
    def num_source_tokens(self) -> int:
        """Return the source subwords, without special ids."""
        return len(self.source_side.ids)

    @property
    def num_target_tokens(self) -> int:
        """Return the target subwords, without special ids."""
        return len(self.target_side.ids)


def _read_about(directory: Path) -> _About:
    path = directory / "corpus.json"
    if not path.exists():
        raise UserError(f"{directory}: not an encoded corpus (it has no corpus.json)", fix=_REDO)
    about = read_json(path, _About, fix=_REDO, format_version=FORMAT_VERSION)
    if sum(part.num_pairs for part in about.parts) != about.num_pairs:
        raise UserError(f"{path}: damaged: num_pairs is {about.num_pairs}, which its parts do not add up to", fix=_REDO)
    return about


def _mapped_offsets(path: Path, num_sentences: int) -> np.ndarray:
    check_readable(path)
    try:
        offsets = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:  # what numpy raises over a damaged header
        raise UserError(f"{path}: damaged: {error}", fix=_REDO) from None
    if offsets.shape != (num_sentences + 1,) or offsets.dtype != np.dtype("<i8"):
        raise UserError(
            f"{path}: has {offsets.dtype} of shape {offsets.shape}, but corpus.json tells of {num_sentences} pairs",
            fix=_REDO,
        )
    return offsets


def _mapped_ids(path: Path, id_type: np.dtype, num_tokens: int) -> np.ndarray:
    expected = num_tokens * id_type.itemsize
    found = check_readable(path).stat().st_size
    if found != expected:
        raise UserError(f"{path}: {found} bytes, but {expected} were written; it was cut short or changed", fix=_REDO)
    try:
        # An empty file cannot be mapped.
        return np.memmap(path, dtype=id_type, mode="r") if num_tokens else np.empty(0, id_type)
    except OSError as error:
        raise unreadable(path, error) from None


class EncodedChunk(NamedTuple):
    """Consecutive pairs on their way to disk: flat ids and the length of each sentence."""

    source_ids: np.ndarray
    source_lengths: np.ndarray
    target_ids: np.ndarray
    target_lengths: np.ndarray


def chunk_of(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> EncodedChunk:
    """Flatten the ids of some pairs."""
    return EncodedChunk(*_flattened(sources), *_flattened(targets))


def _flattened(sentences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.fromiter((len(ids) for ids in sentences), np.int64, len(sentences))
    flat = np.fromiter(itertools.chain.from_iterable(sentences), np.uint32, int(lengths.sum()))
    return flat, lengths


class CorpusWriter:
    """Writes a corpus beside its place and moves it there when the ``with`` block ends without an error."""

    def __init__(self, directory: str | Path, vocabulary_size: int) -> None:
        self.directory = Path(directory)
        self.vocabulary_size = vocabulary_size
        self.num_pairs = 0
        self._id_type = np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")
        self._temporary = self.directory.with_name(f".{self.directory.name}.{os.getpid()}.part")

    def __enter__(self) -> CorpusWriter:
        if self.directory.exists():
            raise FileExistsError(f"{self.directory}: a corpus is written to a new directory")
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._source = _SideWriter(self._temporary, "source", self._id_type)
        self._target = _SideWriter(self._temporary, "target", self._id_type)
        return self

    def write(self, chunk: EncodedChunk) -> None:
        """Append pairs.

        Raises:
            ValueError: when an id is not of the vocabulary or the sides differ in number.
        """
        if len(chunk.source_lengths) != len(chunk.target_lengths):
            raise ValueError(f"{len(chunk.source_lengths)} sources, but {len(chunk.target_lengths)} targets")
        for ids in (chunk.source_ids, chunk.target_ids):
            if len(ids) and int(ids.max()) >= self.vocabulary_size:
                raise ValueError(f"id {int(ids.max())} is not of a vocabulary of {self.vocabulary_size}")
        self._source.write(chunk.source_ids, chunk.source_lengths)
        self._target.write(chunk.target_ids, chunk.target_lengths)
        self.num_pairs += len(chunk.source_lengths)

    def finish(self, parts: Sequence[Part]) -> None:
        """Say which part each pair belongs to; without it, leaving the block discards everything.

        Raises:
            ValueError: when the parts do not add up to the pairs that were written.
        """
        if sum(part.num_pairs for part in parts) != self.num_pairs:
            raise ValueError(f"parts {list(parts)} do not add up to {self.num_pairs} pairs")
        about = {
            "format_version": FORMAT_VERSION,
            "id_type": self._id_type.str,
            "vocabulary_size": self.vocabulary_size,
            "num_pairs": self.num_pairs,
            "num_source_tokens": self._source.close(),
            "num_target_tokens": self._target.close(),
            "parts": [part._asdict() for part in parts],
        }
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self._temporary / "corpus.json", text.encode())
        self._temporary.replace(self.directory)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._source.abandon()
        self._target.abandon()
        shutil.rmtree(self._temporary, ignore_errors=True)


class _SideWriter:
    def __init__(self, directory: Path, name: str, id_type: np.dtype) -> None:
        self._id_type = id_type
        self._num_sentences = 0
        self._num_tokens = 0
        self._ids = (directory / f"{name}.ids.bin").open("wb")
        self._offsets = (directory / f"{name}.offsets.npy").open("wb")
        self._header_bytes = self._write_header()
        self._offsets.write(np.zeros(1, "<i8").data)

    def _write_header(self) -> int:
        # NumPy pads a header so that the length can grow in place: it is written again at the end.
        description = {"descr": "<i8", "fortran_order": False, "shape": (self._num_sentences + 1,)}
        self._offsets.seek(0)
        np.lib.format.write_array_header_1_0(self._offsets, description)
        return self._offsets.tell()

    def write(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        # Not with tofile, whose errors do not say that the disk is full.
        self._ids.write(ids.astype(self._id_type).data)
        self._offsets.write((self._num_tokens + np.cumsum(lengths, dtype="<i8")).data)
        self._num_sentences += len(lengths)
        self._num_tokens += len(ids)

    def close(self) -> int:
        """Finish both files; return the number of tokens."""
        if self._write_header() != self._header_bytes:
            raise RuntimeError("the header of the offsets outgrew its place")
        for file in (self._ids, self._offsets):
            _flush_to_disk(file)
        self.abandon()
        return self._num_tokens

    def abandon(self) -> None:
        self._ids.close()
        self._offsets.close()


def _flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
