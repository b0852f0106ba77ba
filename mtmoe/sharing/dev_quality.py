"""Quality of a model on the dev set of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.evaluation.bleu_tokenisers import ANOTHER_TOKENISER, check_tokeniser
from mtmoe.evaluation.quality import Quality, measure_quality
from mtmoe.inference.translator import Translator
from mtmoe.languages import Tokeniser, chosen_tokeniser
from mtmoe.progress import Progress, silent


class DevQuality(NamedTuple):
    """BLEU and chrF2, 0 to 100: of several dev sets the means, each set by the tokeniser of its language."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    num_sentences: int


class _DevSet(NamedTuple):
    num_lines: int
    tokeniser: Tokeniser


class DevSets:
    """The dev sets of a data directory, to be translated."""

    def __init__(self, prepared: Prepared, recipe: Recipe) -> None:
        """Read them.

        Raises:
            UserError: they are damaged, or a tokeniser of BLEU is not installed.
        """
        self._sources, self._references = prepared.valid_source, prepared.valid_target
        self._parts = []
        for part in prepared.valid.parts:
            language = prepared.target_language("valid", part.name)
            tokeniser = chosen_tokeniser(recipe.training.validation.bleu_tokeniser, language)
            check_tokeniser(tokeniser, another=ANOTHER_TOKENISER)
            self._parts.append(_DevSet(part.num_pairs, tokeniser))

    def quality(self, translator: Translator, progress: Progress = silent) -> DevQuality:
        """Translate all of them and measure."""
        found = translator.translate(self._sources, with_scores=False, progress=progress)
        return self._measured([translation.text for translation in found])

    def _measured(self, translations: Sequence[str]) -> DevQuality:
        measured: list[Quality] = []
        begin = 0
        for part in self._parts:
            lines = slice(begin, begin + part.num_lines)
            references = [self._references[lines]]
            measured.append(measure_quality(translations[lines], references, tokeniser=part.tokeniser))
            begin = lines.stop
        return DevQuality(
            sum(quality.bleu for quality in measured) / len(measured),
            sum(quality.chrf for quality in measured) / len(measured),
            " and ".join(dict.fromkeys(quality.bleu_signature for quality in measured)),
            " and ".join(dict.fromkeys(quality.chrf_signature for quality in measured)),
            begin,
        )
