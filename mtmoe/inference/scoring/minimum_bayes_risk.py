"""Minimum Bayes risk: of the candidates of a sentence, the one that is most like what else may be right.

Kumar and Byrne 2004, section 2; of samples, Eikema and Aziz 2020. The expected utility of a candidate Y is::

    EU(Y) = sum over candidates R of w(R) x utility(Y, R)

w are weights that sum to 1: of samples, how often R was drawn; of a beam, its probability among the candidates.
Letters: C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from mtmoe.config.settings import Decoding
from mtmoe.errors import UserError
from mtmoe.inference.scoring.sentence_similarity import Similarity, bleu_of_all, chrf_of_all, word_tokeniser
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.languages import tokeniser_of

_DECIMALS = 6
"""Of an expected utility; what differs by less is equal, whatever was computed beside it."""


class RankedText(NamedTuple):
    """A candidate by its place among those that were given, and its expected utility, 0 to 100."""

    place: int
    expected_utility: float


class MinimumBayesRisk:
    """Ranks the candidates of a sentence."""

    def __init__(self, decoding: Decoding, target_language: str) -> None:
        """Keep the utility.

        Args:
            decoding: has the table ``minimum_bayes_risk``.
            target_language: its tokeniser is that of BLEU; of several languages (``mul``) it is 13a.

        Raises:
            UserError: the tokeniser is not installed.
        """
        settings = decoding.minimum_bayes_risk
        assert settings is not None
        self._settings, self._is_sampled = settings, decoding.sampling is not None
        self.num_candidates = settings.candidates or decoding.beam_size
        self._similarity: Similarity = chrf_of_all
        if settings.utility == "bleu":
            tokeniser = tokeniser_of(target_language)
            word_tokeniser(tokeniser)
            self._similarity = partial(bleu_of_all, tokeniser=tokeniser)

    def check_num_best(self, num_best: int) -> None:
        """Raise UserError if more translations are wanted than there are candidates."""
        if num_best > self.num_candidates:
            raise UserError(
                f"num_best = {num_best} is more than the {self.num_candidates} candidates of minimum_bayes_risk",
                fix=f"--set decoding.minimum_bayes_risk.candidates={num_best}, with a beam of at least as many",
            )

    def weights(self, candidates: Iterable[tuple[str, Hypothesis]]) -> dict[str, float]:
        """Return the weight of each different text; they sum to 1. Texts that were found twice have both weights."""
        found = list(candidates)
        logs = [0.0 if self._is_sampled else hypothesis.log_probability for _, hypothesis in found]
        divisor = self._settings.weight_temperature
        largest = max(logs, default=0.0)
        weights: dict[str, float] = {}
        for (text, _), log in zip(found, logs, strict=True):
            weights[text] = weights.get(text, 0.0) + math.exp((log - largest) / divisor)
        total = sum(weights.values())
        return {text: weight / total for text, weight in weights.items()}

    def ranked(self, weights: Mapping[str, float]) -> list[RankedText]:
        """Return the texts, highest expected utility first; of equal ones the one that comes first in ``weights``."""
        utilities = self._expected_utilities(list(weights), list(weights.values()))
        places = sorted(range(len(weights)), key=lambda place: -utilities[place])
        return [RankedText(place, utilities[place]) for place in places]

    def _expected_utilities(self, texts: Sequence[str], weights: Sequence[float]) -> list[float]:
        if not any(texts):
            return [0.0] * len(texts)
        utilities_C = self._similarity(texts) @ np.array(weights)
        return [round(float(utility), _DECIMALS) for utility in utilities_C]
