"""The interface of a data format: a function from a source of the recipe to its sentence pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.config.settings import Data, FileLocation
from mtmoe.data.raw.fetching import locate
from mtmoe.data.raw.sentence_pairs import OnBadLine, Pair
from mtmoe.progress import Progress


class Reading(NamedTuple):
    """How a source is read. ``data``: the recipe's table, with the languages of the source's direction."""

    data: Data
    cache: Path
    on_bad_line: OnBadLine
    progress: Progress

    @property
    def skips_invalid(self) -> bool:
        """Tell whether lines that are no text are left out; else they are errors."""
        return self.data.cleaning.on_invalid_utf8 == "skip"

    def locate(self, file: FileLocation) -> Path:
        """Return the path of a file of the recipe, which is fetched into the cache if need be."""
        return locate(file, self.cache, self.progress)


Reader = Callable[[Any, Reading], Iterator[Pair]]
"""Reads a source of its format. Files are located when it is called, pairs are read as they are asked for; lines that
are left out go to ``on_bad_line``. Errors of the text are raised on the way, with file and line."""
