"""A training pair as people type it: what becomes of its two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.data.augmentation.aligned_places import AlignedPlace
from mtmoe.data.augmentation.draws import Kinds
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.perturbations.end_punctuation import without_end_punctuation
from mtmoe.data.perturbations.insertion import Place, inserted, num_words
from mtmoe.data.perturbations.items import ITEM_KINDS, drawn_item
from mtmoe.data.perturbations.letter_case import lower_case, title_case, upper_case
from mtmoe.data.perturbations.sentences import merged, noise_line
from mtmoe.data.perturbations.typos import with_typos
from mtmoe.languages import Direction


class PairText(NamedTuple):
    """A pair in normal form, without its language token."""

    source: str
    target: str


def changed_pair(
    pair: PairText,
    kinds: Kinds,
    random: np.random.Generator,
    direction: Direction,
    *,
    typo_rate: float,
    places: Sequence[AlignedPlace] = (),
    partner: PairText | None = None,
) -> PairText:
    """Return the pair with changes of these kinds.

    Capitals are for both sides, items are the same on both; else the target says what it said.

    Args:
        direction: the two languages, by their codes; either may be empty.
        typo_rate: words of the source with a typo, if there are any.
        places: where an item may stand, beside the ends.
        partner: the pair to merge with; the same is done to it, without an item.
    """
    if kinds.noise:
        line = noise_line(random)
        return PairText(line, line)
    source, target = _typed(pair, kinds, random, direction, typo_rate)
    if kinds.items:
        source, target = _with_item(PairText(source, target), random, places)
    if kinds.merged and partner is not None:
        second = _typed(partner, kinds, random, direction, typo_rate)
        source = merged(source, second.source, direction.source)
        target = merged(target, second.target, direction.target)
    return PairText(normalise_line(source), normalise_line(target))


def _typed(
    pair: PairText, kinds: Kinds, random: np.random.Generator, direction: Direction, typo_rate: float
) -> PairText:
    source, target = pair
    if kinds.no_punctuation:
        source = without_end_punctuation(source)
    if kinds.upper:
        capitals = upper_case(source, direction.source)
        # A source without case says nothing of that of its translation.
        source, target = capitals, upper_case(target, direction.target) if capitals != source else target
    elif kinds.title:
        source = title_case(source, direction.source)
    elif kinds.lower:
        source = lower_case(source, direction.source)
    if kinds.typos:
        source = with_typos(source, typo_rate, random, direction.source)
    return PairText(source, target)


def _with_item(pair: PairText, random: np.random.Generator, places: Sequence[AlignedPlace]) -> PairText:
    """Insert an item in front of a pair of aligned words half the time, if there are any, else at an end."""
    kind = ITEM_KINDS[random.integers(len(ITEM_KINDS))]
    item = drawn_item(kind, random)
    is_joined = kind == "tag" and bool(random.random() < 0.5)
    if places and random.random() < 0.5:
        words = places[int(random.integers(len(places)))]
        at = [Place(word, is_joined=is_joined) for word in words]
    elif (where := random.integers(3)) == 0:
        at = [Place(0, is_joined=is_joined)] * 2
    else:
        at = [Place(num_words(text), is_before_mark=bool(where == 2)) for text in pair]
    return PairText(*(inserted(text, item, place) for text, place in zip(pair, at, strict=True)))
