"""Criteria of a filter: which rules a pair may not break, by what it is measured, and which pairs are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mtmoe.config.settings import Cleaning
from mtmoe.data.cleaning.near_duplicates import MOST_REMEMBERED


class Measure(NamedTuple):
    """A number that says how good a pair is: the larger, the better.

    weight: by which the number is multiplied before all are added up to the score, unless another one is asked for.
    """

    weight: float
    meaning: str


MEASURES: Mapping[str, Measure] = {
    "translation": Measure(1.0, "mean log-probability of a subword, given the other side; of two directions, minus"),
    "coverage": Measure(3.0, "share of the subwords that have a likely translation on the other side"),
    "form": Measure(1.0, "how well lengths, numbers and question marks of the two sides fit, from -4 to 0"),
    "source-lm": Measure(0.2, "mean log-probability of a subword of the source, by a language model"),
    "target-lm": Measure(0.2, "mean log-probability of a subword of the target, by a language model"),
}
"""All measures, by name. The weights put them on the scale of the first, natural logarithms a subword."""

OTHER_LANGUAGE = "other_language"
DUPLICATE, NEAR_DUPLICATE, HELD_OUT = "duplicate", "near_duplicate", "held_out"
NOT_SCORED = "not_scored"
BELOW_LEAST = "below_least"
BELOW_SCORE = "below_score"
RULES = (
    "empty_side", "too_long", "length_ratio", "identical_sides", DUPLICATE, HELD_OUT, NEAR_DUPLICATE, OTHER_LANGUAGE,
    NOT_SCORED, BELOW_LEAST, BELOW_SCORE,
)  # fmt: skip
"""Why a pair is left out: the first of these that is true of it. The first four are rules of `data.cleaning`."""
DEFAULT_SIMILARITY = 0.8


class Criteria(NamedTuple):
    """What is asked of each pair by itself, and of the pairs before it.

    forward, backward: runs that translate the source into the target, and the target into the source.
    source_lm, target_lm: language models of the sides.
    lexicon: a run or data directory, of either direction, whose lexicon says which subwords translate each other.
    with_form: whether lengths, numbers and question marks are compared.
    with_languages: whether pairs with a side in another language are left out.
    with_near_duplicates: whether pairs that nearly repeat an earlier one are left out.
    held_out: files of sentences (of dev and test sets) that no side may nearly repeat.
    similarity: share of n-grams of three characters from which two texts are near duplicates.
    most_remembered: pairs among which near duplicates are looked for, and sentences of ``held_out``.
    """

    forward: Path | None = None
    backward: Path | None = None
    source_lm: Path | None = None
    target_lm: Path | None = None
    lexicon: Path | None = None
    with_form: bool = False
    with_languages: bool = False
    with_near_duplicates: bool = False
    held_out: tuple[Path, ...] = ()
    similarity: float = DEFAULT_SIMILARITY
    cleaning: Cleaning = Cleaning()
    checkpoint: str = "best"
    most_remembered: int = MOST_REMEMBERED

    @property
    def runs(self) -> dict[str, Path]:
        """Return the runs that there are, by what they do."""
        named = {
            "forward": self.forward, "backward": self.backward, "source_lm": self.source_lm,
            "target_lm": self.target_lm, "lexicon": self.lexicon,
        }  # fmt: skip
        return {name: run for name, run in named.items() if run is not None}

    @property
    def measures(self) -> tuple[str, ...]:
        """Return the names of the measures that these criteria ask for, in the order of `MEASURES`."""
        wanted = {
            "translation": self.forward or self.backward, "coverage": self.lexicon, "form": self.with_form,
            "source-lm": self.source_lm, "target-lm": self.target_lm,
        }  # fmt: skip
        return tuple(name for name in MEASURES if wanted[name])


class Selection(NamedTuple):
    """Which of the measured pairs are kept; at most one of the last three is given, and none keeps all.

    weights: of measures, in place of those of `MEASURES`.
    least: of a measure, by its name: pairs with less are left out.
    least_score: pairs with less are left out.
    keep_share: share of the pairs that break no rule which is kept, the best ones.
    keep_pairs: number of pairs that are kept at most, the best ones.
    """

    weights: Mapping[str, float] = {}
    least: Mapping[str, float] = {}
    least_score: float | None = None
    keep_share: float | None = None
    keep_pairs: int | None = None
