"""chrF and BLEU of all pairs at once are sacreBLEU's sentence scores, one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from mtmoe.inference.scoring.sentence_similarity import bleu_of_all, chrf_of_all

ODD = [
    "",
    " ",
    "a",
    "ab",
    "A dog.",
    "A dog runs.",
    "aaaa aaaa",
    "!!!",
    "Zwei\u00a0Hunde, (schwarz)",
    "犬が走る。",
    "x" * 70,
]


def _random_texts(seed: int) -> list[str]:
    """Sentences that share words and parts of words."""
    generator = random.Random(seed)
    words = ["a", "the", "dog", "dogs", "run", "runs", "running", "quickly", ",", ".", "2,000.5", "don't"]
    return [" ".join(generator.choices(words, k=generator.randrange(1, 12))) for _ in range(9)]


@pytest.mark.parametrize("texts", [ODD, *map(_random_texts, range(6))])
def test_chrf_of_all_pairs_is_sacrebleus(texts: list[str]) -> None:
    slow = CHRF()
    expected = [[slow.sentence_score(text, [other]).score for other in texts] for text in texts]
    np.testing.assert_allclose(chrf_of_all(texts), expected, atol=1e-9)


@pytest.mark.parametrize("tokeniser", ["13a", "zh", "char"])
@pytest.mark.parametrize("texts", [ODD, *map(_random_texts, range(6))])
def test_bleu_of_all_pairs_is_sacrebleus(texts: list[str], tokeniser) -> None:
    slow = BLEU(effective_order=True, tokenize=tokeniser)
    expected = [[slow.sentence_score(text, [other]).score for other in texts] for text in texts]
    np.testing.assert_allclose(bleu_of_all(texts, tokeniser), expected, atol=1e-9)


def test_one_text_is_like_itself() -> None:
    assert chrf_of_all(["A dog runs."]) == pytest.approx(100)
    assert bleu_of_all(["A dog runs here."]) == pytest.approx(100)
