"""Sentence similarity: chrF and BLEU of each of several texts against each of the others, at once.

The numbers are those of sacreBLEU's sentence scores: chrF2 (Popović 2015: characters, orders 1 to 6, beta 2), and BLEU
of up to four words with exponential smoothing and effective order (Chen and Cherry 2014).

Letters: C texts, G different n-grams of all of them, O orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mtmoe.errors import UserError
from mtmoe.languages import Tokeniser

Floats = NDArray[np.float64]
Similarity = Callable[[Sequence[str]], Floats]
"""Returns [C, C]: the score, 0 to 100, of each text (row) where each other one (column) is the reference."""

_CHARACTER_ORDER, _BETA_SQUARED = 6, 4.0
_WORD_ORDER = 4


def chrf_of_all(texts: Sequence[str]) -> Floats:
    """Return [C, C]: chrF2 of each text against each."""
    without_spaces = ["".join(text.split()) for text in texts]
    match_CCO, total_CO = _matches(without_spaces, _CHARACTER_ORDER)
    both_CCO = (total_CO[:, None] > 0) & (total_CO[None, :] > 0)
    num_orders_CC = np.maximum(both_CCO.sum(axis=2), 1)
    at_least_one_CO = np.maximum(total_CO, 1)
    precision_CC = (match_CCO / at_least_one_CO[:, None]).sum(axis=2) / num_orders_CC
    recall_CC = (match_CCO / at_least_one_CO[None, :]).sum(axis=2) / num_orders_CC
    denominator_CC = _BETA_SQUARED * precision_CC + recall_CC
    scores_CC: Floats = (1 + _BETA_SQUARED) * precision_CC * recall_CC / np.where(denominator_CC > 0, denominator_CC, 1)
    return 100 * scores_CC


def bleu_of_all(texts: Sequence[str], tokeniser: Tokeniser = "13a") -> Floats:
    """Return [C, C]: BLEU of each text against each, as sacreBLEU tokenises them."""
    tokenise = word_tokeniser(tokeniser)
    words = [tuple(tokenise(text.rstrip()).split()) for text in texts]
    match_CCO, total_CO = _matches(words, _WORD_ORDER)
    length_C = np.array([len(of_text) for of_text in words], dtype=np.float64)
    # An order without a match counts as half of a match, the next one as a quarter, and so on.
    no_match_CCO = match_CCO == 0
    smoothing_CCO = 0.5 ** np.cumsum(no_match_CCO, axis=2)
    at_least_one_C1O = np.maximum(total_CO, 1)[:, None]
    precision_CCO = np.where(no_match_CCO, smoothing_CCO, match_CCO) / at_least_one_C1O
    has_order_C1O = (total_CO > 0)[:, None]
    num_orders_C1 = np.maximum(has_order_C1O.sum(axis=2), 1)
    mean_log_CC = np.where(has_order_C1O, np.log(precision_CCO), 0.0).sum(axis=2) / num_orders_C1
    shorter_CC = np.minimum(1 - length_C[None, :] / np.maximum(length_C, 1)[:, None], 0.0)
    scores_CC: Floats = np.where(match_CCO.any(axis=2), 100 * np.exp(mean_log_CC + shorter_CC), 0.0)
    return scores_CC


def _matches(texts: Sequence[Sequence[str]], most_order: int) -> tuple[Floats, Floats]:
    """Return [C, C, O], the n-grams that two texts share, each as often as in both; and [C, O], those of each text."""
    match_CCO = np.zeros((len(texts), len(texts), most_order))
    total_CO = np.zeros((len(texts), most_order))
    for order in range(1, most_order + 1):
        found = [Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1)) for text in texts]
        columns = {n_gram: column for column, n_gram in enumerate(dict.fromkeys(n for of in found for n in of))}
        counts_CG = np.zeros((len(texts), len(columns)), dtype=np.int32)
        for row, of_text in enumerate(found):
            counts_CG[row, [columns[n_gram] for n_gram in of_text]] = list(of_text.values())
        total_CO[:, order - 1] = counts_CG.sum(axis=1)
        for row in range(len(texts)):  # row by row: an array of all pairs would be large
            match_CCO[row, :, order - 1] = np.minimum(counts_CG[row], counts_CG).sum(axis=1)
    return match_CCO, total_CO


@cache
def word_tokeniser(tokeniser: Tokeniser) -> Callable[[str], str]:
    """Return sacreBLEU's function that puts spaces between the words of a text.

    Raises:
        UserError: it is not installed.
    """
    from sacrebleu.metrics.bleu import BLEU

    try:
        tokenise: Callable[[str], str] = BLEU(tokenize=tokeniser).tokenizer
    except (ImportError, RuntimeError):
        raise UserError(
            f"sacreBLEU's tokeniser {tokeniser} is not installed",
            fix=f"pip install 'sacrebleu[{tokeniser.partition('-')[0]}]', or take utility = \"chrf\"",
        ) from None
    return tokenise
