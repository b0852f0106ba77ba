"""Random numbers that depend on a purpose and a few numbers alone, so that any of them can be drawn anew."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Keeps streams with the same seed apart; the numbers are part of what a seed means."""

    EPOCH_ORDER = 0
    PART_ORDER = 1
    SAMPLING = 2
    MEASUREMENT = 3
    DRAWN_WORDS = 4
    PERTURBATION = 5
    AUGMENTATION = 6
    NOISE = 7


def random_stream(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the generator of the stream."""
    return np.random.Generator(np.random.PCG64([int(purpose), *numbers]))


def random_seeds(purpose: Purpose, *numbers: int, num_seeds: int) -> list[int]:
    """Return seeds of 32 bits for generators of other libraries."""
    seeds: list[int] = np.random.SeedSequence([int(purpose), *numbers]).generate_state(num_seeds).tolist()
    return seeds
