"""Lines of text to subwords and back, in the one way that translating and scoring share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mtmoe.config.settings import Data, Decoding
from mtmoe.data.cleaning.language_tokens import LANGUAGE_TOKEN, language_tokens, tokened
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.inference.text.long_lines import divided
from mtmoe.inference.text.masking import MaskedItem, MaskedText, items_between
from mtmoe.inference.text.spelling import as_spelt
from mtmoe.languages import space_between_sentences


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
    repeats_token: bool = False
    """It begins with the language token of its line, which stands there but once."""
    items: tuple[MaskedItem, ...] = ()
    """What was cut out of it, to be put back into its translation."""
    word_numbers: tuple[int, ...] = ()
    """Of the words that are left of a line from which something was cut out, in that line."""
    kept_whole: tuple[str, ...] = ()
    """Texts into which no item is put, wherever the translation has them."""

    def text_with_items(self) -> str:
        """Return the text with what was cut out of it, so that words stand side by side only where they did before."""
        text = self.text
        for item in reversed(self.items):
            text = f"{text[: item.place]} {item.text} {text[item.place + len(item.stand_in) :]}"
        return text

    def word_of_line(self, number: int) -> int:
        """Return the place in the normalised line of a word of the part."""
        if not self.repeats_token:
            place = self.word_number + number
        else:
            place = self.word_number + number - 1 if number else 0
        return self.word_numbers[place] if self.word_numbers else place


class DividedLine(NamedTuple):
    """A line in the parts that are translated one by one; a blank line has none."""

    parts: tuple[SourcePart, ...]
    warning: str
    untranslated: str = ""
    """A line of nothing but items that pass through; it has no parts."""


def source_text(line: str, data: Data) -> str:
    """Return the line in normal form, with its language token (if it begins with one) as the vocabulary spells it."""
    text = normalise_line(line)
    return tokened(text, language_tokens(data)).line if data.multilingual is not None else text


def language_of_line(text: str, data: Data) -> str:
    """Return the code of the language that a line is translated into: where there are several, that of its token."""
    return data.target_language if data.multilingual is None else tokened(text, language_tokens(data)).language


def encode_sources(lines: Sequence[str], subwords: SubwordModel, decoding: Decoding, data: Data) -> list[SourceLine]:
    """Normalise and encode source lines; one that is too long is handled as ``decoding.over_long`` says.

    Here a line is one sequence: a line that translating would split is whole.
    """
    encoded = subwords.encode_batch([source_text(line, data) for line in lines])
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
    """Return a warning of a line that does not tell a multilingual model the language to translate into; else empty."""
    known = language_tokens(data)
    text = normalise_line(line)
    if not known or tokened(text, known).token:
        return ""
    words = text.split(maxsplit=1)
    found = f"{words[0]} is none of" if LANGUAGE_TOKEN.fullmatch(words[0]) else "it begins with none of"
    return f"the language is left to chance: {found} the vocabulary's language tokens, {', '.join(sorted(known))}"


def divide_sources(
    lines: Sequence[str | MaskedText],
    subwords: SubwordModel,
    decoding: Decoding,
    data: Data,
    *,
    whole: Sequence[bool] = (),
) -> list[DividedLine]:
    """Normalise and encode source lines, and split those that are too long if ``decoding.over_long = "split"``.

    Each part begins with the language token of its line, if that has one.

    Args:
        lines: those from which something was cut out are in normal form.
        whole: for each line, whether it must not be split; none may be given for none of them.
    """
    masked_lines = [line if isinstance(line, MaskedText) else MaskedText(line) for line in lines]
    divided_lines = []
    for place, source in enumerate(encode_sources([line.text for line in masked_lines], subwords, decoding, data)):
        text = source_text(masked_lines[place].text, data)
        longest = decoding.max_source_tokens
        items, word_numbers = masked_lines[place].items, masked_lines[place].word_numbers
        if len(source.ids) <= longest or (whole and whole[place]):
            if source.warning and decoding.over_long == "truncate":
                text = decode_line(source.ids, subwords)  # nothing is asked for what was cut off
                items = items_between(items, 0, len(text) + 1, shift=0, most=len(text))
            parts = (SourcePart(text, source.ids, 0, False, items, word_numbers),) if source.ids else ()
            divided_lines.append(DividedLine(_keeping(parts, masked_lines[place]), source.warning))
            continue
        several = _with_items(_divided(text, subwords, longest, data), text, items, word_numbers)
        warning = (
            f"split into {len(several)} parts: {len(source.ids)} subwords are more than decoding.max_source_tokens"
        )
        divided_lines.append(DividedLine(_keeping(several, masked_lines[place]), f"{warning} = {longest}"))
    return divided_lines


def _keeping(parts: tuple[SourcePart, ...], line: MaskedText) -> tuple[SourcePart, ...]:
    return tuple(part._replace(kept_whole=line.kept_whole) for part in parts) if line.kept_whole else parts


def _with_items(
    parts: Iterable[SourcePart], line: str, items: Sequence[MaskedItem], word_numbers: tuple[int, ...]
) -> tuple[SourcePart, ...]:
    """Return the parts of a line, each with the items that were cut out of it or stood behind it."""
    parts = tuple(parts)
    if not items:
        return parts
    begins, prefixes = [], []
    offset = 0
    for part in parts:
        prefix = part.text.partition(" ")[0] + " " if part.repeats_token else ""
        content = part.text.removeprefix(prefix)
        offset = line.index(content, offset)
        begins.append(offset)
        prefixes.append(len(prefix))
        offset += len(content)
    with_items = []
    for number, part in enumerate(parts):
        begin, end = begins[number] if number else 0, [*begins[1:], len(line) + 1][number]
        shift = prefixes[number] - begins[number]
        own = items_between(items, begin, end, shift=shift, most=len(part.text))
        with_items.append(part._replace(items=own, word_numbers=word_numbers))
    return tuple(with_items)


def _divided(text: str, subwords: SubwordModel, longest: int, data: Data) -> Iterator[SourcePart]:
    line = tokened(text, language_tokens(data) if data.multilingual is not None else ())
    if not line.token:
        yield from _parts(text, divided(text, subwords.encode_batch, longest), subwords)
        return
    num_of_token = len(subwords.encode_batch([line.token])[0])
    texts = divided(line.text, subwords.encode_batch, max(1, longest - num_of_token))
    parts = _parts(line.text, texts, subwords)
    for part, ids in zip(parts, subwords.encode_batch([f"{line.token} {text}" for text in texts]), strict=True):
        yield SourcePart(f"{line.token} {part.text}", ids, 1 + part.word_number, repeats_token=True)


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


def joined(translations: Sequence[str], source: DividedLine, data: Data) -> str:
    """Return the translation of a line of those of its parts."""
    return space_after_part(source, data).join(translations)


def space_after_part(source: DividedLine, data: Data) -> str:
    """Return what stands between the translations of two parts of a line: a space, where the language has them."""
    return space_between_sentences(language_of_line(source.parts[0].text, data)) if source.parts else ""


def encode_targets(lines: Sequence[str], subwords: SubwordModel) -> list[list[int]]:
    """Normalise and encode target lines."""
    return subwords.encode_batch([normalise_line(line) for line in lines])


def decode_line(ids: Sequence[int], subwords: SubwordModel) -> str:
    """Return the text of a translation. Always one line: byte symbols can spell a line feed, which becomes a space."""
    return normalise_line(subwords.decode(ids))


def decode_lines(ids: Sequence[Sequence[int]], subwords: SubwordModel) -> list[str]:
    """Return :func:`decode_line` of each row."""
    return [normalise_line(text) for text in subwords.decode_batch(ids)]
