"""Divided lines: the translations of the parts of a line, put together to those of the line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mtmoe.config.settings import Data
from mtmoe.data.cleaning.language_tokens import language_tokens, tokened
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.inference.constraints.line_constraints import LineConstraints, unwritable
from mtmoe.inference.constraints.pass_through import PassThrough
from mtmoe.inference.requests import Request
from mtmoe.inference.scoring.rescoring import added_up
from mtmoe.inference.text.lines import DividedLine, language_of_line, missing_language, source_text, space_after_part
from mtmoe.inference.text.suspicion import Suspicion, suspicions
from mtmoe.inference.text.word_alignment import word_numbers
from mtmoe.inference.translation import Translation


class LineAssembly:
    """Puts lines together, and reports what they do not have."""

    def __init__(
        self, subwords: SubwordModel, data: Data, line_constraints: LineConstraints, pass_through: PassThrough
    ) -> None:
        """Keep what a report needs; ``data``: the languages, of the recipe."""
        self._subwords, self._data = subwords, data
        self._line_constraints, self._pass_through = line_constraints, pass_through

    def translation(
        self, request: Request, source: DividedLine, of_parts: Sequence[Sequence[Translation]], num_best: int
    ) -> Translation:
        """Return the best translations of a line from those of its parts.

        Args:
            request: the line as it came; links count its words.
            source: its parts.
            of_parts: translations of each part, best first.
            num_best: translations wanted of the line; those after the best are its alternatives.
        """
        if not source.parts and (request.prefix or request.phrases):
            nothing = source.warning or "there is nothing to translate"
            source = source._replace(warning=f"{nothing}, so its prefix and phrases are left out")
        elif unknown := unwritable(request, self._subwords):
            cannot = f"the vocabulary cannot write {', '.join(map(repr, unknown))}, which is left out"
            source = source._replace(warning="; ".join(filter(None, [source.warning, cannot])))
        if source.parts and (missing := missing_language(request.text, self._data)):
            source = source._replace(warning="; ".join(filter(None, [source.warning, missing])))
        glue = space_after_part(source, self._data)
        has_links = any(t.alignment for translations in of_parts for t in translations)
        numbers = word_numbers(request.text) if has_links else []
        joined: dict[str, Translation] = {}
        for translations in best_combinations(of_parts, num_best):
            whole = translations[0] if len(translations) == 1 else _together(translations, glue)
            links: list[tuple[int, int]] = []
            num_words = 0
            for translation in translations:
                goes_on = num_words and not glue
                first = num_words - bool(goes_on)
                links += [(numbers[i], first + j) for i, j in translation.alignment]
                num_words = first + len(translation.text.split())
            if source.untranslated:
                whole = whole._replace(text=source.untranslated)
            terms, lost = self._line_constraints.report(request, [part.text for part in source.parts], whole.text)
            lost += self._pass_through.report(request.text, whole.text) if source.parts else []
            warnings = dict.fromkeys(filter(None, (source.warning, *whole.warnings, *lost)))
            whole = whole._replace(
                alignment=tuple(dict.fromkeys(links)),
                warnings=tuple(warnings),
                terms=terms,
                suspicions=() if source.untranslated else self._suspicions(request, whole.text),
            )
            joined.setdefault(whole.text, whole)
        best, *others = joined.values()
        return best._replace(alternatives=tuple(others))

    def _suspicions(self, request: Request, translation: str) -> tuple[Suspicion, ...]:
        text = source_text(request.text, self._data)
        languages = self._data.source_language, language_of_line(text, self._data)
        return suspicions(tokened(text, language_tokens(self._data)).text, translation, *languages)


def _together(translations: Sequence[Translation], glue: str) -> Translation:
    """Return the translations of the parts of a line as one of the line; a part of a line links nothing of it yet."""
    return Translation(
        text=glue.join(t.text for t in translations),
        score=sum(t.score for t in translations),
        log_probability=sum(t.log_probability for t in translations),
        num_tokens=sum(t.num_tokens for t in translations),
        tokens=tuple(token for t in translations for token in t.tokens),
        token_log_probabilities=tuple(p for t in translations for p in t.token_log_probabilities),
        source_tokens=tuple(token for t in translations for token in t.source_tokens),
        score_parts=added_up([t.score_parts for t in translations]),
        expected_utility=_mean_utility(translations),
        warnings=tuple(w for t in translations for w in t.warnings),
    )


def _mean_utility(translations: Sequence[Translation]) -> float | None:
    utilities = [t.expected_utility for t in translations if t.expected_utility is not None]
    return sum(utilities) / len(utilities) if utilities else None


def best_combinations(of_parts: Sequence[Sequence[Translation]], num_best: int) -> list[tuple[Translation, ...]]:
    """Return the ways to put together one translation of each part that have the highest sums of scores, best first.

    The first of all parts are the first: a score that is higher than that of a translation before it (the text
    was scored anew) counts as equal.
    """
    combinations: list[tuple[float, tuple[Translation, ...]]] = [(0.0, ())]
    for translations in of_parts:
        scores = itertools.accumulate((t.score for t in translations), min)
        choices = list(zip(scores, translations, strict=True))
        longer = [(total + score, (*before, t)) for total, before in combinations for score, t in choices]
        combinations = sorted(longer, key=lambda combination: -combination[0])[:num_best]
    return [translations for _, translations in combinations]
