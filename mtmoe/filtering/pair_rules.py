"""Rules that a pair keeps or breaks before anything is measured: cleaning, duplicates, dev and test text.

Pairs are taken one after the other, for what is a duplicate depends on those before.

Letters: F hash functions of a signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mtmoe.data.cleaning.minhash import pair_signature, text_signature
from mtmoe.data.cleaning.near_duplicates import NearDuplicateIndex
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.cleaning.rules import Cleaner
from mtmoe.data.cleaning.sentence_hashes import RecentHashes, hash64
from mtmoe.data.raw.lines import decode_line, open_text_lines
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import DUPLICATE, HELD_OUT, NEAR_DUPLICATE, Criteria


class CheckedPair(NamedTuple):
    """A pair in normal form, and the rule that it breaks; empty if it breaks none."""

    pair: Pair
    broken: str


class PairRules:
    """The rules of the criteria, and what they remember of earlier pairs, in bounded memory."""

    def __init__(self, criteria: Criteria) -> None:
        """Read the held-out sentences.

        Raises:
            UserError: a file of them cannot be read, or they are more than can be remembered.
        """
        self._criteria = criteria
        # Duplicates are looked for here, in bounded memory.
        self._cleaner = Cleaner(criteria.cleaning.model_copy(update={"remove_duplicates": False}))
        self._seen = RecentHashes() if criteria.cleaning.remove_duplicates else None
        self._near = NearDuplicateIndex(criteria.most_remembered) if criteria.with_near_duplicates else None
        self._held_out = _held_out_sentences(criteria) if criteria.held_out else None

    def checked(self, pairs: Iterable[Pair]) -> Iterator[CheckedPair]:
        """Yield every pair in normal form, with the rule that it breaks."""
        for raw in pairs:
            pair = Pair(normalise_line(raw.source), normalise_line(raw.target))
            yield CheckedPair(pair, self._broken_rule(pair))

    def _broken_rule(self, pair: Pair) -> str:
        if broken := self._cleaner.broken_rule(pair):
            return broken
        # A normalised side holds no newline, so the joined text tells the sides apart.
        if self._seen is not None and not self._seen.add(hash64("\n".join(pair))):
            return DUPLICATE
        if self._held_out is not None and any(map(self._is_held_out, pair)):
            return HELD_OUT
        if self._near is not None:
            signature_F = pair_signature(*pair)
            if self._near.nearest(signature_F) >= self._criteria.similarity:
                return NEAR_DUPLICATE
            self._near.add(signature_F)
        return ""

    def _is_held_out(self, text: str) -> bool:
        assert self._held_out is not None
        return self._held_out.nearest(text_signature(text)) >= self._criteria.similarity


def _held_out_sentences(criteria: Criteria) -> NearDuplicateIndex:
    index = NearDuplicateIndex(criteria.most_remembered)
    for path in criteria.held_out:
        for number, line in enumerate(open_text_lines(path), start=1):
            if not (text := normalise_line(decode_line(line, path, number))):
                continue
            if len(index) == criteria.most_remembered:
                raise UserError(
                    f"{path}: line {number:,}: more than {criteria.most_remembered:,} held-out sentences",
                    fix="give the dev and test sentences alone",
                )
            index.add(text_signature(text))
    return index
