"""Lines of text to subwords and back, in the one way that translating and scoring share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config.settings import Data, Decoding
from mtmoe.data.cleaning import normalise_line
from mtmoe.data.directions import LANGUAGE_TOKEN, language_tokens
from mtmoe.data.subwords import SubwordModel
from mtmoe.inference.sentences import divided
from mtmoe.inference.spelling import as_spelt


class SourceLine(NamedTuple):
    """A line as the model reads it; without ids there is nothing to translate."""

    ids: list[int]
    warning: str
    """What was done to a line that is too long; else empty."""


class SourcePart(NamedTuple):
    """What is translated at once: a line, or a part of one that is too long."""

    text: str
    ids: list[int]
    word_number: int
    """In the normalised line, from 0, of the part's first word."""


class DividedLine(NamedTuple):
    """A line in the parts that are translated one by one; a blank line has none."""

    parts: tuple[SourcePart, ...]
    warning: str


def encode_sources(lines: Sequence[str], subwords: SubwordModel, decoding: Decoding) -> list[SourceLine]:
    """Normalise and encode source lines; one that is too long is handled as ``decoding.over_long`` says.

    Here a line is one sequence: a line that translating would split is whole.
    """
    encoded = subwords.encode_batch([normalise_line(line) for line in lines])
    return [_bounded(ids, decoding) for ids in encoded]


def _bounded(ids: list[int], decoding: Decoding) -> SourceLine:
    longest = decoding.max_source_tokens
    if len(ids) <= longest:
        return SourceLine(ids, "")
    beyond = f"{len(ids)} subwords are more than decoding.max_source_tokens = {longest}"
    if decoding.over_long == "empty":
        return SourceLine([], f"left empty: {beyond}")
    if decoding.over_long == "split":
        return SourceLine(ids, f"taken as one sentence, though {beyond}")
    return SourceLine(
        ids[:longest], f"source truncated from {len(ids)} to {longest} subwords (decoding.max_source_tokens)"
    )


def missing_language(line: str, data: Data) -> str:
    """What to warn of a line that does not tell a multilingual model which language to translate into; else empty."""
    known = language_tokens(data)
    if not known:
        return ""
    words = normalise_line(line).split(maxsplit=1)
    if words[0] in known:
        return ""
    found = f"{words[0]} is none of" if LANGUAGE_TOKEN.fullmatch(words[0]) else "it begins with none of"
    return f"the language is left to chance: {found} the vocabulary's language tokens, {', '.join(sorted(known))}"


def divide_sources(
    lines: Sequence[str], subwords: SubwordModel, decoding: Decoding, *, whole: Sequence[bool] = ()
) -> list[DividedLine]:
    """Normalise and encode source lines, and split those that are too long if ``decoding.over_long = "split"``.

    Args:
        whole: for each line, whether it must not be split; none may be given for none of them.
    """
    divided_lines = []
    for place, source in enumerate(encode_sources(lines, subwords, decoding)):
        text = normalise_line(lines[place])
        longest = decoding.max_source_tokens
        if len(source.ids) <= longest or (whole and whole[place]):
            if source.warning and decoding.over_long == "truncate":
                text = decode_line(source.ids, subwords)  # nothing is asked for what was cut off
            parts = (SourcePart(text, source.ids, 0),) if source.ids else ()
            divided_lines.append(DividedLine(parts, source.warning))
            continue
        texts = divided(text, subwords.encode_batch, longest)
        warning = f"split into {len(texts)} parts: {len(source.ids)} subwords are more than decoding.max_source_tokens"
        divided_lines.append(DividedLine(tuple(_parts(text, texts, subwords)), f"{warning} = {longest}"))
    return divided_lines


def _parts(line: str, texts: Sequence[str], subwords: SubwordModel) -> list[SourcePart]:
    parts = []
    num_words, offset = 0, 0
    for text, ids in zip(texts, subwords.encode_batch(texts), strict=True):
        begin = line.index(text, offset)
        before, begins = as_spelt(line[max(0, begin - 1) : begin]), as_spelt(text[:1])
        goes_on = 0 < begin == offset and not before.isspace() and not begins.isspace()  # the cut is inside a word
        parts.append(SourcePart(text, ids, num_words - goes_on))
        num_words += len(as_spelt(text).split()) - goes_on
        offset = begin + len(text)
    return parts


def encode_targets(lines: Sequence[str], subwords: SubwordModel) -> list[list[int]]:
    """Normalise and encode target lines."""
    return subwords.encode_batch([normalise_line(line) for line in lines])


def decode_line(ids: Sequence[int], subwords: SubwordModel) -> str:
    """Text of a translation. Always one line: byte symbols can spell a line feed, which becomes a space."""
    return normalise_line(subwords.decode(ids))


def decode_lines(ids: Sequence[Sequence[int]], subwords: SubwordModel) -> list[str]:
    """:func:`decode_line` of each row."""
    return [normalise_line(text) for text in subwords.decode_batch(ids)]
