"""Rules that make text fit for training, each with its own count; and the one normal form of a line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from mtmoe.config.settings import Cleaning
from mtmoe.data.cleaning.sentence_hashes import HashSet, hash64
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, SECOND_VARIANT, TOO_LONG, BadLine, Pair

# Joiners (U+200C, U+200D) are no ornament: they spell Persian words and hold emoji together.
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb"
_LINE_SEPARATORS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_CONTROL = f"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f{_INVISIBLE}"

_LINE_SEPARATOR = re.compile(f"[{_LINE_SEPARATORS}]")
_CONTROL_CHARACTER = re.compile(f"[{_CONTROL}]")
_TAB = re.compile("[\t\x1f]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise_line(text: str) -> str:
    """Return the form in which text is trained on and translated: one line, NFC, single plain spaces.

    Control characters, byte order marks, soft hyphens, zero-width spaces and direction marks
    vanish; line separators, tabs and every kind of space become a space; runs of them become
    one, and none is left at the ends. Normalising twice changes nothing more.
    """
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL_CHARACTER.sub("", text)
        text = _LONE_SURROGATE.sub("\ufffd", text)
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


def comparison_key(text: str) -> str:
    """Return what is left of a sentence when case, punctuation, spacing and letter forms do not count.

    Two sentences with the same key are the same sentence for the contamination gate and for
    splits. A sentence of nothing but punctuation is its own key.
    """
    text = normalise_line(text)
    if text.isascii():
        letters = _ASCII_UNLETTERS.sub(" ", text.lower())
    else:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        letters = folded.translate(_SPACE_FOR_UNLETTERS)
    return " ".join(letters.split()) or text


def _is_unletter(character: str) -> bool:
    # Marks (M) spell vowels in many scripts, and currency, mathematics and emoji carry meaning.
    category = unicodedata.category(character)
    return category[0] in "PZC" or category == "Sk"


_ASCII_UNLETTERS = re.compile(
    "[" + "".join(re.escape(chr(code)) for code in range(128) if _is_unletter(chr(code))) + "]+"
)


class _SpaceForUnletters(dict[int, int]):
    """A translation table that looks a character up when it meets it first."""

    def __missing__(self, code: int) -> int:
        self[code] = 0x20 if _is_unletter(chr(code)) else code
        return self[code]


_SPACE_FOR_UNLETTERS = _SpaceForUnletters()


class HeldOutKeys:
    """Which sentences of either side are in a dev or test set."""

    def __init__(self, pairs: Iterable[Pair] = (), *, either_way: bool = False) -> None:
        """Hash the sides of the pairs.

        Args:
            either_way: a side is held out on both sides, for text of several directions.
        """
        self._source: set[int] = set()
        self._target: set[int] = self._source if either_way else set()
        for pair in pairs:
            self.add(pair)

    def add(self, pair: Pair) -> None:
        """Hold out both sides; a blank side holds out nothing."""
        for text, keys in ((pair.source, self._source), (pair.target, self._target)):
            key = comparison_key(text)
            if key:
                keys.add(hash64(key))

    def __contains__(self, pair: Pair) -> bool:
        """Tell whether either side of the pair is held out."""
        return (
            hash64(comparison_key(pair.source)) in self._source or hash64(comparison_key(pair.target)) in self._target
        )

    def __len__(self) -> int:
        return len(self._source) + len(self._target)


CHANGES = ("unicode_nfc", "control_characters", "line_separators", "white_space")
"""Counts of pairs that were changed and kept, if nothing else was wrong; a pair may be in several."""
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
        self, cleaning: Cleaning, held_out_keys: HeldOutKeys | None = None, *, monolingual: bool = False
    ) -> None:
        """Begin with no line read. ``monolingual``: the source sides are empty, and no rule looks at them."""
        self._cleaning = cleaning
        self._monolingual = monolingual
        self._held_out_keys = held_out_keys if cleaning.remove_test_overlap else None
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
            broken = self._broken_rule(pair, direction)
            self.report[broken or "kept"] += 1
            if broken is None:
                yield pair

    def count_bad_line(self, bad_line: BadLine) -> None:
        """Count a line that the reader left out: the ``on_bad_line`` of `read_pairs`."""
        self.report["read"] += 1
        self.report[_RULES.get(bad_line.problem, "unreadable")] += 1

    def _broken_rule(self, pair: Pair, direction: str) -> str | None:
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
        if self._held_out_keys is not None and pair in self._held_out_keys:
            return "in_dev_or_test"
        return None

    def _broken_rule_of_two_sides(self, pair: Pair) -> str | None:
        rules = self._cleaning
        longer, shorter = max(map(len, pair)), min(map(len, pair))
        if longer + _LENGTH_RATIO_OFFSET > rules.max_length_ratio * (shorter + _LENGTH_RATIO_OFFSET):
            return "length_ratio"
        return "identical_sides" if rules.remove_identical_sides and pair.source == pair.target else None

    def _count_changes(self, raw: Pair) -> None:
        for change in dict.fromkeys((*_changes(raw.source), *_changes(raw.target))):
            self.report[change] += 1


def _changes(text: str) -> Iterator[str]:
    """Find which of `CHANGES` the normal form makes to the text."""
    if _LINE_SEPARATOR.search(text):
        yield "line_separators"
    if _CONTROL_CHARACTER.search(text) or _TAB.search(text) or _LONE_SURROGATE.search(text):
        yield "control_characters"
    visible = _CONTROL_CHARACTER.sub("", text)
    if not unicodedata.is_normalized("NFC", visible):
        yield "unicode_nfc"
    spaces_only = _LINE_SEPARATOR.sub(" ", _TAB.sub(" ", visible))
    if " ".join(spaces_only.split()) != spaces_only:
        yield "white_space"
