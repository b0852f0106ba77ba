"""Several pairs of languages in one corpus: the token that names the language to translate into (Johnson et al. 2017),
and how often each direction is seen."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mtmoe.config.settings import Data
from mtmoe.data.corpus import Part
from mtmoe.data.pairs import Pair

LANGUAGE_TOKEN = re.compile(r"<2[A-Za-z]{2,}>")
"""What every language token looks like."""


def language_token(direction: str) -> str:
    """``<2fr>`` of en-fr."""
    return f"<2{direction.rpartition('-')[2]}>"


def with_token(pair: Pair, direction: str) -> Pair:
    """The pair with the token in front of its source; as it is where there is no direction."""
    return Pair(f"{language_token(direction)} {pair.source}", pair.target) if direction else pair


def language_tokens(data: Data) -> tuple[str, ...]:
    """The tokens of all target languages of the training text, each once; none for a recipe of one pair."""
    return tuple(dict.fromkeys(language_token(source.direction) for source in data.train if source.direction))


def balanced_by_temperature(parts: Sequence[Part], directions: Sequence[str], temperature: float) -> list[Part]:
    """Weights with which an epoch has n^(1/T) of each direction's n pairs, in proportion, and as many pairs in all."""
    sizes: dict[str, int] = {}
    for part, direction in zip(parts, directions, strict=True):
        sizes[direction] = sizes.get(direction, 0) + part.num_pairs
    total = sum(sizes.values())
    shares = {direction: (size / total) ** (1 / temperature) for direction, size in sizes.items() if size}
    sum_of_shares = sum(shares.values())
    return [
        part._replace(weight=shares[direction] / sum_of_shares * total / sizes[direction]) if part.num_pairs else part
        for part, direction in zip(parts, directions, strict=True)
    ]
