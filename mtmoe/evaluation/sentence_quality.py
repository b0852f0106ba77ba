"""Quality of single sentences: BLEU and chrF2 of sacreBLEU, to choose among candidates; never told as results."""

from __future__ import annotations

from collections.abc import Callable

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from mtmoe.evaluation.bleu_tokenisers import check_tokeniser
from mtmoe.languages import Tokeniser

SentenceQuality = Callable[[str, str], float]
"""From a hypothesis and its reference to a score from 0 to 100."""


def sentence_bleu(tokeniser: Tokeniser = "13a") -> SentenceQuality:
    """Return BLEU of one sentence, exponentially smoothed, of n-grams no longer than the sentence is.

    Raises:
        UserError: the tokeniser is not installed.
    """
    check_tokeniser(tokeniser)
    metric = BLEU(tokenize=tokeniser, effective_order=True)
    return lambda hypothesis, reference: float(metric.sentence_score(hypothesis, [reference]).score)


def sentence_chrf() -> SentenceQuality:
    """Return chrF2 of one sentence."""
    metric = CHRF()
    return lambda hypothesis, reference: float(metric.sentence_score(hypothesis, [reference]).score)
