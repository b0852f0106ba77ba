"""Rare words: an n-gram belongs to the band of its rarest word, and is found as often as both texts have it."""

from __future__ import annotations

from mtmoe.report.examining.rare_words import band_names, band_of, rarest_band, recall_by_band

TIMES = {"the": 5000, "cat": 20, "sat": 3}


def test_words_are_in_bands_by_their_times() -> None:
    assert band_names() == ["never", "1 to 9", "10 to 99", "100 to 999", "1,000 and more"]
    assert [band_of(times) for times in (0, 1, 9, 10, 99, 100, 999, 1000, 10**9)] == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert rarest_band("The cat sat.", TIMES) == 1
    assert rarest_band("The CAT the cat", TIMES) == 2
    assert rarest_band("The unicorn", TIMES) == 0
    assert rarest_band(" ... ", TIMES) is None


def test_recall_counts_each_ngram_as_often_as_both_have_it() -> None:
    references = ["The cat sat", "the the the", "a unicorn"]
    translations = ["the cat slept", "the the", "A Unicorn unicorn"]
    found = {
        recall.band: (recall.num_found, recall.num_all) for recall in recall_by_band(references, translations, TIMES)
    }
    assert found == {
        "never": ((2, 1, 0), (2, 1, 0)),
        "1 to 9": ((0, 0, 0), (1, 1, 1)),  # sat, cat sat, the cat sat
        "10 to 99": ((1, 1, 0), (1, 1, 0)),  # cat, the cat
        "100 to 999": ((0, 0, 0), (0, 0, 0)),
        "1,000 and more": ((1 + 2, 1, 0), (1 + 3, 2, 1)),
    }
