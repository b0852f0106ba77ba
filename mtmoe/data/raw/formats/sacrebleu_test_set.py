"""Pairs of the public test sets that sacreBLEU fetches."""

from __future__ import annotations

from collections.abc import Iterator

from mtmoe.config.settings import FileLocation, SacrebleuSource, TextSource
from mtmoe.data.raw.formats.aligned_text import read_aligned_text
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.public_test_sets import test_set_of_source
from mtmoe.data.raw.sentence_pairs import Pair


def read_sacrebleu(source: SacrebleuSource, reading: Reading) -> Iterator[Pair]:
    """Stream the sentences of a test set with their first reference."""
    found = test_set_of_source(source, reading.data)
    text = TextSource(
        name=source.name,
        format="text",
        source_file=FileLocation(path=str(found.source)),
        target_file=FileLocation(path=str(found.references[0])),
    )
    return read_aligned_text(text, reading)
