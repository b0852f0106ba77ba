"""The search against exhaustive search, against a slow and obvious beam search, and against hand-made cases."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Decoding
from mtmoe.errors import UserError
from mtmoe.inference.batching import pad_with_eos
from mtmoe.inference.beam_search import (
    NOTHING,
    SearchOptions,
    beam_search,
    coverage_penalty,
    length_penalty,
    search_all,
)
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL, PAD, UNK

A, B, C = NUM_SPECIAL, NUM_SPECIAL + 1, NUM_SPECIAL + 2
SOURCES = [[5, 6, 7], [9], [4, 4, 8, 8, 5], [6, 5]]
OPEN = SearchOptions(
    beam_size=5,
    length_alpha=0.0,
    coverage_beta=0.0,
    prune_margin=1e9,
    max_length_ratio=1.0,
    max_length_extra=1,
)
"""Neither normalisation nor pruning; each test adds what it is about."""


def search(model, sources, options):
    return beam_search(model, *pad_with_eos(sources), options)


# ------------------------------------------------------------------------------------- slow, obvious oracles


def completed(model, source, ids, options):
    """(score, log-probability, log-probability of each token) of a whole translation, straight from GNMT."""
    predictions = [model.predict((*source, EOS), tuple(ids[:length])) for length in range(len(ids) + 1)]
    tokens = [p.log_probabilities[token] for p, token in zip(predictions, [*ids, EOS], strict=True)]
    coverage = 0.0
    for position in range(len(source) + 1):
        attention = sum(prediction.attention[position] for prediction in predictions)
        coverage += math.log(min(max(attention, 1e-6), 1.0))
    penalty = ((5 + len(tokens)) / (5 + 1)) ** options.length_alpha
    return sum(tokens) / penalty + options.coverage_beta * coverage, sum(tokens), tokens


def exhaustive_search(model, source, num_words, options):
    """Every possible translation, best first."""
    words = range(NUM_SPECIAL, NUM_SPECIAL + num_words)
    longest = options.max_length(len(source))
    everything = [ids for n in range(longest + 1) for ids in itertools.product(words, repeat=n)]
    return sorted(((ids, *completed(model, source, ids, options)) for ids in everything), key=lambda h: -h[1])


def plain_beam_search(model, source, options):
    """The search of the documentation, for one sentence, with lists."""
    live = [((), 0.0)]
    finished = []
    longest = options.max_length(len(source))
    while live:
        candidates = []
        for prefix, log_probability in live:
            scores = model.predict((*source, EOS), prefix).log_probabilities
            if len(prefix) == longest:
                candidates.append((log_probability + scores[EOS], prefix, EOS))
                continue
            best = max(scores[EOS:])
            for token in range(EOS, len(scores)):
                if scores[token] >= best - options.prune_margin:
                    candidates.append((log_probability + scores[token], prefix, token))
        candidates.sort(key=lambda candidate: -candidate[0])
        for _, prefix, token in candidates[: options.beam_size]:
            if token == EOS:
                finished.append((prefix, *completed(model, source, prefix, options)))
        finished.sort(key=lambda hypothesis: -hypothesis[1])
        margin = options.prune_margin
        finished = [hypothesis for hypothesis in finished if hypothesis[1] >= finished[0][1] - margin]
        if len(finished) >= options.beam_size:
            break
        live = [((*prefix, token), score) for score, prefix, token in candidates if token != EOS]
        live = live[: options.beam_size]
        if finished:
            reach = [score / ((5 + longest + 1) / 6) ** options.length_alpha for _, score in live]
            if (
                len(finished) >= options.num_best
                and max(reach, default=-math.inf) <= (finished[options.num_best - 1][1])
            ):
                break
            live = [h for h, high in zip(live, reach, strict=True) if high >= finished[0][1] - margin]
    return finished[: options.num_best]


def assert_same(hypotheses, expected):
    assert [hypothesis.ids for hypothesis in hypotheses] == [ids for ids, *_ in expected]
    for hypothesis, (_, score, log_probability, tokens) in zip(hypotheses, expected, strict=True):
        assert hypothesis.score == pytest.approx(score, abs=1e-5)
        assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-5)
        assert hypothesis.token_log_probabilities == pytest.approx(tokens, abs=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.2, 0.2), (1.0, 0.0), (2.0, 1.0)])
def test_a_beam_that_holds_everything_finds_what_exhaustive_search_finds(random_model, alpha, beta):
    options = replace(OPEN, beam_size=130, num_best=7, length_alpha=alpha, coverage_beta=beta)
    for seed in range(3):
        model = random_model(seed, 3)
        sources = SOURCES[:2] + SOURCES[3:]
        for hypotheses, source in zip(search(model, sources, options), sources, strict=True):
            assert_same(hypotheses, exhaustive_search(model, source, 3, options)[:7])


@pytest.mark.parametrize("beam_size", [1, 2, 3, 6])
@pytest.mark.parametrize("margin", [0.7, 3.0, 1e9])
def test_a_batch_is_searched_as_each_sentence_alone_is_by_a_plain_search(random_model, beam_size, margin):
    for seed in range(6):
        options = replace(
            OPEN,
            beam_size=beam_size,
            prune_margin=margin,
            length_alpha=0.2 + 0.5 * (seed % 3),
            coverage_beta=0.2 * (seed % 2),
            num_best=1 + seed % beam_size,
        )
        model = random_model(seed, 5, eos_bonus=0.5 * (seed % 3))
        for hypotheses, source in zip(search(model, SOURCES, options), SOURCES, strict=True):
            assert_same(hypotheses, plain_beam_search(model, source, options))


def test_a_beam_of_one_takes_the_likeliest_token_at_each_step(random_model):
    options = replace(OPEN, beam_size=1, length_alpha=1.0, coverage_beta=0.2, prune_margin=3.0)
    model = random_model(11, 6)
    for hypotheses, source in zip(search(model, SOURCES, options), SOURCES, strict=True):
        prefix: tuple[int, ...] = ()
        while len(prefix) < options.max_length(len(source)):
            scores = model.predict((*source, EOS), prefix).log_probabilities
            token = max(range(EOS, len(scores)), key=scores.__getitem__)
            if token == EOS:
                break
            prefix = (*prefix, token)
        assert [hypothesis.ids for hypothesis in hypotheses] == [prefix]


# --------------------------------------------------------------------------------------------- independence


def test_a_translation_does_not_depend_on_its_neighbours_in_the_batch(random_model):
    options = SearchOptions.from_settings(Decoding(), num_best=3)
    model = random_model(3, 8)
    together = search(model, SOURCES, options)
    assert together == [search(model, [source], options)[0] for source in SOURCES]
    assert together == search(model, SOURCES[::-1], options)[::-1]


def test_results_come_in_the_order_of_the_sources_whatever_the_batches(random_model):
    options = SearchOptions.from_settings(Decoding(), num_best=2)
    model = random_model(3, 8)
    sources = [*SOURCES, [], *SOURCES[::-1], []]
    expected = [search(model, [source], options)[0] if source else [NOTHING] for source in sources]
    for batch_tokens in (1, 40, 10_000):
        assert search_all(model, sources, options, batch_tokens=batch_tokens) == expected


def test_nothing_is_computed_for_sources_without_subwords(random_model):
    model = random_model(0, 3)
    assert search_all(model, [[], []], OPEN, batch_tokens=100) == [[NOTHING], [NOTHING]]
    assert search_all(model, [], OPEN, batch_tokens=100) == []
    assert model.num_rows == []


def test_the_first_hypothesis_does_not_depend_on_how_many_are_wanted(random_model):
    for seed in range(20):
        model = random_model(seed, 6)
        options = replace(OPEN, length_alpha=0.6, coverage_beta=0.2, prune_margin=2.0)
        few = search(model, SOURCES, options)
        many = search(model, SOURCES, replace(options, num_best=5))
        assert [hypotheses[0] for hypotheses in many] == [hypotheses[0] for hypotheses in few]


def test_progress_counts_every_sentence_once(random_model):
    calls = []
    search_all(random_model(0, 3), [*SOURCES, []], OPEN, batch_tokens=20, progress=lambda *call: calls.append(call))
    assert [done for _, done, _, _ in calls] == [2, 3, 4, 5]
    assert {(stage, total, unit) for stage, _, total, unit in calls} == {("translate", 5, "sentences")}


# ------------------------------------------------------------------------------------------------- the score


def test_the_length_penalty_is_that_of_gnmt():
    assert length_penalty(1, 0.2) == 1.0
    assert length_penalty(7, 0.2) == pytest.approx(2**0.2)
    assert length_penalty(np.array([1, 7]), 1.0).tolist() == [1.0, 2.0]
    assert length_penalty(99, 0.0) == 1.0


def test_the_coverage_penalty_caps_at_one_and_leaves_padding_out():
    coverage_XS = torch.tensor([[0.5, 2.5, 0.0], [0.25, 0.5, 1.0]])
    is_real_XS = torch.tensor([[True, True, False], [True, True, True]])
    penalties = coverage_penalty(coverage_XS, is_real_XS, beta=0.2)
    expected = [0.2 * math.log(0.5), 0.2 * (math.log(0.25) + math.log(0.5))]
    torch.testing.assert_close(penalties, torch.tensor(expected))


def test_a_source_position_without_attention_costs_the_floor_and_not_infinity():
    penalty = coverage_penalty(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), beta=1.0)
    assert penalty.item() == pytest.approx(math.log(1e-6), abs=1e-4)


def test_score_and_log_probability_of_a_scripted_sentence(scripted_model):
    model = scripted_model({(): {A: 0.5, B: 0.3, EOS: 0.2}, (A,): {EOS: 0.9, A: 0.1}, (B,): {EOS: 1.0}})
    options = replace(OPEN, beam_size=1, length_alpha=1.0, coverage_beta=0.5)
    ((best,),) = search(model, [[4, 4]], options)
    assert best.ids == (A,)
    assert best.log_probability == pytest.approx(math.log(0.45), abs=1e-6)
    assert best.token_log_probabilities == pytest.approx((math.log(0.5), math.log(0.9)), abs=1e-6)
    # Three source positions (with EOS), each a third of the attention of two steps.
    assert best.score == pytest.approx(math.log(0.45) / (7 / 6) + 0.5 * 3 * math.log(2 / 3), abs=1e-6)


def test_a_wider_beam_finds_the_sentence_that_greedy_search_misses(scripted_model):
    model = scripted_model({(): {A: 0.6, B: 0.4}, (A,): {EOS: 0.3, A: 0.3, B: 0.4}, (B,): {EOS: 1.0}})
    assert search(model, [[4]], replace(OPEN, beam_size=1))[0][0].ids[0] == A
    assert search(model, [[4]], replace(OPEN, beam_size=2))[0][0].ids == (B,)


# --------------------------------------------------------------------------------------------------- pruning


def test_a_token_too_far_below_the_best_of_its_hypothesis_is_not_considered(scripted_model):
    table = {(): {A: 0.9, B: 0.1}, (A,): {EOS: 0.05, A: 0.475, B: 0.475}, (B,): {EOS: 1.0}}
    wide, narrow = (replace(OPEN, beam_size=3, prune_margin=margin) for margin in (3.0, 2.0))
    assert search(scripted_model(table), [[4]], wide)[0][0].ids == (B,)
    assert search(scripted_model(table), [[4]], narrow)[0][0].ids[0] == A  # ln 9 = 2.2


def test_finished_hypotheses_far_below_the_best_score_are_dropped(scripted_model):
    table = {(): {A: 0.8, EOS: 0.2}, (A,): {EOS: 0.999, A: 0.001}}
    options = replace(OPEN, beam_size=3, num_best=3)
    assert [h.ids for h in search(scripted_model(table), [[4]], options)[0]] == [(A,), (), (A, A)]
    narrow = replace(options, prune_margin=2.0)
    assert [h.ids for h in search(scripted_model(table), [[4]], narrow)[0]] == [(A,), ()]
    narrower = replace(options, prune_margin=1.0)
    assert [h.ids for h in search(scripted_model(table), [[4]], narrower)[0]] == [(A,)]


def test_pruning_ends_the_search_early_with_the_same_result(scripted_model):
    table = {(): {A: 0.97, B: 0.03}, (A,): {EOS: 0.97, A: 0.03}}
    options = replace(OPEN, beam_size=4, num_best=4, max_length_extra=50)
    patient, hasty = scripted_model(table), scripted_model(table)
    (slow,), (fast,) = (search(m, [[4]], replace(options, prune_margin=p)) for m, p in ((patient, 50), (hasty, 3)))
    assert fast[0] == slow[0]
    assert len(hasty.num_rows) < len(patient.num_rows)


def test_a_sentence_that_is_done_leaves_the_batch(fake_model, scripted_model):
    short = scripted_model({(): {A: 1.0}, (A,): {EOS: 1.0}}).predict
    long = scripted_model({(): {A: 1.0}, (A,) * 6: {EOS: 1.0}}).predict
    model = fake_model(lambda source, prefix: (short if source[0] == 4 else long)(source, prefix))
    options = replace(OPEN, beam_size=1, max_length_extra=9)
    results = search(model, [[4], [5], [4]], options)
    assert [hypotheses[0].ids for hypotheses in results] == [(A,), (A,) * 6, (A,)]
    assert model.num_rows == [3, 3, 1, 1, 1, 1, 1]


def test_a_live_hypothesis_that_cannot_come_near_the_best_finished_one_is_given_up(scripted_model):
    model = scripted_model(
        {(): {A: 0.7, B: 0.2, C: 0.1}, (A,): {EOS: 1.0}, (B,): {A: 0.5, B: 0.5}, (C,): {A: 0.5, B: 0.5}}
    )
    search(model, [[4]], replace(OPEN, beam_size=4, num_best=2, prune_margin=2.0, max_length_extra=5))
    # ln 0.7 - 2 = ln 0.095 lies between the two extensions of B and the two of C.
    assert model.num_rows[:3] == [1, 3, 2]


def test_pruned_hypotheses_are_not_sent_through_the_model(scripted_model):
    model = scripted_model({(): {A: 0.999, B: 0.001}, (A,): {A: 0.999, B: 0.001}, (A, A): {EOS: 1.0}})
    search(model, [[4]], replace(OPEN, beam_size=5, prune_margin=3.0))
    assert model.num_rows == [1, 1, 1]


# ---------------------------------------------------------------------------------------------------- limits


def test_the_greatest_length_is_the_ratio_of_the_source_plus_the_extra():
    options = replace(OPEN, max_length_ratio=1.5, max_length_extra=3)
    assert [options.max_length(length) for length in (0, 1, 4, 5)] == [3, 4, 9, 10]
    assert replace(OPEN, max_length_ratio=0.1, max_length_extra=0).max_length(3) == 1


def test_at_the_greatest_length_eos_is_forced_at_its_true_probability_and_marked(scripted_model):
    model = scripted_model({(): {A: 0.9, EOS: 0.1}})
    options = replace(OPEN, beam_size=1, prune_margin=1.0, max_length_ratio=2.0, max_length_extra=1)
    ((best,),) = search(model, [[4]], options)
    assert best.ids == (A, A, A)
    assert best.log_probability == pytest.approx(3 * math.log(0.9) + math.log(0.1), abs=1e-6)
    assert best.cut_off


def test_a_translation_of_the_greatest_length_that_ends_by_itself_is_not_marked(scripted_model):
    model = scripted_model({(): {A: 0.9, EOS: 0.1}, (A, A, A): {EOS: 0.9, A: 0.1}})
    options = replace(OPEN, beam_size=1, max_length_ratio=2.0, max_length_extra=1)
    ((best,),) = search(model, [[4]], options)
    assert best.ids == (A, A, A)
    assert not best.cut_off


def test_eos_before_the_greatest_length_is_not_forced_even_if_it_is_not_the_likeliest(scripted_model):
    model = scripted_model({(): {A: 0.6, EOS: 0.4}, (A,): {A: 0.9, EOS: 0.1}})
    options = replace(OPEN, beam_size=2, num_best=2, max_length_extra=0)
    (hypotheses,) = search(model, [[4]], options)
    assert [(h.ids, h.cut_off) for h in hypotheses] == [((), False), ((A,), True)]


def test_pad_unk_and_bos_are_never_produced_and_keep_their_probability(scripted_model):
    row = {PAD: 0.3, UNK: 0.2, BOS: 0.2, A: 0.2, EOS: 0.1}
    model = scripted_model({(): row})
    for hypothesis in search(model, [[4, 4]], replace(OPEN, num_best=3))[0]:
        assert set(hypothesis.ids) <= {A, B, C}
        assert hypothesis.log_probability == pytest.approx(
            len(hypothesis.ids) * math.log(0.2) + math.log(0.1), abs=1e-5
        )


def test_an_output_that_is_not_a_number_is_an_error_that_says_so(fake_model, scripted_model):
    even = scripted_model({(): {A: 1.0}}).predict
    model = fake_model(lambda *row: even(*row)._replace(log_probabilities=[math.nan] * (NUM_SPECIAL + 3)))
    with pytest.raises(UserError, match="the model's output is not a number"):
        search(model, [[4]], OPEN)


def test_more_hypotheses_than_the_beam_holds_is_an_error_with_both_numbers():
    with pytest.raises(UserError, match=r"num_best = 6 is more than decoding\.beam_size = 5") as error:
        SearchOptions.from_settings(Decoding(beam_size=5), num_best=6)
    assert error.value.fix == "search with a beam of at least 6, or ask for at most 5"


def test_options_are_those_of_the_decoding_table():
    decoding = Decoding(beam_size=3, length_alpha=0.7, coverage_beta=0.1, prune_margin=2.0, max_length_extra=4)
    assert SearchOptions.from_settings(decoding, num_best=2) == SearchOptions(3, 0.7, 0.1, 2.0, 2.0, 4, 2)
