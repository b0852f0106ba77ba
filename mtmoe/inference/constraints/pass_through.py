"""Pass-through: which texts of a line come out as they went in (``decoding.pass_through``), and in which of two ways.

Web addresses, tags, emoji and the like are *masked*: the model translates the line without them
(:mod:`mtmoe.inference.text.masking`), so that it need not have seen such text, nor be able to spell it. *Numbers* stay
in the line, for a sentence needs them; a line whose numbers the model has lost or broken is translated once more with
these masked, too.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import regex

from mtmoe.config.placeholder_patterns import NUMBER_KINDS, SECONDS_A_LINE, TookTooLong, placeholder_pattern
from mtmoe.config.settings import Data, Decoding
from mtmoe.data.cleaning.language_tokens import language_tokens, tokened
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.inference.constraints.placeholders import can_be_spelt
from mtmoe.inference.requests import Request
from mtmoe.inference.text.lines import DividedLine, divide_sources, source_text
from mtmoe.inference.text.masking import MaskedText, Span, masked
from mtmoe.inference.text.spelling import Spellings
from mtmoe.inference.text.stand_ins import KINDS_OF_NAMES, Item, stand_ins

_DIGIT = re.compile(r"\d")
_SEPARATORS = {
    **dict.fromkeys(".,'’", "[.,'’ ]?"),  # 1,000.5 is 1.000,5 or 1 000,5 elsewhere
    ":": "(?::|[.]| ?h ?)",
    "-": "[-./]",
    "/": "[-./]",
}
"""What may stand in a translation where a number has a sign between its digits."""


class Masking(NamedTuple):
    """How items of a line are masked.

    with_numbers: mask numbers as well, because the model has not written them. with_stand_ins: let names stand where a
    sentence needs them (:mod:`mtmoe.inference.text.stand_ins`).
    """

    with_numbers: bool = False
    with_stand_ins: bool = True


class PassThrough:
    """Finds what passes through in the lines that a translator is given."""

    def __init__(
        self,
        decoding: Decoding,
        subwords: SubwordModel,
        data: Data,
        user_symbols: Sequence[str] = (),
        names: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Get ready for lines.

        Args:
            data: the languages, of the recipe.
            user_symbols: of the vocabulary; the model was trained to understand them, so they are left to it.
            names: called when the first line needs them; returns names that the model copies
                (:func:`mtmoe.inference.text.stand_ins.copied_names`).
        """
        self._load_names = names
        self._decoding, self._data, self._subwords = decoding, data, subwords
        self._user_symbols = frozenset(user_symbols)
        self._too_slow: dict[str, str] = {}
        self._searched = frozenset(decoding.placeholders)
        kinds = dict.fromkeys((*decoding.placeholders, *decoding.pass_through))
        self._pattern = placeholder_pattern(tuple(kinds)) if kinds else None
        self.number_kinds = tuple(kind for kind in decoding.pass_through if kind in NUMBER_KINDS - self._searched)
        """Kinds of numbers that are masked where the model does not write them by itself."""

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self._subwords.pieces)

    @cached_property
    def _names(self) -> Sequence[str]:
        return self._load_names()

    def masked(self, request: Request, masking: Masking | None = None) -> MaskedText:
        """Return the line of a request, in normal form, without what is masked, or with stand-ins for it.

        What the beginning or a phrase of the translation has already stays where it is.

        Args:
            masking: how, if not as usual.
        """
        with_numbers, with_stand_ins = masking or Masking()
        text = source_text(request.text, self._data)
        if self._pattern is None:
            return MaskedText(text)
        given = (request.prefix, *request.phrases)
        items, kept = [], []
        try:
            for kind, match in self._matches(text):
                is_given = any(match[0] in each for each in given)
                if not is_given and self._is_masked(kind, match[0], with_numbers=with_numbers):
                    items.append(Item(kind, match.start(), match.end()))
                else:
                    kept.append(match[0])
        except TookTooLong:  # the report of the line tells
            return MaskedText(text)
        if not items:
            return MaskedText(text)
        names = self._stand_ins(text, items) if with_stand_ins else [""] * len(items)
        spans = [Span(item.begin, item.end, item.kind == "tags", name) for item, name in zip(items, names, strict=True)]
        return masked(text, spans)._replace(kept_whole=tuple(dict.fromkeys(kept)))

    def _stand_ins(self, text: str, items: Sequence[Item]) -> list[str]:
        if not any(item.kind in KINDS_OF_NAMES for item in items):
            return [""] * len(items)
        known = language_tokens(self._data) if self._data.multilingual is not None else ()
        return stand_ins(text, items, self._names, len(text) - len(tokened(text, known).text))

    def masked_pair(self, source: str, target: str) -> tuple[str, str]:
        """Return a line and a translation of it as the model reads and writes them: without what is masked.

        A translation that does not have all of that once and in order is left as it is, and so is its source.
        """
        line = self.masked(Request(source))
        if not line.items:
            return source, target
        if self._untranslated(line, Request(source)):
            return "", ""
        text = normalise_line(target)
        spans: list[Span] = []
        ends: dict[str, int] = {}  # of what was found last: a text that stands for a name may stand anywhere
        for item in line.items:
            order = item.text if item.stand_in else ""
            begin = text.find(item.text, ends.get(order, 0))
            if begin < 0 or text.count(item.text) != sum(other.text == item.text for other in line.items):
                return source, target
            ends[order] = begin + len(item.text)
            spans.append(Span(begin, ends[order], item.is_tag, item.stand_in))
        spans.sort()
        if any(after.begin < before.end for before, after in itertools.pairwise(spans)):
            return source, target
        return line.text, masked(text, spans).text

    def divided(self, requests: Sequence[Request], maskings: Sequence[Masking] = ()) -> list[DividedLine]:
        """Return the lines of requests in the parts that are translated one by one, without what is masked.

        Args:
            maskings: what is masked of each line; none may be given for the usual of all.
        """
        lines = [
            self.masked(request, masking)
            for request, masking in zip(requests, maskings or [Masking()] * len(requests), strict=True)
        ]
        # Which part of a line a phrase belongs to is not known, so such a line stays whole.
        whole = [bool(request.phrases) for request in requests]
        untranslated = [self._untranslated(line, request) for line, request in zip(lines, requests, strict=True)]
        texts = [MaskedText("") if nothing else line for line, nothing in zip(lines, untranslated, strict=True)]
        divided_lines = divide_sources(texts, self._subwords, self._decoding, self._data, whole=whole)
        return [line._replace(untranslated=nothing) for line, nothing in zip(divided_lines, untranslated, strict=True)]

    def _untranslated(self, line: MaskedText, request: Request) -> str:
        """Return a line that has nothing but items (apart from a language token); else empty."""
        if not line.items:
            return ""
        known = language_tokens(self._data) if self._data.multilingual is not None else ()
        if MaskedText(tokened(line.text, known).text).has_words:
            return ""
        return tokened(source_text(request.text, self._data), known).text

    def _is_masked(self, kind: str, text: str, *, with_numbers: bool) -> bool:
        if kind in self._searched:
            return not can_be_spelt(text, self._spellings)
        return with_numbers or kind not in NUMBER_KINDS

    def lost(self, line: str, translation: str) -> list[str]:
        """Return what should pass through a line and is not in its translation just as often.

        Raises:
            TookTooLong: an expression could not be looked for in time.
        """
        wanted, there = self._counts(line), self._counts(translation)
        return [
            item
            for (kind, item), times in wanted.items()
            if kind not in self._searched
            and times != (_times(item, translation) if kind == "formatted-numbers" else there[kind, item])
        ]

    def report(self, line: str, translation: str) -> list[str]:
        """Return warnings of what a translation of a line has not just as often."""
        try:
            lost = self.lost(line, translation)
        except TookTooLong as expression:
            if str(expression) in self._searched:  # of which the line's constraints tell
                return []
            within = f"decoding.pass_through: {expression} was not found within {SECONDS_A_LINE:g} s"
            return [f"{within}, so that it is left to the model; simplify the expression"]
        return [f"not in the translation just as often (decoding.pass_through): {', '.join(lost)}"] if lost else []

    def lost_numbers(self, line: str, translation: str) -> list[str]:
        """Return those of a line's numbers which its translation does not have just as often, and should."""
        if not self.number_kinds or not _DIGIT.search(line):
            return []
        try:
            numbers = {item for kind, item in self._counts(line) if kind in self.number_kinds}
            return [item for item in self.lost(line, translation) if item in numbers] if numbers else []
        except TookTooLong:  # the report of the line tells
            return []

    def _counts(self, line: str) -> Counter[tuple[str, str]]:
        return Counter((kind, match[0]) for kind, match in self._matches(line))

    def _matches(self, text: str) -> list[tuple[str, regex.Match[str]]]:
        """Return what is found in a text, each with the name by which it was.

        Raises:
            TookTooLong: see there; at once where it has before.
        """
        if self._pattern is None:
            return []
        if text in self._too_slow:
            raise TookTooLong(self._too_slow[text])
        try:
            found = list(self._pattern.finditer(text))
        except TookTooLong as expression:
            self._too_slow[text] = str(expression)
            raise
        return [(self._pattern.kind(match), match) for match in found if match[0] not in self._user_symbols]


def _times(number: str, translation: str) -> int:
    """Return how often a number is in a translation, as it is or with the signs of another language in it."""
    written = "".join(_SEPARATORS.get(sign, sign) for sign in number)
    return len(re.findall(rf"(?<![\d.,:]){written}(?![.,:]?\d)", translation))
