"""Quality of a sentence: what sacreBLEU's functions for sentences give."""

from __future__ import annotations

import sacrebleu

from mtmoe.evaluation.sentence_quality import sentence_bleu, sentence_chrf

REFERENCE = "Two dogs are playing in the deep snow."
HYPOTHESES = ("Two dogs play in the snow.", "Two", "A cat sleeps.", REFERENCE, "")


def test_sentences_score_as_sacrebleu_says() -> None:
    bleu, chrf = sentence_bleu(), sentence_chrf()
    for hypothesis in HYPOTHESES:
        expected = sacrebleu.sentence_bleu(hypothesis, [REFERENCE], use_effective_order=True).score
        assert bleu(hypothesis, REFERENCE) == expected
        assert chrf(hypothesis, REFERENCE) == sacrebleu.sentence_chrf(hypothesis, [REFERENCE]).score


def test_the_tokeniser_is_that_of_the_language() -> None:
    assert sentence_bleu("char")("abc", "abd") > sentence_bleu("13a")("abc", "abd")
