"""Constraints of a line: its terms, phrases and placeholders for the search, and a report on its translation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import regex

from mtmoe.config.placeholder_patterns import SECONDS_A_LINE, TookTooLong, placeholder_pattern
from mtmoe.config.settings import Decoding
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError
from mtmoe.inference.constraints.phrases import Phrases, PieceTexts, Words, is_of_word, written
from mtmoe.inference.constraints.placeholders import Placeholder, Placeholders, can_be_spelt
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import SoftTerm
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Request
from mtmoe.inference.text.lines import DividedLine, SourcePart, encode_targets
from mtmoe.inference.text.spelling import Spellings, begins_with_word, spelling, texts_of_subwords
from mtmoe.inference.text.subword_repetition import Repetition, SubwordLetters, SubwordTexts, TextRepetition
from mtmoe.vocabulary import UNK

_SIGNS = "".join(chr(code) for code in range(33, 127) if not chr(code).isalnum())


class TermReport(NamedTuple):
    """A term of a line, and whether its translation has it."""

    source: str
    target: str
    applied: bool


class LineConstraints:
    """The constraints of all lines that a translator is given."""

    def __init__(
        self,
        decoding: Decoding,
        subwords: SubwordModel,
        terms: Terminology | None,
        *,
        words_apart: bool,
        targets_apart: bool = True,
        compares_text: bool = False,
    ) -> None:
        """Get ready for lines.

        Args:
            words_apart, targets_apart: whether the source and the target language divide words by spaces.
            compares_text: whether a phrase counts as repeated in whatever subwords it is written.

        Raises:
            UserError: terms need one beam, and the settings have none, or several.
        """
        self._decoding = decoding
        self._check_one_beam(terms)
        self._subwords = subwords
        self._terms = terms
        self._words_apart, self._targets_apart = words_apart, targets_apart
        self._pattern = placeholder_pattern(decoding.placeholders) if decoding.placeholders else None
        self._is_soft, self._has_shortlist = decoding.soft_terms is not None, decoding.shortlist is not None
        self._spellings = Spellings(subwords.pieces) if self._pattern else None
        self._subword_letters: SubwordLetters | None = None
        self._subword_texts: SubwordTexts | None = None
        if decoding.no_loops:
            pieces = subwords.pieces
            if compares_text:
                self._subword_texts = SubwordTexts(texts_of_subwords(pieces))
            else:
                self._subword_letters = SubwordLetters([spelling(piece_id, pieces) for piece_id in range(len(pieces))])
        # By line, so that the time is not spent once more to report of it.
        self._too_slow: dict[str, str] = {}

    def _check_one_beam(self, terms: Terminology | None) -> None:
        for key in ("sampling", "diverse_beams"):
            if terms and getattr(self._decoding, key):
                raise UserError(f"terms need one beam, but decoding.{key} is on", fix=f"leave out --terms or {key}")

    def tasks(self, requests: Sequence[Request], sources: Sequence[DividedLine]) -> list[SearchTask]:
        """Return the constraints on the translation of each part of lines. A line begins as its first part does.

        Raises:
            UserError: a request has terms, which need one beam, and the settings have none, or several.
        """
        tasks = []
        for request, source in zip(requests, sources, strict=True):
            self._check_one_beam(request.terms)
            prefix_ids: list[int] = []
            if request.prefix:
                [prefix_ids] = encode_targets([request.prefix], self._subwords)
                # What the vocabulary cannot write cannot be had; the line's warnings tell of it.
                prefix_ids = [] if UNK in prefix_ids else prefix_ids
            for place, part in enumerate(source.parts):
                task = SearchTask(tuple(prefix_ids) if place == 0 else (), number=request.number)
                tasks.append(self.added(task, part, request.phrases, request.terms))
        return tasks

    def added(
        self,
        task: SearchTask,
        source: SourcePart,
        phrases: Sequence[str] = (),
        terms_of_line: Terminology | None = None,
    ) -> SearchTask:
        """Return the task of a source with what is required of its translation: phrases, terms and placeholders."""
        terminology = terms_of_line or self._terms
        if self._subword_texts is not None:
            task = task._replace(repetition=TextRepetition(source.text_with_items(), self._subword_texts))
        elif self._subword_letters is not None:
            task = task._replace(repetition=Repetition(source.ids, self._subword_letters))
        if not terminology and self._pattern is None and not phrases:
            return task
        terms = self._found(source.text, terminology)
        # What the vocabulary cannot write cannot be demanded; the report tells of it.
        ids_of = {term: ids for term in terms if (ids := self._written(term.target))}
        demanded = [ids for phrase in phrases if (ids := self._written(phrase))]
        if self._is_soft:
            task = task._replace(soft_terms=self._soft(ids_of, source, terminology))
        else:
            demanded += ids_of.values()
        if demanded:
            texts = self._piece_texts
            task = task._replace(
                phrases=Phrases(
                    [written(ids, texts) for ids in demanded],
                    texts,
                    whole=self._targets_apart,
                    own_only=self._has_shortlist,
                )
            )
        if self._pattern is None or self._spellings is None:
            return task
        try:
            parts = self._placeholders(source.text)
        except TookTooLong:  # the report tells
            return task
        placeholders = [part for part in parts if can_be_spelt(part.text, self._spellings)]
        return task._replace(placeholders=Placeholders(placeholders, self._spellings)) if placeholders else task

    @cached_property
    def _piece_texts(self) -> PieceTexts:
        return PieceTexts(self._subwords.pieces)

    def _written(self, text: str) -> Words:
        """Return the subwords of a phrase or of the translation of a term; () if the vocabulary cannot write it."""
        [ids] = encode_targets([text], self._subwords)
        return () if UNK in ids or not self._piece_texts.text(ids).strip(" ") else tuple(ids)

    def _soft(
        self, ids_of: dict[Term, Words], source: SourcePart, terminology: Terminology | None
    ) -> tuple[SoftTerm, ...]:
        """Return the terms with the subwords that they are in the source.

        A term that the subwords do not spell, because its letters are unknown to them, has none.
        """
        if not ids_of or terminology is None:
            return ()
        parts = [spelling(piece_id, self._subwords.pieces) for piece_id in source.ids]
        owners = [place for place, content in enumerate(parts) for _ in content]
        text = b"".join(parts).decode(errors="surrogateescape")
        positions: dict[Term, set[int]] = {term: set() for term in ids_of}
        for term, begin in terminology.places(text, apart=self._words_apart):
            first = len(text[:begin].encode(errors="surrogateescape"))
            num_bytes = len(text[begin : begin + len(term.source)].encode(errors="surrogateescape"))
            if term in positions:
                positions[term].update(owners[first : first + num_bytes])
        return tuple(
            SoftTerm(tuple(sorted(places)), ids_of[term], self._going_on(ids_of[term]))
            for term, places in positions.items()
            if places
        )

    def _going_on(self, ids: Words) -> frozenset[int]:
        """Return the subwords behind which a term would be a part of a longer word."""
        ends_in_word = is_of_word(self._piece_texts.text_of[ids[-1]][-1])
        return self._piece_texts.going_on if self._targets_apart and ends_in_word else frozenset()

    def report(
        self, request: Request, parts: Sequence[str], translation: str
    ) -> tuple[tuple[TermReport, ...], list[str]]:
        """Return the terms of a line, and warnings of what its translation does not have.

        Args:
            request: the line as it was given.
            parts: the sources that it was translated as.
        """
        terminology = request.terms or self._terms
        terms = dict.fromkeys(term for part in parts for term in self._found(part, terminology))
        reports = tuple(TermReport(term.source, term.target, self._has(translation, term.target)) for term in terms)
        warnings = [f"the term {r.source!r} is not translated as {r.target!r}" for r in reports if not r.applied]
        if not (parts and self._pattern):
            return reports, warnings
        try:
            wanted, there = (
                self._texts_of_placeholders(normalise_line(request.text)),
                self._texts_of_placeholders(translation),
            )
        except TookTooLong as expression:
            within = f"decoding.placeholders: {expression} was not found within {SECONDS_A_LINE:g} s"
            warnings.append(f"{within}, so that none is sure to be in the translation; simplify the expression")
            return reports, warnings
        if wanted != there:
            warnings.append(f"placeholders (decoding.placeholders): {wanted}; in the translation: {there}")
        return reports, warnings

    def _has(self, translation: str, target: str) -> bool:
        """Return whether a term is there as whole words, in languages that divide words by spaces."""
        text = normalise_line(target)
        place = translation.find(text)
        while place >= 0:
            around = translation[max(0, place - 1) : place + 1], translation[place + len(text) - 1 :][:2]
            if not self._targets_apart or not any(len(pair) == 2 and all(map(is_of_word, pair)) for pair in around):
                return True
            place = translation.find(text, place + 1)
        return False

    def _found(self, text: str, terminology: Terminology | None) -> tuple[Term, ...]:
        return terminology.found(text, apart=self._words_apart) if terminology else ()

    def _texts_of_placeholders(self, text: str) -> list[str]:
        return [match[0] for match in self._matches(text)]

    def _placeholders(self, text: str) -> list[Placeholder]:
        parts = []
        lengthening: dict[str, str] = {}
        for match in self._matches(text):
            is_joined = text[max(0, match.start() - 1) : match.start()] not in ("", " ")
            following = text[match.end() : match.end() + 1]
            if match[0] not in lengthening:
                lengthening[match[0]] = "".join(sign for sign in _SIGNS if self._is_lengthened(match[0], sign))
            goes_on = begins_with_word(following.encode())
            parts.append(Placeholder(match[0], is_joined, goes_on, lengthening[match[0]]))
        return parts

    def _is_lengthened(self, text: str, sign: str) -> bool:
        return any(match.end() > len(text) for match in self._matches(text + sign) if not match.start())

    def _matches(self, text: str) -> list[regex.Match[str]]:
        """Return what ``decoding.placeholders`` finds in a text.

        Raises:
            TookTooLong: see there; at once where it has before.
        """
        if text in self._too_slow:
            raise TookTooLong(self._too_slow[text])
        try:
            return list(self._pattern.finditer(text)) if self._pattern else []
        except TookTooLong as expression:
            self._too_slow[text] = str(expression)
            raise


def unwritable(request: Request, subwords: SubwordModel) -> list[str]:
    """Return the prefix and phrases of a request that the vocabulary has no subwords for."""
    texts = [text for text in (request.prefix, *request.phrases) if text]
    if not texts:
        return []
    return [text for text, ids in zip(texts, encode_targets(texts, subwords), strict=True) if UNK in ids]
