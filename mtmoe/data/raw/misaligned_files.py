"""Where did two files that should be parallel lose each other?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import islice

_NUMBERS = re.compile(rb"\d+")
_LARGEST_LENGTH_COST = 2.0
_LEAST_EVIDENCE = 5.0
"""In standard deviations of a random walk; two unrelated files stay below about 3."""


def first_suspicious_line(
    shorter: Iterable[bytes], longer: Iterable[bytes], longer_again: Iterable[bytes], num_extra: int
) -> int | None:
    """Find the line of the longer file, from 1, at which its ``num_extra`` extra lines seem to begin.

    Up to that line the files fit each other line by line, after it they fit ``num_extra`` lines
    apart. Lengths, numbers and question marks tell how well two lines fit. One pass in constant
    memory, for which the longer file is read twice. None when the evidence is weak, as between
    unrelated files.
    """
    advantage = best = square_sum = 0.0
    best_line = 1
    shifted_lines = islice(longer_again, num_extra, None)
    for number, (line, straight, shifted) in enumerate(zip(shorter, longer, shifted_lines, strict=False), start=1):
        gain = misfit(line, shifted) - misfit(line, straight)
        advantage += gain
        square_sum += gain * gain
        if advantage > best:
            best, best_line = advantage, number + 1
    evidence = (2 * best - advantage) / math.sqrt(square_sum) if square_sum else 0.0
    return best_line if evidence > _LEAST_EVIDENCE else None


def misfit(one: bytes, other: bytes) -> float:
    """Return how badly two lines fit as translations of each other, from 0 to 4: lengths, numbers, question marks."""
    length_cost = abs(math.log((len(one) + 10) / (len(other) + 10)))
    number_cost = float(_NUMBERS.findall(one) != _NUMBERS.findall(other))
    question_cost = float(_is_question(one) != _is_question(other))
    return min(length_cost, _LARGEST_LENGTH_COST) + number_cost + question_cost


def _is_question(line: bytes) -> bool:
    return line.rstrip().endswith(b"?")
