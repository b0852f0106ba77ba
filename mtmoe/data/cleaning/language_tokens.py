"""Words in front of a source sentence: the token that names the language to translate into (Johnson et al. 2017), and
the tag of text that a model made (Caswell et al. 2019). And how often each direction is seen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mtmoe.config.settings import Data
from mtmoe.data.prepared.corpus import Part
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.languages import normal_code, parse_direction

LANGUAGE_TOKEN = re.compile(r"<2([A-Za-z0-9]{2,}([-_][A-Za-z0-9]+)*)>")
"""What every language token looks like."""


class TokenedLine(NamedTuple):
    """A line in normal form whose first word may be a language token."""

    token: str
    """In normal form; empty if there is none."""
    text: str
    """The line without it."""

    @property
    def language(self) -> str:
        """Return the code of the language to translate into; empty if there is no token."""
        return self.token.removeprefix("<2").removesuffix(">")

    @property
    def line(self) -> str:
        return f"{self.token} {self.text}".strip()


def language_token(direction: str) -> str:
    """Return ``<2fr>`` of en-fr, ``<2zh-CN>`` of en-zh_cn: one token for a language, however its code is written."""
    return f"<2{normal_code(parse_direction(direction).target)}>"


def tokened(line: str, known: Collection[str]) -> TokenedLine:
    """Divide a line into its language token, if it begins with one of ``known`` in some spelling, and the rest."""
    first, _, text = line.partition(" ")
    match = LANGUAGE_TOKEN.fullmatch(first) if known else None
    token = f"<2{normal_code(match[1])}>" if match else ""
    return TokenedLine(token, text) if token in known else TokenedLine("", line)


def with_token(pair: Pair, direction: str) -> Pair:
    """Put the token in front of the pair's source; leave the pair as it is where there is no direction."""
    return Pair(f"{language_token(direction)} {pair.source}", pair.target) if direction else pair


def without_tag(pair: Pair, tag: str) -> Pair:
    """Take the tag of made text from the pair's source, if it begins with it."""
    source = pair.source.lstrip()
    return Pair(source.removeprefix(f"{tag} "), pair.target) if tag and source.startswith(f"{tag} ") else pair


def with_tag(pair: Pair, tag: str) -> Pair:
    """Put the tag of made text in front of the pair's source; leave the pair as it is where there is none."""
    return Pair(f"{tag} {pair.source}", pair.target) if tag else pair


def language_tokens(data: Data) -> tuple[str, ...]:
    """Return the tokens of all target languages of the training text, each once; none for a recipe of one pair."""
    return tuple(dict.fromkeys(language_token(source.direction) for source in data.train if source.direction))


def balanced_by_temperature(parts: Sequence[Part], directions: Sequence[str], temperature: float) -> list[Part]:
    """Weigh parts so that an epoch has n^(1/T) of each direction's n pairs, in proportion, and as many pairs in all."""
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
