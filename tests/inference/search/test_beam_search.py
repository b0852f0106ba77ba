"""The search against exhaustive search, against a slow and obvious beam search, and against hand-made cases."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mtmoe.config.settings import Decoding, DiverseBeams
from mtmoe.errors import UserError
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.gnmt_score import coverage_penalty, length_penalty
from mtmoe.inference.search.hypothesis import NOTHING
from mtmoe.inference.search.search_options import SearchOptions
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


def search(model, sources, options, tasks=None):
    return search_all(model, sources, options, batch_tokens=10_000, tasks=tasks)


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


def is_allowed(prefix, token, source, options, beginning):
    """Whether rules (not the model, not pruning) let the token come after the prefix."""
    if len(prefix) < len(beginning):
        return token == beginning[len(prefix)]
    if token == EOS:
        return len(prefix) >= int(options.min_length_ratio * len(source))
    size = options.no_repeat_ngram
    longer = (*prefix, token)
    seen = [prefix[at : at + size] for at in range(len(prefix) - size + 1)]
    return not size or len(longer) < size or longer[len(longer) - size :] not in seen


def plain_beam_search(model, source, options, beginning=()):
    """The search of the documentation, for one sentence, with lists."""
    live = [((), 0.0)]
    finished = []
    longest = max(options.max_length(len(source)), len(beginning))
    while live:
        candidates = []
        for prefix, log_probability in live:
            scores = model.predict((*source, EOS), prefix).log_probabilities
            if len(prefix) == longest:
                candidates.append((log_probability + scores[EOS], prefix, EOS))
                continue
            allowed = [t for t in range(EOS, len(scores)) if is_allowed(prefix, t, source, options, beginning)]
            allowed = allowed or [EOS]
            best = max(scores[token] for token in allowed)
            for token in allowed:
                if scores[token] >= best - options.prune_margin:
                    candidates.append((log_probability + scores[token], prefix, token))
        candidates.sort(key=lambda candidate: -candidate[0])
        for _, prefix, token in candidates[: options.beam_size]:
            if token == EOS:
                finished.append((prefix, *completed(model, source, prefix, options)))
        finished.sort(key=lambda hypothesis: -hypothesis[1])
        margin = options.prune_margin
        finished = [hypothesis for hypothesis in finished if hypothesis[1] >= finished[0][1] - margin]
        if len(finished) >= options.beam_size and options.early_stopping != "exact":
            break
        live = [((*prefix, token), score) for score, prefix, token in candidates if token != EOS]
        live = live[: options.beam_size]
        if options.beam_margin is not None:
            live = [hypothesis for hypothesis in live if hypothesis[1] >= live[0][1] - options.beam_margin]
        if finished and live and options.early_stopping == "best":
            now = [score / ((5 + len(prefix) + 1) / 6) ** options.length_alpha for prefix, score in live]
            if max(now) <= finished[0][1]:
                break
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


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize(
    "rules",
    [
        {"min_length_ratio": 1.0},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2, "prune_margin": 1.0},
        {"min_length_ratio": 0.5, "no_repeat_ngram": 2},
        {"early_stopping": "exact"},
        {"early_stopping": "exact", "prune_margin": 1e9, "length_alpha": 1.5},
        {"early_stopping": "best", "length_alpha": 1.5},
        {"early_stopping": "best", "length_alpha": 0.0, "min_length_ratio": 1.0},
        {"beam_margin": 0.5, "prune_margin": 1e9},
        {"beam_margin": 1.0, "early_stopping": "best", "no_repeat_ngram": 1},
    ],
    ids=str,
)
def test_rules_are_kept_as_a_plain_search_keeps_them(random_model, beam_size, rules):
    for seed in range(4):
        options = replace(OPEN, beam_size=beam_size, prune_margin=3.0, length_alpha=0.6, num_best=1 + seed % beam_size)
        options = replace(options, max_length_ratio=1.0, max_length_extra=3, **rules)
        model = random_model(seed, 4, eos_bonus=1.0 - 0.5 * (seed % 3))
        for hypotheses, source in zip(search(model, SOURCES, options), SOURCES, strict=True):
            assert_same(hypotheses, plain_beam_search(model, source, options))


def test_a_prefix_is_how_a_translation_begins_at_its_own_probability(random_model):
    options = replace(OPEN, beam_size=3, num_best=2, prune_margin=2.0, no_repeat_ngram=2)
    beginnings = [(C, A), (), (B, B, B, B, B, B, B), (A,)]  # one is longer than the translation would be, and repeats
    tasks = [SearchTask(prefix_ids=beginning) for beginning in beginnings]
    for seed in range(5):
        model = random_model(seed, 5, sharpness=3.0)
        found = search(model, SOURCES, options, tasks)
        for hypotheses, source, beginning in zip(found, SOURCES, beginnings, strict=True):
            assert_same(hypotheses, plain_beam_search(model, source, options, beginning))
            assert all(hypothesis.ids[: len(beginning)] == beginning for hypothesis in hypotheses)


def test_exact_early_stopping_gives_what_searching_to_the_greatest_length_gives(random_model):
    def patient_search(model, source, options):
        """Without any stopping and any giving up, which a margin without end does not ask for."""
        live, finished, longest = [((), 0.0)], [], options.max_length(len(source))
        for length in range(longest + 1):
            candidates = []
            for prefix, log_probability in live:
                scores = model.predict((*source, EOS), prefix).log_probabilities
                tokens = range(EOS, len(scores)) if length < longest else [EOS]
                candidates += [(log_probability + scores[token], prefix, token) for token in tokens]
            candidates.sort(key=lambda candidate: -candidate[0])
            kept = candidates[: options.beam_size]
            finished += [(p, *completed(model, source, p, options)) for _, p, token in kept if token == EOS]
            live = [((*p, token), score) for score, p, token in candidates if token != EOS][: options.beam_size]
        return sorted(finished, key=lambda hypothesis: -hypothesis[1])[: options.num_best]

    num_missed = 0
    for seed in range(8):
        options = replace(OPEN, beam_size=3, num_best=2, length_alpha=1.0, coverage_beta=0.3, max_length_extra=4)
        model = random_model(seed, 4, eos_bonus=1.0)
        full = search(model, SOURCES, options)
        exact = search(model, SOURCES, replace(options, early_stopping="exact"))
        for hypotheses, hasty, source in zip(exact, full, SOURCES, strict=True):
            assert_same(hypotheses, patient_search(model, source, options))
            num_missed += hasty[0].ids != hypotheses[0].ids
    assert num_missed  # else the two ways to stop would be one


# ----------------------------------------------------------------------------------- phrases and diverse beams


def has_phrases(ids, phrases):
    return all(any(ids[at : at + len(p)] == p for at in range(len(ids))) for p in phrases)


def test_a_beam_that_holds_everything_finds_the_best_of_all_translations_with_the_phrases(random_model):
    options = replace(OPEN, beam_size=400, num_best=3, length_alpha=0.5, coverage_beta=0.2, max_length_extra=1)
    sources, wanted = [[5, 6, 7], [6, 5], [5, 6, 7]], [((B, A),), ((C,), (A,)), ()]
    tasks = [SearchTask(phrases=Phrases.of_words(phrases)) for phrases in wanted]
    for seed in range(2):
        model = random_model(seed, 3)
        for hypotheses, source, phrases in zip(search(model, sources, options, tasks), sources, wanted, strict=True):
            everything = exhaustive_search(model, source, 3, options)
            assert_same(hypotheses, [h for h in everything if has_phrases(h[0], phrases)][:3])


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_every_phrase_is_in_every_translation_however_unlikely_and_narrow_the_beam(random_model, beam_size):
    wanted = [((A, B, C), (C, A)), ((B, B),), (), ((C, C, C, C), (A, A, B, A, A), (B,))]
    tasks = [SearchTask(phrases=Phrases.of_words(phrases)) for phrases in wanted]
    for seed in range(6):
        options = replace(OPEN, beam_size=beam_size, prune_margin=2.0, coverage_beta=0.2, num_best=beam_size)
        model = random_model(seed, 4, eos_bonus=2.0, sharpness=4.0)
        found = search(model, SOURCES, options, tasks)
        for hypotheses, source, phrases in zip(found, SOURCES, wanted, strict=True):
            assert hypotheses
            for hypothesis in hypotheses:
                assert has_phrases(hypothesis.ids, phrases)
                assert len(hypothesis.ids) <= max(options.max_length(len(source)), sum(map(len, phrases)))
                assert_same([hypothesis], [(hypothesis.ids, *completed(model, source, hypothesis.ids, options))])
        alone = [search(model, [s], options, [task])[0] for s, task in zip(SOURCES, tasks, strict=True)]
        assert found == alone
        assert found[2] == search(model, SOURCES, options)[2]  # who asks for nothing gets what he always gets


def test_words_of_a_phrase_are_tried_though_pruning_would_drop_them(scripted_model):
    model = scripted_model({(): {A: 0.99, B: 0.01}, (B,): {EOS: 1.0}})
    options = replace(OPEN, beam_size=2, prune_margin=3.0, max_length_extra=5)
    ((best, *_),) = search(model, [[4]], options, [SearchTask(phrases=Phrases.of_words([(B,)]))])
    assert best.ids == (B,)  # ln 99 = 4.6; and not only when no room is left for anything else


def test_a_prefix_and_phrases_go_together(random_model):
    task = SearchTask(prefix_ids=(B, A), phrases=Phrases.of_words([(A, C), (C, C)]))
    for seed in range(5):
        (hypotheses,) = search(random_model(seed, 4, eos_bonus=2.0), [[4]], replace(OPEN, beam_size=4), [task])
        assert hypotheses[0].ids[:2] == (B, A)
        assert has_phrases(hypotheses[0].ids, ((A, C), (C, C)))


def plain_diverse_search(model, source, options):
    """Group after group at each position, with lists; every group stops by itself."""
    width, longest = options.width, options.max_length(len(source))
    groups = [{"live": [((), 0.0)], "finished": [], "open": True} for _ in range(options.groups)]
    for length in range(longest + 1):
        chosen = []
        for group in groups:
            candidates = []
            for prefix, log_probability in group["live"]:
                scores = model.predict((*source, EOS), prefix).log_probabilities
                for token in range(EOS, len(scores)) if length < longest else [EOS]:
                    penalty = options.diversity_penalty * chosen.count(token) if token != EOS else 0.0
                    candidates.append((log_probability + scores[token], penalty, prefix, token))
            candidates.sort(key=lambda c: -(c[0] - c[1]))
            for _, _, prefix, token in candidates[:width]:
                if token == EOS:
                    group["finished"].append((prefix, *completed(model, source, prefix, options)))
            going_on = [c for c in candidates if c[3] != EOS][:width]
            chosen += [token for *_, token in going_on]
            group["live"] = [((*prefix, token), score) for score, _, prefix, token in going_on]
            if len(group["finished"]) >= width:
                group["live"] = []
    found = {hypothesis[0]: hypothesis for group in groups for hypothesis in group["finished"]}
    return sorted(found.values(), key=lambda h: -h[1])[: options.num_best]


@pytest.mark.parametrize(("beam_size", "groups"), [(4, 2), (6, 3), (3, 3), (6, 2)])
def test_diverse_beams_are_those_of_a_plain_search(random_model, beam_size, groups):
    for seed in range(5):
        options = replace(
            OPEN, beam_size=beam_size, groups=groups, diversity_penalty=0.4 * (1 + seed), length_alpha=0.0
        )
        # Every beam has its places filled before it stops, or a hopeless one could be given up earlier.
        options = replace(options, num_best=beam_size, max_length_extra=3)
        model = random_model(seed, 5, eos_bonus=0.5)
        for hypotheses, source in zip(search(model, SOURCES, options), SOURCES, strict=True):
            assert_same(hypotheses, plain_diverse_search(model, source, options))


def test_diverse_beams_bring_alternatives_that_differ_from_the_first_word_on(scripted_model):
    model = scripted_model(
        {(): {A: 0.6, B: 0.25, C: 0.15}, (A,): {A: 0.55, B: 0.45}, (B,): {EOS: 1.0}, (C,): {EOS: 1.0}}
        | {(A, word): {EOS: 1.0} for word in (A, B)}
    )
    plain = replace(OPEN, beam_size=2, num_best=2)
    assert [h.ids for h in search(model, [[4]], plain)[0]] == [(A, A), (A, B)]
    diverse = search(model, [[4]], replace(plain, groups=2, diversity_penalty=1.0))[0]
    assert [hypothesis.ids for hypothesis in diverse] == [(A, A), (B,)]
    assert diverse[1].log_probability == pytest.approx(math.log(0.25), abs=1e-6)  # the penalty is in no score


def test_phrases_and_diverse_beams_contradict_each_other(random_model):
    options = replace(OPEN, beam_size=4, groups=2, diversity_penalty=1.0)
    with pytest.raises(UserError, match=r"need one beam, but decoding\.diverse_beams is on"):
        search(random_model(0, 3), [[4]], options, [SearchTask(phrases=Phrases.of_words([(A,)]))])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_length_ratio": 3.0}, r"min_length_ratio = 3\.0 is more than max_length_ratio = 2\.0"),
        (
            {"diverse_beams": DiverseBeams(groups=2)},
            r"beam_size = 5 is not a multiple of diverse_beams\.groups = 2",
        ),
        (
            {"beam_size": 4, "diverse_beams": DiverseBeams(groups=2), "beam_margin": 1.0},
            r"beam_margin = 1\.0 would drop what diverse_beams \(penalty = 0\.5\) has let in",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_an_error_with_both_values(settings, message):
    with pytest.raises(ValidationError, match=message):
        Decoding(**settings)


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


def test_sources_enter_as_others_leave_and_find_what_they_find_alone(random_model):
    """Many lengths, so that batches mix sentences at different positions; all that travels with a row is in use."""
    generator = np.random.default_rng(1)
    sources = [generator.integers(4, 10, generator.integers(1, 9)).tolist() for _ in range(40)]
    options = replace(OPEN, beam_size=3, num_best=2, prune_margin=2.0, coverage_beta=0.3, length_alpha=0.6)
    options = replace(options, keep_attention=True, no_repeat_ngram=2, max_length_extra=3)
    model = random_model(4, 6)
    expected = [search(model, [source], options)[0] for source in sources]
    for batch_tokens in (1, 60, 200):
        model.num_rows.clear()
        found = search_all(model, sources, options, batch_tokens=batch_tokens)
        for hypotheses, alone in zip(found, expected, strict=True):
            for hypothesis, other in zip(hypotheses, alone, strict=True):
                assert hypothesis._replace(score=0, attention=None) == other._replace(score=0, attention=None)
                assert hypothesis.score == pytest.approx(other.score, abs=1e-5)  # sums with and without padding
                assert torch.equal(hypothesis.attention, other.attention)
        if batch_tokens == 200:  # once full (a sentence starts as one row), never near empty before the end
            assert min(model.num_rows[2 : len(model.num_rows) // 2]) > max(model.num_rows) / 3


def test_attention_is_that_of_each_word_and_the_end_without_padding(random_model):
    options = replace(OPEN, beam_size=4, num_best=3, keep_attention=True)
    model = random_model(2, 5)
    for hypotheses, source in zip(search(model, SOURCES, options), SOURCES, strict=True):
        for hypothesis in hypotheses:
            ids = hypothesis.ids
            expected = [model.predict((*source, EOS), ids[:length]).attention for length in range(len(ids) + 1)]
            torch.testing.assert_close(hypothesis.attention, torch.tensor(expected))
    assert search(model, SOURCES, replace(options, keep_attention=False))[0][0].attention is None


def test_nothing_is_computed_for_sources_without_subwords(random_model):
    model = random_model(0, 3)
    assert search_all(model, [[], []], OPEN, batch_tokens=100) == [[NOTHING], [NOTHING]]
    assert search_all(model, [], OPEN, batch_tokens=100) == []
    assert model.num_rows == []


@pytest.mark.parametrize("rules", [{}, {"early_stopping": "best", "beam_margin": 1.0}, {"early_stopping": "exact"}])
def test_the_first_hypothesis_does_not_depend_on_how_many_are_wanted(random_model, rules):
    for seed in range(20):
        model = random_model(seed, 6)
        options = replace(OPEN, length_alpha=1.2, coverage_beta=0.2, prune_margin=2.0, max_length_extra=4, **rules)
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
    assert SearchOptions.from_settings(decoding, num_best=2) == SearchOptions(3, 0.7, 0.1, 2.0, 2.0, 4, num_best=2)
