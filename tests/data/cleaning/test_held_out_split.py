"""Held-out sets: no twin in the training text, the right sizes, the same every time."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.data.cleaning.contamination_gate import comparison_key
from mtmoe.data.cleaning.held_out_split import split_by_components
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError


def _corpus_with_twins(num_sentences: int = 600) -> list[Pair]:
    """Every third sentence has a second translation, every fifth translation a second, louder source."""
    pairs = []
    for i in range(num_sentences):
        pairs.append(Pair(f"Sentence number {i} is here.", f"Der Satz {i} ist da."))
        if i % 3 == 0:
            pairs.append(Pair(f"sentence number {i} is here", f"Hier ist Satz {i}."))
        if i % 5 == 0:
            pairs.append(Pair(f"Here is sentence {i}!", f"DER SATZ {i} IST DA!"))
    return pairs


def _keys(pairs: list[Pair]) -> tuple[set[str], set[str]]:
    return {comparison_key(pair.source) for pair in pairs}, {comparison_key(pair.target) for pair in pairs}


def test_no_sentence_of_either_side_is_in_two_parts():
    split = split_by_components(_corpus_with_twins(), num_valid=50, num_test=70, seed=1)
    for one, other in ((split.train, split.test), (split.train, split.valid), (split.valid, split.test)):
        for one_side, other_side in zip(_keys(one), _keys(other), strict=True):
            assert one_side.isdisjoint(other_side)


def test_a_chain_of_shared_sentences_is_one_component():
    # 0 and 1 share the source, 1 and 2 the target, 2 and 3 the source: none may leave without the others.
    chain = [Pair("a", "A"), Pair("a", "B"), Pair("c", "B"), Pair("c", "D")]
    corpus = chain + [Pair(f"s{i}", f"t{i}") for i in range(40)]
    for seed in range(10):
        split = split_by_components(corpus, num_valid=10, num_test=10, seed=seed)
        in_train = [pair in split.train for pair in chain]
        assert all(in_train) or not any(in_train)


def test_no_component_is_divided_between_dev_and_test():
    families = [Pair(f"family {i} member {j}", f"family {i}") for i in range(200) for j in range(5)]
    split = split_by_components(families, num_valid=150, num_test=150, seed=1)
    assert _keys(split.valid)[1].isdisjoint(_keys(split.test)[1])
    assert len(_keys(split.test)[1]) == 30  # held out whole


def test_the_same_words_on_different_sides_do_not_connect_pairs():
    split = split_by_components([Pair("taxi", "bus"), Pair("tram", "taxi")], num_valid=0, num_test=1, seed=1)
    assert len(split.train) == 1


def test_parts_have_the_sizes_asked_for():
    split = split_by_components(_corpus_with_twins(), num_valid=50, num_test=70, seed=1)
    assert (len(split.valid), len(split.test)) == (50, 70)


def test_a_held_out_source_sentence_stands_once_and_its_other_pairs_are_dropped_and_counted():
    corpus = _corpus_with_twins()
    split = split_by_components(corpus, num_valid=50, num_test=70, seed=1)
    held_out = split.valid + split.test
    assert len(_keys(held_out)[0]) == len(held_out)
    dropped = set(corpus) - set(split.train) - set(held_out)
    assert dropped
    assert split.report["dropped_twins"] == len(dropped)
    assert split.report["pairs"] == len(split.train) + len(held_out) + len(dropped)


def test_large_components_stay_in_training():
    crowd = [Pair("Go!", f"Va {i}") for i in range(11)]
    corpus = crowd + [Pair(f"s{i}", f"t{i}") for i in range(60)]
    split = split_by_components(corpus, num_valid=10, num_test=20, seed=1)
    assert set(crowd) <= set(split.train)
    assert split.report["components_too_large"] == 1
    assert split.report["pairs_in_components_too_large"] == 11
    small_enough = split_by_components(corpus[1:], num_valid=10, num_test=20, seed=1)
    assert small_enough.report["components_too_large"] == 0


def test_one_percent_of_a_large_held_out_set_may_be_one_component():
    corpus = [Pair(f"s{i}", f"t{i}") for i in range(6000)] + [Pair("Go!", f"Va {i}") for i in range(20)]
    assert split_by_components(corpus, 1000, 1000, seed=1).report["components_too_large"] == 0
    assert split_by_components(corpus, 1000, 900, seed=1).report["components_too_large"] == 1


def test_training_text_keeps_its_order():
    corpus = _corpus_with_twins()
    split = split_by_components(corpus, num_valid=50, num_test=70, seed=1)
    kept = set(split.train)
    assert split.train == [pair for pair in corpus if pair in kept]


def test_held_out_sets_do_not_depend_on_the_order_of_the_corpus():
    corpus = _corpus_with_twins()
    shuffled = random.Random(0).sample(corpus, len(corpus))
    one, other = (split_by_components(pairs, 50, 70, seed=1) for pairs in (corpus, shuffled))
    assert (one.valid, one.test) == (other.valid, other.test)


def test_another_seed_holds_out_other_sentences():
    corpus = _corpus_with_twins()
    one, other = (split_by_components(corpus, 50, 70, seed=seed).test for seed in (1, 2))
    assert len(set(one) & set(other)) < len(one) / 2


def test_a_corpus_that_grows_keeps_most_of_its_test_set():
    corpus = _corpus_with_twins()
    grown = corpus + [Pair(f"new {i}", f"neu {i}") for i in range(60)]
    before, after = (set(split_by_components(pairs, 50, 70, seed=1).test) for pairs in (corpus, grown))
    assert len(before & after) > 0.75 * len(before)


def test_held_out_sentences_are_as_long_as_those_of_the_corpus():
    corpus = [Pair("word " * (1 + i % 20) + str(i), f"t{i}") for i in range(4000)]
    test = split_by_components(corpus, 500, 500, seed=3).test
    mean_words = sum(len(pair.source.split()) for pair in test) / len(test)
    assert mean_words == pytest.approx(11.5, abs=0.8)


def test_large_components_are_not_chosen_more_often_than_small_ones():
    families = [Pair(f"family {i} member {j}", f"family {i}") for i in range(500) for j in range(5)]
    corpus = families + [Pair(f"single {i}", f"alone {i}") for i in range(2500)]
    test = split_by_components(corpus, 0, 600, seed=1).test
    share = sum(pair.source.startswith("family") for pair in test) / len(test)
    assert share == pytest.approx(0.5, abs=0.12)  # 1/2 of the pairs; 5/6 if size drew the lot sooner


def test_the_split_is_the_same_in_another_process_with_another_hash_seed():
    code = (
        "from mtmoe.data.raw.sentence_pairs import Pair;"
        "from mtmoe.data.cleaning.held_out_split import split_by_components;"
        "pairs = [Pair(f's{i}', f't{i}') for i in range(100)];"
        "print([pair.source for pair in split_by_components(pairs, 5, 5, seed=1).test])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_only_one_part_may_be_asked_for():
    corpus = _corpus_with_twins()
    split = split_by_components(corpus, num_valid=0, num_test=20, seed=1)
    assert (len(split.valid), len(split.test)) == (0, 20)
    split = split_by_components(corpus, num_valid=20, num_test=0, seed=1)
    assert (len(split.valid), len(split.test)) == (20, 0)


@pytest.mark.parametrize("num_pairs", [0, 5, 19])
def test_too_little_text_is_an_error_that_names_the_numbers(num_pairs):
    corpus = [Pair(f"s{i}", f"t{i}") for i in range(num_pairs)]
    with pytest.raises(UserError, match=r"not enough text to hold out 4 dev and 6 test pairs: of \d+ pairs") as caught:
        split_by_components(corpus, num_valid=4, num_test=6, seed=1)
    assert "data.held_out.valid_pairs" in caught.value.fix
    assert re.search(rf"of {num_pairs} pairs", caught.value.problem)


DIRECTIONS = ("en-fr", "fr-en", "en-de")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from(DIRECTIONS)), min_size=40, max_size=120),
    st.integers(0, 3),
)
def test_no_sentence_of_several_directions_is_in_two_parts_on_whichever_side(links, seed):
    pairs = [Pair(f"sentence {source}", f"Sentence {target}!") for source, target, _ in links]
    pairs += [Pair(f"lonely {i}", f"alone {i}") for i in range(40)]
    directions = [direction for *_, direction in links] + ["en-fr"] * 40
    split = split_by_components(pairs, num_valid=8, num_test=8, seed=seed, directions=directions)
    sentences = [set.union(*_keys(part)) for part in split[:3]]
    for one, other in itertools.combinations(sentences, 2):
        assert one.isdisjoint(other)
    direction_of = {id(pair): direction for pair, direction in zip(pairs, directions, strict=True)}
    held_out = [(comparison_key(p.source), direction_of[id(p)]) for p in (*split.valid, *split.test)]
    assert len(set(held_out)) == len(held_out) == 16


def test_what_is_held_out_of_several_directions_does_not_depend_on_their_order():
    there = _corpus_with_twins(100)
    back = [Pair(target, source) for source, target in there]
    one = split_by_components(there + back, 20, 20, 1, directions=["en-de"] * len(there) + ["de-en"] * len(back))
    other = split_by_components(back + there, 20, 20, 1, directions=["de-en"] * len(back) + ["en-de"] * len(there))
    assert (one.test, one.valid) == (other.test, other.valid)
