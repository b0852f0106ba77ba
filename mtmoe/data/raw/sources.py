"""Sources of sentence pairs that a recipe names, each read in its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtmoe.config.settings import Data, Source
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.formats.registry import READERS
from mtmoe.data.raw.sentence_pairs import OnBadLine, Pair, ignore_bad_line
from mtmoe.languages import parse_direction
from mtmoe.progress import Progress, silent


def read_pairs(
    source: Source,
    data: Data,
    cache: Path,
    on_bad_line: OnBadLine | None = None,
    progress: Progress = silent,
) -> Iterator[Pair]:
    """Stream the pairs of a source, in its order and as they stand there (not cleaned). Where ``data`` is of one
    language, the source sides are empty, whatever the source has.

    Files are fetched into ``cache`` when they are not there yet, before this returns. Lines that
    are left out go to ``on_bad_line``, both sides of a pair together. Errors in the text are
    raised on the way, and those that show only at the end (two files of different length, a
    source without a pair) at the end: nothing may be built on pairs of an iterator that was not
    exhausted.
    """
    report = on_bad_line or ignore_bad_line
    if source.direction:
        direction = parse_direction(source.direction)
        languages = {
            "source_language": direction.source,
            "target_language": direction.target,
            "multilingual": None,
        }
        data = data.model_copy(update=languages)
    pairs = READERS[source.format](source, Reading(data, cache, report, progress))
    return (Pair("", target) for _, target in pairs) if data.monolingual else pairs
