"""Unmasking: what was cut out of a source is put back into its translation, each item once and in the source's order.

An item belongs where the words that stood before it in the source have been translated and those behind it have not
yet. For each gap between words of the translation, the attention tells how much is on the wrong side of it; of all
ways to put the items into gaps in their order, that with the least in sum is taken.

Letters: T target positions, S source positions (both without the end), I items, G gaps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import regex
from torch import Tensor

from mtmoe.inference.text.item_insertion import Unmasked, with_inserted
from mtmoe.inference.text.lines import SourcePart
from mtmoe.inference.text.masking import CLOSING, OPENING, MaskedItem, stand_in_pattern
from mtmoe.inference.text.spelling import spelling

_WORD = re.compile(r"\S+")
_ONE_WORD = regex.compile(
    r"[\p{Katakana}\u30fc]{2}|\p{Latin}{2}|\d{2}|.[\p{M}\u0e30\u0e32\u0e33\u0e45]|[\u0e40-\u0e44]."
)
"""Two signs that nothing is put between. Vowels of Thai stand before or behind their consonant."""
_QUOTES = "'\""
_SPACE = 0.01
"""Cost of white space where the source has none: it decides between the two sides of a space alone."""
_NEIGHBOUR = 0.25
"""Weight of a word that stood beside the item in the source and does so in the translation: it decides between gaps
that are equally good otherwise."""


class Spelt(NamedTuple):
    """Subwords as text, white space before it left out; ``middles`` has the place of each subword in it, that of white
    space alone being where the next word begins; ``ends`` has where subwords end, or nothing if that is not known."""

    text: str
    middles: np.ndarray
    ends: frozenset[int] = frozenset()


def spelt(ids: Sequence[int], pieces: Sequence[str]) -> Spelt:
    """Return what subwords spell; bytes that are no character have one each."""
    parts = [spelling(piece_id, pieces) for piece_id in ids]
    text = b"".join(parts).decode("utf-8", errors="surrogateescape")
    byte_ends = np.cumsum([0, *map(len, parts)])
    byte_begins = byte_ends[:-1] + [len(part) - len(part.lstrip(b" ")) for part in parts]
    ends_of_characters = np.cumsum([0, *(len(sign.encode("utf-8", errors="surrogateescape")) for sign in text)])
    begins, ends = (
        np.interp(places, ends_of_characters, np.arange(len(text) + 1)) for places in (byte_begins, byte_ends[1:])
    )
    stripped = text.lstrip(" ")
    cut = len(text) - len(stripped)
    return Spelt(stripped, (begins + ends) / 2 - cut, frozenset(int(end) - cut for end in ends if end == int(end)))


class Aligned(NamedTuple):
    """A masked source, its translation, and what each subword of that attended to."""

    source: Spelt
    target: Spelt
    attention_TS: np.ndarray


def with_items(
    part: SourcePart,
    ids: Sequence[int],
    attention: Tensor,
    pieces: Sequence[str],
    words_apart: bool,
    prefix_length: int = 0,
) -> Unmasked:
    """Return the translation of a part of a line with the items that were cut out of that.

    Args:
        ids: of the translation.
        attention: [T + 1, S + 1], with the ends.
        words_apart: as for :func:`unmasked`.
        prefix_length: subwords of the translation that were given, into which nothing is put.
    """
    aligned = Aligned(spelt(part.ids, pieces), spelt(ids, pieces), attention[:-1, :-1].double().numpy())
    begin = len(spelt(ids[:prefix_length], pieces).text)
    return unmasked(
        aligned, len(part.text), part.items, words_apart=words_apart, begin=begin, kept_whole=part.kept_whole
    )


def unmasked(
    aligned: Aligned,
    source_length: int,
    items: Sequence[MaskedItem],
    *,
    words_apart: bool,
    begin: int = 0,
    kept_whole: Sequence[str] = (),
) -> Unmasked:
    """Put items into a translation.

    Args:
        source_length: characters of the masked text; where unknown ones are spelt otherwise, places are scaled.
        words_apart: whether the target language divides words by spaces.
        begin: characters of the translation that are a given beginning, into which nothing is put.
        kept_whole: texts into which nothing is put, either.
    """
    text = aligned.target.text
    closed = {
        gap for kept in kept_whole for found in re.finditer(re.escape(kept), text) for gap in range(*found.span())[1:]
    }
    standing = [_place_of_stand_in(item, text, begin) for item in items]
    for item, place in zip(items, standing, strict=True):
        closed |= set(range(place + 1, place + len(item.stand_in)))
    possible = _gaps(text) if words_apart else _gaps_between_signs(aligned.target)
    gaps = [gap for gap in possible if gap >= begin and gap not in closed] or [len(text)]
    scale = len(aligned.source.text) / max(1, source_length)
    scaled = [item._replace(place=round(item.place * scale)) for item in items]
    costs = [_costs(item, scaled, np.array(gaps), aligned) for item, at in zip(scaled, standing, strict=True) if at < 0]
    inserted = iter([gaps[gap] for gap in ascending(np.array(costs))] if costs else ())
    places = [next(inserted) if place < 0 else place for place in standing]
    num_replaced = [len(item.stand_in) if place >= 0 else 0 for item, place in zip(items, standing, strict=True)]
    return with_inserted(text, items, places, num_replaced)


def _place_of_stand_in(item: MaskedItem, text: str, begin: int) -> int:
    """Return where the stand-in of an item is in a text, from ``begin`` on; -1 if it is not there just once."""
    found = [match.start() for match in stand_in_pattern(item).finditer(text)] if item.stand_in else []
    return found[0] if len(found) == 1 and found[0] >= begin else -1


def has_stand_ins(text: str, items: Sequence[MaskedItem]) -> bool:
    """Return whether a translation has the stand-in of each item that has one just once."""
    return all(_place_of_stand_in(item, text, 0) >= 0 for item in items if item.stand_in)


def _gaps_between_signs(target: Spelt) -> list[int]:
    """Return the places of a text without spaces between words where an item can stand: between subwords, but not
    within what is surely a word (katakana, Latin letters, digits) nor before a mark or vowel of the sign before it."""
    text, ends = target.text, target.ends
    return [
        gap
        for gap in range(len(text) + 1)
        if gap in (0, len(text)) or ((gap in ends or not ends) and not _ONE_WORD.match(text, gap - 1))
    ]


def _gaps(text: str) -> list[int]:
    """Return the places of a text where an item can stand: beside words, and between a word and its punctuation."""
    gaps = {0, len(text)}
    for word in _WORD.finditer(text):
        begin = word.end() - len(word[0].lstrip(OPENING + _QUOTES))
        end = word.start() + len(word[0].rstrip(CLOSING + _QUOTES))
        # Before a sign that stands alone ("plaît !") an item stands beside the word.
        gaps |= {word.end(), begin, end} if end == word.start() < begin else {word.start(), word.end(), begin, end}
    return sorted(gaps)


def _costs(item: MaskedItem, items: Sequence[MaskedItem], gaps_G: np.ndarray, aligned: Aligned) -> np.ndarray:
    """Return the cost of each gap for an item; infinite where it cannot stand."""
    source, target, attention_TS = aligned
    far_G = _SPACE * _far_from_word(item, gaps_G, target.text)
    if item.partner >= 0:
        pair_G = _pair_costs(item, items[item.partner], gaps_G, aligned)
        if pair_G is not None:
            return pair_G + far_G
    is_before_S = source.middles < item.place
    before_T = attention_TS[:, is_before_S].sum(axis=1)
    after_T = attention_TS[:, ~is_before_S].sum(axis=1)
    behind_G = np.searchsorted(target.middles, gaps_G)  # subwords before each gap
    costs_G = _sums(after_T)[behind_G] + before_T.sum() - _sums(before_T)[behind_G]
    costs_G -= _NEIGHBOUR * _neighbours(item.place, gaps_G, aligned)
    return np.where(_possible(source.text, item.place, gaps_G, target.text), costs_G + far_G, np.inf)


def _sums(values: np.ndarray) -> np.ndarray:
    """Return the sum of the values before each place."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _neighbours(place: int, gaps_G: np.ndarray, aligned: Aligned) -> np.ndarray:
    """Return how much the subwords beside each gap attend to those beside the place in the source."""
    source, target, attention_TS = aligned
    weights_G = np.zeros(len(gaps_G))
    if not attention_TS.size:
        return weights_G
    first_behind, last = int(np.searchsorted(source.middles, place)), len(target.middles) - 1
    behind_G = np.searchsorted(target.middles, gaps_G)
    if first_behind:
        weights_G += np.where(behind_G > 0, attention_TS[np.maximum(behind_G - 1, 0), first_behind - 1], 0.0)
    if first_behind < len(source.middles):
        weights_G += np.where(behind_G <= last, attention_TS[np.minimum(behind_G, last), first_behind], 0.0)
    return weights_G


def _pair_costs(item: MaskedItem, other: MaskedItem, gaps_G: np.ndarray, aligned: Aligned) -> np.ndarray | None:
    """Return the costs of one of a pair of tags, which stand around the translation of what is between them.

    It is how far a gap is, in subwords, from the first, or behind the last, of those that attend to it most; None if
    nothing is between them.
    """
    source, target, attention_TS = aligned
    first, last = sorted((item.place, other.place))
    is_inside_S = (source.middles > first) & (source.middles < last)
    if not (is_inside_S.any() and len(target.middles)):
        return None
    inside = np.flatnonzero(is_inside_S[attention_TS.argmax(axis=1)])
    if not len(inside):
        inside = attention_TS[:, is_inside_S].sum(axis=1).argmax(keepdims=True)
    wanted = int(inside[0]) if item.place == first else int(inside[-1]) + 1
    distances_G: np.ndarray = np.abs(np.searchsorted(target.middles, gaps_G) - wanted)
    return distances_G.astype(float)


def _far_from_word(item: MaskedItem, gaps_G: np.ndarray, text: str) -> np.ndarray:
    """Return for which gaps there is white space between an item and the side on which it had none in the source."""
    behind_space_G = np.array([text[max(0, gap - 1) : gap] == " " for gap in gaps_G])
    before_space_G = np.array([text[gap : gap + 1] == " " for gap in gaps_G])
    return (behind_space_G & item.is_joined & (not item.goes_on)) | (
        before_space_G & item.goes_on & (not item.is_joined)
    )


def _possible(source: str, place: int, gaps_G: np.ndarray, target: str) -> np.ndarray:
    """Return the gaps that are left where the item stood at an end of the source, but for punctuation."""
    before, behind = source[:place], source[place:]
    only = -1
    if not behind.strip():
        only = gaps_G.max()
    elif not before.strip():
        only = gaps_G.min()
    elif not re.search(r"\w", behind):
        place_of_end = len(target.rstrip(f"{CLOSING}{_QUOTES} "))
        only = max((gap for gap in gaps_G if gap <= place_of_end), default=gaps_G.max())
    possible_G: np.ndarray = (gaps_G == only) | (only < 0)
    return possible_G


def ascending(costs_IG: np.ndarray) -> list[int]:
    """Return a gap for each item, none before that of the item before, with the least sum of costs.

    Where the ends leave no such way, an item stands in the gap of the one before it.
    """
    costs_IG = np.where(np.isfinite(costs_IG), costs_IG, 1e6)
    best_G = costs_IG[0]
    arrived: list[np.ndarray] = []
    for costs_G in costs_IG[1:]:
        # The first of the least so far, up to each gap.
        least_before_G = np.concatenate([[np.inf], np.minimum.accumulate(best_G)[:-1]])
        from_G = np.maximum.accumulate(np.where(best_G < least_before_G, np.arange(len(best_G)), 0))
        arrived.append(from_G)
        best_G = best_G[from_G] + costs_G
    gap = int(np.argmin(best_G))
    gaps = [gap]
    for from_G in reversed(arrived):
        gap = int(from_G[gap])
        gaps.append(gap)
    return gaps[::-1]
