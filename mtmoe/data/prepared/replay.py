"""Replay: the text of another data directory, that of a start run as a rule, beside the recipe's own (`data.replay`).

It is read as it was encoded, so that what was held out there stays held out, whatever has become of its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtmoe.config.settings import Data
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.languages import same_language
from mtmoe.system.home_directory import expanded
from mtmoe.system.readable_files import read_bytes

REPLAY = "replay"
"""Name of the old text among the training text and the dev sets; test sets are ``replay-NAME``."""


class ReplayedText(NamedTuple):
    """The text of a data directory. digest: of what it was made of; weight: of its training text."""

    prepared: Prepared
    digest: str
    weight: float

    def train(self) -> Iterator[Pair]:
        """Yield the training pairs, in their order, each as it was encoded."""
        corpus, vocabulary = self.prepared.train, load_vocabulary(self.prepared.subwords_path)
        for number in range(len(corpus)):
            source, target = (vocabulary.decode(side(number).tolist()) for side in (corpus.source, corpus.target))
            yield Pair(source, target)

    def valid(self) -> list[Pair]:
        """Return the dev set; where there were several, all of them."""
        return [Pair(*texts) for texts in zip(self.prepared.valid_source, self.prepared.valid_target, strict=True)]

    def tests(self) -> dict[str, list[Pair]]:
        """Return the test sets, by the names that they get."""
        sets = self.prepared.test_sets
        return {
            f"{REPLAY}-{name}": [Pair(*texts) for texts in zip(*(_lines(path) for path in files), strict=True)]
            for name, files in sets.items()
        }


def open_replay(data: Data) -> ReplayedText | None:
    """Open the text of ``data.replay``; None where there is none.

    Raises:
        UserError: it is no data directory, or is of other languages.
    """
    if data.replay is None:
        return None
    if not data.replay.data_dir:
        raise UserError(
            "data.replay.data_dir is missing", fix="name the DATA_DIR of the old text, or its run by train --from RUN"
        )
    prepared = open_prepared(expanded(data.replay.data_dir))
    old = prepared.data_settings
    sides = ((old.source_language, data.source_language), (old.target_language, data.target_language))
    if old.multilingual is not None or not all(same_language(*side) for side in sides):
        raise UserError(
            f"data.replay.data_dir = {data.replay.data_dir!r}: is text of {old.languages}, but the recipe is of "
            f"{data.languages}",
            fix="replay text of the same two languages, or leave data.replay out",
        )
    return ReplayedText(prepared, prepared.manifest.digest, data.replay.weight)


def _lines(path: Path) -> list[str]:
    return read_bytes(path).decode("utf-8").split("\n")[:-1]
