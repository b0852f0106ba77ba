"""Noise on sentences: words are left out, replaced by a filler, and moved.

After Edunov et al. 2018, "Understanding back-translation at scale", section 3.
What is drawn for a line depends on the seed and its number alone.
"""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.data.random_streams import Purpose, random_stream

FILLER = "<BLANK>"
"""What stands in place of a word."""


class Noise(NamedTuple):
    """drop: probability that a word is left out. blank: that one which stays becomes :data:`FILLER`. shuffle: places
    that a word moves at most. The defaults are those of Edunov et al."""

    drop: float = 0.1
    blank: float = 0.1
    shuffle: int = 3


NO_NOISE = Noise(0.0, 0.0, 0)


def noised(text: str, noise: Noise, seed: int, number: int, *, with_spaces: bool = True) -> str:
    """Return the sentence with noise; one that has a word keeps one.

    Args:
        number: of the line, from 0.
        with_spaces: words are what stands between spaces; else each character but spaces is one.
    """
    words = text.split() if with_spaces else [character for character in text if not character.isspace()]
    if not words or noise == NO_NOISE:
        return text
    generator = random_stream(Purpose.NOISE, seed, number)
    drop_N, blank_N, move_N = generator.random((3, len(words)))
    kept = [place for place in range(len(words)) if drop_N[place] >= noise.drop]
    kept = kept or [int(drop_N.argmax())]
    words = [FILLER if blank_N[place] < noise.blank else words[place] for place in kept]
    # A word whose key grows by less than shuffle + 1 cannot come behind one that stood shuffle + 1 places after it.
    keys = [place + (noise.shuffle + 1) * move_N[kept[place]] for place in range(len(words))]
    moved = [words[place] for place in sorted(range(len(words)), key=keys.__getitem__)]
    return (" " if with_spaces else "").join(moved)
