"""MinHash signatures against the sets of n-grams that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.data.cleaning.minhash import NUM_HASHES, ngrams, pair_signature, signature, similarities, text_signature
from tests.parallel_text import sentences


def letters_of(text: str) -> set[str]:
    """Return the n-grams of a text that is in small letters without punctuation: the obvious way."""
    padded = f" {text} ".ljust(3)
    return {padded[place : place + 3] for place in range(len(padded) - 2)}


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("text", ["", "a", "the old book", "Ähnlich 𝒳 先生", "aaaa"])
def test_ngrams_are_the_different_sequences_of_three_characters(text: str) -> None:
    assert len(set(ngrams(text).tolist())) == len(letters_of(text.casefold().replace("𝒳", "x")))
    assert not set(ngrams(text, 0).tolist()) & set(ngrams(text, 1).tolist())


def test_case_punctuation_and_spaces_do_not_count() -> None:
    assert np.array_equal(text_signature("Where is  the Station?"), text_signature("where is the station"))


def test_the_agreement_of_signatures_estimates_the_share_of_common_ngrams() -> None:
    texts = [line.rstrip(".").lower() for line in sentences("en", 60)]
    errors = []
    for text in texts:
        signatures_XF = np.stack([text_signature(other) for other in texts])
        found = similarities(text_signature(text), signatures_XF)
        errors += [found[n] - jaccard(letters_of(text), letters_of(other)) for n, other in enumerate(texts)]
    assert abs(np.mean(errors)) < 0.005
    assert np.std(errors) < np.sqrt(0.25 / NUM_HASHES)  # where the similarity is a half, it is as large
    assert np.std(errors) > 0.01  # it is an estimate, not the sets


def test_a_signature_is_the_same_on_every_machine_and_of_a_set() -> None:
    assert text_signature("Where is the station?")[:6].tolist() == [185, 209, 175, 212, 35, 214]
    assert np.array_equal(signature(np.array([3, 1, 2, 1], np.uint64)), signature(np.array([1, 2, 3], np.uint64)))


def test_a_pair_is_similar_where_both_sides_are() -> None:
    one = pair_signature("The old book.", "Das alte Buch.")
    same_source = pair_signature("The old book!", "Ein langer Brief von gestern Abend.")
    swapped = pair_signature("Das alte Buch.", "The old book.")
    found = similarities(one, np.stack([one, same_source, swapped]))
    assert found[0] == 1.0
    assert 0.1 < found[1] < 0.5
    assert found[2] < 0.1
