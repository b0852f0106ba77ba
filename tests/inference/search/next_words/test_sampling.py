"""Drawn words: the numbers against SplitMix64 in plain integers, the frequencies against the probabilities."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from mtmoe.config.settings import Decoding, DiverseBeams, Sampling
from mtmoe.errors import UserError
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.next_words.sampling import gumbel_numbers, sample_keys, sample_words
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL, PAD, UNK

A, B, C = NUM_SPECIAL, NUM_SPECIAL + 1, NUM_SPECIAL + 2
SOURCES = [[5, 6, 7], [9], [4, 4, 8, 8, 5], [6, 5]]


def options(num_best: int = 1, **sampling) -> SearchOptions:
    decoding = Decoding(max_length_ratio=1.0, max_length_extra=2, sampling=Sampling(**sampling))
    return SearchOptions.from_settings(decoding, num_best=num_best)


def split_mix(key: int, n: int) -> int:
    """Output n (from 0) of the generator that starts at ``key``, as Steele et al. define it."""
    modulus = 1 << 64
    z = (key + (n + 1) * 0x9E3779B97F4A7C15) % modulus
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % modulus
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % modulus
    return z ^ (z >> 31)


def test_the_numbers_are_those_of_splitmix_as_gumbel_numbers():
    keys = [0, 1, 2**63 - 1, -(2**63), -12345]
    found_XW = gumbel_numbers(torch.tensor(keys), torch.tensor([[0, 1, 31999]] * 5))
    for key, row_W in zip(keys, found_XW.tolist(), strict=True):
        for n, number in zip((0, 1, 31999), row_W, strict=True):
            uniform = ((split_mix(key % 2**64, n) >> 11) + 0.5) / 2**53
            assert number == pytest.approx(-math.log(-math.log(uniform)), rel=1e-12)
    # The generator's published first outputs for the seed 1234567.
    assert [split_mix(1234567, n) for n in range(2)] == [6457827717110365317, 3203168211198807973]


def frequencies(probabilities: dict[int, float], num_draws: int = 4000, banned=None, **sampling) -> dict[int, float]:
    class Model:
        vocabulary_size = 8

        def project(self, hidden_XD, out=None):
            row_V = [math.log(probabilities.get(word, 1e-30)) for word in range(8)]
            return torch.tensor([row_V]).expand(len(hidden_XD), -1)

    keys = torch.tensor([sample_keys(1, number, 0, 1)[0] for number in range(num_draws)])
    is_banned_XV = None
    if banned is not None:
        is_banned_XV = torch.zeros(num_draws, 8, dtype=torch.bool)
        is_banned_XV[:, banned] = True
    words, log_probabilities, ends = sample_words(
        Model(), torch.zeros(num_draws, 1), keys, Sampling(**sampling), is_banned_XV
    )
    for word, log_probability in zip(words.tolist()[:50], log_probabilities.tolist(), strict=False):
        assert log_probability == pytest.approx(math.log(probabilities[word]), abs=1e-5)
    assert ends.tolist()[0] == pytest.approx(math.log(probabilities[EOS]), abs=1e-5)
    return {word: count / num_draws for word, count in Counter(words.tolist()).items()}


TABLE = {A: 0.4, B: 0.3, EOS: 0.2, C: 0.1}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, TABLE),
        ({"temperature": 0.5}, {A: 0.16 / 0.30, B: 0.09 / 0.30, EOS: 0.04 / 0.30, C: 0.01 / 0.30}),
        ({"top_k": 2}, {A: 4 / 7, B: 3 / 7}),
        ({"top_k": 1}, {A: 1.0}),
        ({"top_p": 0.4 + 1e-6}, {A: 4 / 7, B: 3 / 7}),
        ({"top_p": 0.85}, {A: 4 / 9, B: 3 / 9, EOS: 2 / 9}),
        ({"top_p": 0.01}, {A: 1.0}),
        ({"top_k": 3, "top_p": 0.5, "temperature": 1.0}, {A: 4 / 7, B: 3 / 7}),
        ({"banned": [A]}, {B: 0.5, EOS: 2 / 6, C: 1 / 6}),
    ],
)
def test_words_come_as_often_as_their_probability_says(sampling, expected):
    found = frequencies(TABLE, **sampling)
    assert set(found) == set(expected)
    for word, probability in expected.items():
        assert found[word] == pytest.approx(probability, abs=4 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize("sampling", [{}, {"top_k": 2}, {"temperature": 0.5}, {"top_p": 0.75}])
def test_sentences_come_as_often_as_their_probability_says(scripted_model, sampling):
    table = {
        (): {A: 0.5, B: 0.3, EOS: 0.2},
        (A,): {A: 0.1, B: 0.6, EOS: 0.3},
        (B,): {C: 0.7, EOS: 0.3},
        (A, B): {EOS: 0.8, A: 0.2},
    }
    num_samples, num_lines = 50, 30

    def reduced(words: dict[int, float]) -> dict[int, float]:
        """The distribution that is drawn from, by the definitions of temperature, top k and top p."""
        tempered = {word: p ** (1 / sampling.get("temperature", 1.0)) for word, p in words.items()}
        likeliest = sorted(tempered, key=lambda word: -tempered[word])[: sampling.get("top_k") or None]
        total, kept, reached = sum(tempered[word] for word in likeliest), [], 0.0
        for word in likeliest:
            if reached < sampling.get("top_p", 1.0):
                kept.append(word)
            reached += tempered[word] / total
        return {word: tempered[word] / sum(tempered[other] for other in kept) for word in kept}

    expected: Counter[tuple[int, ...]] = Counter()

    def walk(prefix: tuple[int, ...], probability: float) -> None:
        if len(prefix) == 3:  # the greatest length: it ends here
            expected[prefix] += probability
            return
        for word, p in reduced(table.get(prefix, table[()])).items():
            if word == EOS:
                expected[prefix] += probability * p
            else:
                walk((*prefix, word), probability * p)

    walk((), 1.0)
    assert sum(expected.values()) == pytest.approx(1.0)
    sources = [[4]] * num_lines  # max_length_ratio = 1, max_length_extra = 2
    found = Counter(
        hypothesis.ids
        for hypotheses in search_all(scripted_model(table), sources, options(num_samples, **sampling), batch_tokens=999)
        for hypothesis in hypotheses
    )
    assert set(found) <= set(expected)
    num_draws = num_samples * num_lines
    for ids, probability in expected.items():
        tolerance = 4 * math.sqrt(probability * (1 - probability) / num_draws) + 1e-9
        assert found[ids] / num_draws == pytest.approx(probability, abs=tolerance)


def test_special_symbols_are_never_drawn():
    table = {PAD: 0.3, UNK: 0.2, BOS: 0.2, EOS: 0.1, A: 0.2}
    assert set(frequencies(table)) == {EOS, A}


def test_what_is_drawn_for_a_line_depends_on_its_number_and_the_seed_alone(random_model):
    model = random_model(3, 9)
    tasks = [SearchTask(number=number) for number in (0, 1, 2, 3)]
    together = search_all(model, SOURCES, options(), batch_tokens=1000, tasks=tasks)
    assert together == search_all(model, SOURCES, options(), batch_tokens=1000)
    for index, (source, task) in enumerate(zip(SOURCES, tasks, strict=True)):
        assert search_all(model, [source], options(), batch_tokens=1, tasks=[task]) == [together[index]]
    turned = search_all(model, SOURCES[::-1], options(), batch_tokens=9, tasks=tasks[::-1])
    assert turned[::-1] == together
    others = [task._replace(number=task.number + 10) for task in tasks]
    assert search_all(model, SOURCES, options(), batch_tokens=1000, tasks=others) != together
    assert search_all(model, SOURCES, options(seed=2), batch_tokens=1000, tasks=tasks) != together


def test_further_samples_do_not_change_the_first_and_differ_from_it(random_model):
    model = random_model(3, 9)
    one = search_all(model, SOURCES, options(1), batch_tokens=1000)
    four = search_all(model, SOURCES, options(4), batch_tokens=50)
    assert [hypotheses[0] for hypotheses in four] == [hypotheses[0] for hypotheses in one]
    assert all(len(hypotheses) == 4 for hypotheses in four)
    assert len({hypothesis.ids for hypothesis in four[2]}) > 1


def test_a_sample_has_the_models_probability_and_ends_at_the_greatest_length(scripted_model):
    model = scripted_model({(): {A: 0.5, B: 0.4, EOS: 0.1}})
    lengths = set()
    for hypothesis in search_all(model, [[4, 4]], options(20, temperature=0.7), batch_tokens=1000)[0]:
        table = {A: 0.5, B: 0.4, EOS: 0.1}
        expected = [math.log(table[word]) for word in (*hypothesis.ids, EOS)]
        assert hypothesis.token_log_probabilities == pytest.approx(expected, abs=1e-5)
        assert hypothesis.log_probability == pytest.approx(sum(expected), abs=1e-5)
        lengths.add(len(hypothesis.ids))
    assert max(lengths) == 4
    assert len(lengths) > 1


def test_a_temperature_near_zero_is_greedy_search(random_model):
    model = random_model(5, 9)
    greedy = replace(options(temperature=1e-6), sampling=None, beam_size=1, prune_margin=1e9)
    sampled = search_all(model, SOURCES, options(temperature=1e-6), batch_tokens=1000)
    assert [s[0].ids for s in sampled] == [g[0].ids for g in search_all(model, SOURCES, greedy, batch_tokens=1000)]


def test_a_sample_keeps_to_its_prefix_and_repeats_nothing(random_model):
    model = random_model(5, 9)
    tasks = [SearchTask(prefix_ids=(A, B, A)) for _ in SOURCES]
    rules = replace(options(5), no_repeat_ngram=2, min_length_ratio=1.0)
    for source, hypotheses in zip(
        SOURCES, search_all(model, SOURCES, rules, batch_tokens=99, tasks=tasks), strict=True
    ):
        for ids in (hypothesis.ids for hypothesis in hypotheses):
            assert ids[:3] == (A, B, A)
            assert len(ids) >= len(source)
            pairs = [ids[at : at + 2] for at in range(1, len(ids) - 1)]
            assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"beam_size": 8}, r"beam_size = 8 belongs to beam search, but \[sampling\] \(seed = 1\)"),
        ({"prune_margin": 2.0}, r"prune_margin = 2\.0 belongs to beam search"),
        ({"beam_margin": 1.0}, r"beam_margin = 1\.0 belongs to beam search"),
        ({"early_stopping": "exact"}, r"early_stopping = exact belongs to beam search"),
        ({"beam_size": 4, "diverse_beams": DiverseBeams(groups=2)}, r"\(seed = 1\).* diverse_beams \(groups = 2\)"),
    ],
)
def test_what_only_a_beam_search_reads_contradicts_sampling(other, message):
    with pytest.raises(ValidationError, match=message):
        Decoding(sampling=Sampling(), **other)


def test_phrases_cannot_be_asked_of_samples(random_model):
    tasks = [SearchTask(phrases=Phrases.of_words([(A,)]))]
    with pytest.raises(UserError, match=r"need one beam, but decoding\.sampling is on"):
        search_all(random_model(0, 3), SOURCES[:1], options(), batch_tokens=10, tasks=tasks)
