"""Registry of the formats of training text.

A new one is a settings class in ``config/settings/data.py``, a module here with a
:data:`~mtmoe.data.raw.formats.reading.Reader`, and a line in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from mtmoe.config.settings import HuggingFaceSource, TmxSource
from mtmoe.data.raw.formats.aligned_text import read_aligned_text, read_lines
from mtmoe.data.raw.formats.hugging_face import read_hugging_face
from mtmoe.data.raw.formats.json_lines import read_json_lines
from mtmoe.data.raw.formats.reading import Reader, Reading
from mtmoe.data.raw.formats.tmx import read_tmx
from mtmoe.data.raw.formats.tsv import read_tsv
from mtmoe.data.raw.sentence_pairs import Pair


def _read_tmx(source: TmxSource, reading: Reading) -> Iterator[Pair]:
    languages = reading.data.source_language, reading.data.target_language
    return read_tmx(reading.locate(source.file), *languages, reading.on_bad_line, skip=reading.skips_invalid)


def _read_hugging_face(source: HuggingFaceSource, reading: Reading) -> Iterator[Pair]:
    return read_hugging_face(source, reading.data, reading.on_bad_line)


READERS: dict[str, Reader] = {
    "text": read_aligned_text,
    "lines": read_lines,
    "tsv": read_tsv,
    "jsonl": read_json_lines,
    "tmx": _read_tmx,
    "huggingface": _read_hugging_face,
}
"""The reader of each ``format`` of a source."""
