"""Measuring: what models, lexicon and identification of languages say of each pair by itself.

The measures of a pair do not depend on what else is measured, but in the last bits on the chunk that it comes in: so
chunks begin at fixed pairs, and a filter that goes on gives what one without a stop gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtmoe.checkpoint import load_language_model, load_model
from mtmoe.corpus_survey.language_identification import is_in_other_language
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.raw.misaligned_files import misfit
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.device import choose_device
from mtmoe.filtering.criteria import NOT_SCORED, OTHER_LANGUAGE, Criteria
from mtmoe.filtering.lexicon_coverage import LexiconCoverage
from mtmoe.filtering.pair_rules import CheckedPair
from mtmoe.filtering.run_languages import check_language, direction_token
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.scoring.language_model_scoring import SentenceReader

PairsMeasure = Callable[[Sequence[Pair]], Sequence[float]]


class MeasuredPair(NamedTuple):
    """The rule that a pair breaks, or its measures, in the order of `Criteria.measures`."""

    broken: str
    values: tuple[float, ...] = ()


class Measurer:
    """Loads what the criteria ask, and measures pairs with it."""

    def __init__(self, criteria: Criteria, languages: LanguagePair, device: str | None = None) -> None:
        """
        Args:
            languages: those of the text.
            device: for the models; None is cuda where there is one, else cpu.

        Raises:
            UserError: a run cannot be loaded, or is of other languages.
        """
        self._languages = languages if criteria.with_languages else None
        loaders = _loaders(criteria, languages, device)
        self._measures = [loaders[name]() for name in criteria.measures]

    def measure(self, checked: Sequence[CheckedPair]) -> list[MeasuredPair]:
        """Return what is found of each pair; a pair that breaks a rule already is not looked at."""
        found = [MeasuredPair(broken or self._broken_rule(pair)) for pair, broken in checked]
        places = [place for place, measured in enumerate(found) if not measured.broken]
        pairs = [checked[place].pair for place in places]
        columns = [measure(pairs) for measure in self._measures] if pairs else []
        for place, values in zip(places, zip(*columns, strict=True), strict=True) if columns else ():
            is_scored = all(map(math.isfinite, values))
            found[place] = MeasuredPair("", tuple(values)) if is_scored else MeasuredPair(NOT_SCORED)
        return found

    def _broken_rule(self, pair: Pair) -> str:
        is_other = self._languages and any(map(is_in_other_language, pair, self._languages))
        return OTHER_LANGUAGE if is_other else ""


def _loaders(
    criteria: Criteria, languages: LanguagePair, device: str | None
) -> Mapping[str, Callable[[], PairsMeasure]]:
    """Return what loads each measure that the criteria may ask for."""
    return {
        "translation": lambda: _translation_measure(criteria, languages, device),
        "coverage": lambda: LexiconCoverage(_given(criteria.lexicon), languages).measure,
        "form": lambda: _form,
        "source-lm": lambda: _language_model_measure(criteria, _given(criteria.source_lm), 0, languages, device),
        "target-lm": lambda: _language_model_measure(criteria, _given(criteria.target_lm), 1, languages, device),
    }


def _given(run: Path | None) -> Path:
    assert run is not None, "a measure is asked for only where there is its run"
    return run


def _form(pairs: Sequence[Pair]) -> list[float]:
    return [0.0 - misfit(*(side.encode("utf-8", "replace") for side in pair)) for pair in pairs]


def _translation_measure(criteria: Criteria, languages: LanguagePair, device: str | None) -> PairsMeasure:
    """Return the measure of one run, or of two of opposite directions: dual conditional cross-entropy.

    Of cross-entropies A and B a subword it is -(|A - B| + (A + B) / 2) (Junczys-Dowmunt 2018, without the exponential).
    """
    opposite = LanguagePair(languages.target, languages.source)
    runs = ((criteria.forward, languages, False), (criteria.backward, opposite, True))
    scorers = [
        _conditional_measure(criteria, run, direction, device, is_swapped=is_swapped)
        for run, direction, is_swapped in runs
        if run is not None
    ]
    if len(scorers) == 1:
        return scorers[0]
    forward, backward = scorers

    def dual(pairs: Sequence[Pair]) -> list[float]:
        one, other = np.array(forward(pairs)), np.array(backward(pairs))
        found: list[float] = ((one + other) / 2 - np.abs(one - other)).tolist()
        return found

    return dual


def _conditional_measure(
    criteria: Criteria, run: Path, direction: LanguagePair, device: str | None, *, is_swapped: bool
) -> PairsMeasure:
    loaded = load_model(run, criteria.checkpoint, choose_device(device))
    token = direction_token(run, loaded.recipe.data, direction)

    def measure(pairs: Sequence[Pair]) -> list[float]:
        """Return the mean log-probability of each target's subwords; NaN where the source holds no subword."""
        given, asked = (1, 0) if is_swapped else (0, 1)
        sources = [f"{token} {pair[given]}".strip() for pair in pairs]
        scores = score_pairs(loaded, sources, [pair[asked] for pair in pairs])
        return [score.log_probability / score.num_tokens if score.num_tokens else math.nan for score in scores]

    return measure


def _language_model_measure(
    criteria: Criteria, run: Path, side: int, languages: LanguagePair, device: str | None
) -> PairsMeasure:
    loaded = load_language_model(run, criteria.checkpoint, choose_device(device))
    check_language(run, loaded.recipe.data, languages[side])
    reader = SentenceReader(loaded)

    def measure(pairs: Sequence[Pair]) -> list[float]:
        encoded = loaded.vocabulary.encode_batch([pair[side] for pair in pairs])
        return [found / (len(ids) + 1) for found, ids in zip(reader.read(encoded), encoded, strict=True)]

    return measure
