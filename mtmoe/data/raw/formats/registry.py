"""Registry of the formats of training text.

A new one is a settings class in ``config/settings/data.py``, a module here with a
:data:`~mtmoe.data.raw.formats.reading.Reader`, and a line in :data:`READERS`.
"""

from __future__ import annotations

from mtmoe.data.raw.formats.aligned_text import read_aligned_text, read_lines
from mtmoe.data.raw.formats.hugging_face import read_hugging_face
from mtmoe.data.raw.formats.json_lines import read_json_lines
from mtmoe.data.raw.formats.reading import Reader
from mtmoe.data.raw.formats.sacrebleu_test_set import read_sacrebleu
from mtmoe.data.raw.formats.tmx import read_tmx_source
from mtmoe.data.raw.formats.tsv import read_tsv

READERS: dict[str, Reader] = {
    "text": read_aligned_text,
    "lines": read_lines,
    "tsv": read_tsv,
    "jsonl": read_json_lines,
    "tmx": read_tmx_source,
    "huggingface": read_hugging_face,
    "sacrebleu": read_sacrebleu,
}
"""The reader of each ``format`` of a source."""
