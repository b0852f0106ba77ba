"""Cleaning rules that make text fit for training, each with its own count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtmoe.config.settings import Cleaning
from mtmoe.data.cleaning.contamination_gate import ContaminationGate
from mtmoe.data.cleaning.normal_form import CHANGES, changes_of, normalise_line
from mtmoe.data.cleaning.sentence_hashes import HashSet, hash64
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, SECOND_VARIANT, TOO_LONG, BadLine, Pair

DROPS = (
    "invalid_utf8",
    "unreadable",
    "second_variant",
    "empty_side",
    "too_long",
    "length_ratio",
    "identical_sides",
    "duplicate",
    "in_dev_or_test",
)
"""Counts of pairs that were dropped, each by the first rule that it broke: read = kept + all of these."""
_RULES = {INVALID_UTF8: "invalid_utf8", TOO_LONG: "too_long", SECOND_VARIANT: "second_variant"}
"""Of lines that the readers left out; all others are unreadable."""

_LENGTH_RATIO_OFFSET = 10
"""Characters added to both lengths, so that the ratio says little about short sentences."""


class Cleaner:
    """Applies the recipe's rules to training text, in the fixed order of `CHANGES` and `DROPS`.

    One cleaner serves all sources of a training set, so that duplicates are found across them;
    `new_report` begins the counts of the next source.
    """

    def __init__(
        self, cleaning: Cleaning, contamination_gate: ContaminationGate | None = None, *, monolingual: bool = False
    ) -> None:
        """Begin with no line read. ``monolingual``: the source sides are empty, and no rule looks at them."""
        self._cleaning = cleaning
        self._monolingual = monolingual
        self._contamination_gate = contamination_gate if cleaning.remove_test_overlap else None
        self._seen = HashSet()
        self.report: dict[str, int] = {}
        """Counts by rule since the last `new_report`, from ``read`` to ``kept``."""
        self.new_report()

    def new_report(self) -> None:
        """Begin to count from nothing, in a new dictionary; what was read before stays known as read."""
        self.report = dict.fromkeys(("read", *CHANGES, *DROPS, "kept"), 0)

    def clean(self, pairs: Iterable[Pair], direction: str = "") -> Iterator[Pair]:
        """Yield the pairs that keep all rules, in the normal form of `normalise_line`.

        ``direction``: theirs, where there are several: a pair is no duplicate of one in another direction.
        """
        for raw in pairs:
            self.report["read"] += 1
            pair = Pair(normalise_line(raw.source), normalise_line(raw.target))
            if pair != raw:
                self._count_changes(raw)
            broken = self.broken_rule(pair, direction)
            self.report[broken or "kept"] += 1
            if broken is None:
                yield pair

    def count_bad_line(self, bad_line: BadLine) -> None:
        """Count a line that the reader left out: the ``on_bad_line`` of `read_pairs`."""
        self.report["read"] += 1
        self.report[_RULES.get(bad_line.problem, "unreadable")] += 1

    def broken_rule(self, pair: Pair, direction: str = "") -> str | None:
        """Return the first rule (of `DROPS`) that a pair in normal form breaks; None if it breaks none.

        The pair counts as read: it is a duplicate when it comes again. It is in no report.
        """
        rules = self._cleaning
        num_source, num_target = len(pair.source), len(pair.target)
        if self._monolingual and not num_target:
            return None if rules.keep_blank_lines else "empty_side"
        if not self._monolingual and (not num_source or not num_target):
            return "empty_side"
        if max(num_source, num_target) > rules.max_characters:
            return "too_long"
        if not self._monolingual and (broken := self._broken_rule_of_two_sides(pair)):
            return broken
        # A normalised side holds no newline, so the joined text tells the sides apart.
        if rules.remove_duplicates and not self._seen.add(hash64("\n".join((*pair, direction)))):
            return "duplicate"
        if self._contamination_gate is not None and pair in self._contamination_gate:
            return "in_dev_or_test"
        return None

    def _broken_rule_of_two_sides(self, pair: Pair) -> str | None:
        rules = self._cleaning
        longer, shorter = max(map(len, pair)), min(map(len, pair))
        if longer + _LENGTH_RATIO_OFFSET > rules.max_length_ratio * (shorter + _LENGTH_RATIO_OFFSET):
            return "length_ratio"
        return "identical_sides" if rules.remove_identical_sides and pair.source == pair.target else None

    def _count_changes(self, raw: Pair) -> None:
        for change in dict.fromkeys((*changes_of(raw.source), *changes_of(raw.target))):
            self.report[change] += 1
