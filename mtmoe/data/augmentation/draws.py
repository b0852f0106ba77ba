"""Which pairs of an epoch are changed, and how: a function of (seed, epoch, pair)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtmoe.config.settings import Augmentation
from mtmoe.data.random_streams import Purpose, random_seeds
from mtmoe.system.splitmix64 import STEP, mix_array


class Draws(NamedTuple):
    """What is done to each of some pairs; the fields of bools are named after the settings."""

    upper_B: np.ndarray
    title_B: np.ndarray
    lower_B: np.ndarray
    noise_B: np.ndarray
    no_punctuation_B: np.ndarray
    typos_B: np.ndarray
    items_B: np.ndarray
    merged_B: np.ndarray
    partner_B: np.ndarray
    """From 0 to 1: which pair is merged with it, as a place among those of the same source of text."""

    def of(self, row: int) -> Kinds:
        """Return what is done to one of the pairs."""
        return Kinds(*(bool(field[row]) for field in self[: len(Kinds._fields)]))

    @property
    def any_B(self) -> np.ndarray:
        """Return whether anything is done to each pair."""
        found: np.ndarray = np.logical_or.reduce(self[: len(Kinds._fields)])
        return found


class Kinds(NamedTuple):
    """What is done to a pair; of the first four at most one."""

    upper: bool = False
    title: bool = False
    lower: bool = False
    noise: bool = False
    no_punctuation: bool = False
    typos: bool = False
    items: bool = False
    merged: bool = False


_NUM_DRAWN = 6  # numbers for each pair


def draws_of(indices: np.ndarray, epoch: int, seed: int, settings: Augmentation) -> Draws:
    """Draw for pairs: for each of them alone, whatever pairs are beside it.

    Args:
        indices: of the pairs in the corpus, [B].
    """
    case_B, mark_B, typo_B, item_B, merge_B, partner_B = _uniform(indices, epoch, seed)
    begin, exclusive = 0.0, []
    for share in (settings.upper, settings.title, settings.lower, settings.noise):
        exclusive.append((begin <= case_B) & (case_B < begin + share))
        begin += share
    upper_B, title_B, lower_B, noise_B = exclusive
    is_text_B = ~noise_B  # a line of noise has nothing to change
    return Draws(
        upper_B,
        title_B,
        lower_B,
        noise_B,
        (mark_B < settings.no_punctuation) & is_text_B,
        (typo_B < settings.typos) & is_text_B,
        (item_B < settings.items) & is_text_B,
        (merge_B < settings.merged) & is_text_B,
        partner_B,
    )


def _uniform(indices: np.ndarray, epoch: int, seed: int) -> np.ndarray:
    """Return ``_NUM_DRAWN`` rows of numbers from 0 to 1, [6, B]: SplitMix64 of the pair's place in its stream."""
    low, high = random_seeds(Purpose.AUGMENTATION, seed, epoch, num_seeds=2)
    places = indices.astype(np.uint64) * np.uint64(_NUM_DRAWN) + np.arange(_NUM_DRAWN, dtype=np.uint64)[:, None]
    bits = mix_array((places + np.uint64(1)) * np.uint64(STEP % (1 << 64)) + np.uint64((high << 32) + low))
    uniform: np.ndarray = (bits >> np.uint64(11)) * 2.0**-53
    return uniform
