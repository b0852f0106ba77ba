"""Lines of text to subwords and back, in the one way that translating and scoring share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config.settings import Decoding
from mtmoe.data.cleaning import normalise_line
from mtmoe.data.subwords import SubwordModel


class SourceLine(NamedTuple):
    """A line as the model reads it; without ids there is nothing to translate."""

    ids: list[int]
    warning: str
    """What was done to a line that is too long; else empty."""


def encode_sources(lines: Sequence[str], subwords: SubwordModel, decoding: Decoding) -> list[SourceLine]:
    """Normalise and encode source lines; one that is too long is handled as ``decoding.over_long`` says."""
    encoded = subwords.encode_batch([normalise_line(line) for line in lines])
    return [_bounded(ids, decoding) for ids in encoded]


def _bounded(ids: list[int], decoding: Decoding) -> SourceLine:
    longest = decoding.max_source_tokens
    if len(ids) <= longest:
        return SourceLine(ids, "")
    if decoding.over_long == "empty":
        return SourceLine([], f"left empty: {len(ids)} subwords are more than decoding.max_source_tokens = {longest}")
    return SourceLine(
        ids[:longest], f"source truncated from {len(ids)} to {longest} subwords (decoding.max_source_tokens)"
    )


def encode_targets(lines: Sequence[str], subwords: SubwordModel) -> list[list[int]]:
    """Normalise and encode target lines."""
    return subwords.encode_batch([normalise_line(line) for line in lines])


def decode_line(ids: Sequence[int], subwords: SubwordModel) -> str:
    """Text of a translation. Always one line: byte symbols can spell a line feed, which becomes a space."""
    return normalise_line(subwords.decode(ids))
