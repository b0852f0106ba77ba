"""Soft terms, against a sum over all ways in which a translation can have come about."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.constraints.soft_terms import SoftTerm, mixture_after
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.scoring.rescoring import RescoringRuns
from mtmoe.inference.search.beam_search import SearchOptions, SearchTask, search_all
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.text.lines import divide_sources, encode_targets
from mtmoe.inference.text.spelling import spelling
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import EOS, NUM_SPECIAL
from tests.inference.conftest import Prediction

A, B, C = range(NUM_SPECIAL, NUM_SPECIAL + 3)
SOURCE = [A, B, C]
SHARE = 0.7
TERMS = {
    "of one word": (SoftTerm((0,), (B,)),),
    "of three": (SoftTerm((0, 1), (B, A, C)),),
    "that begin alike": (SoftTerm((0,), (B, A)), SoftTerm((2,), (B, C))),
    "that repeat": (SoftTerm((1,), (A, A, B)), SoftTerm((0,), (A,))),
}


def probability(predict, words, terms, share=SHARE):
    """P(words, EOS): the sum over the model's word and a copy at each place, in whatever order they are mixed."""

    def has(ids, place):
        return any(words[start : start + len(ids)] == ids for start in range(place - len(ids) + 1))

    def from_model(place):
        if place == len(words):
            shares = starts(place)
            return (1 - sum(shares)) * math.exp(predict((*SOURCE, EOS), words).log_probabilities[EOS])
        shares = starts(place)
        p = math.exp(predict((*SOURCE, EOS), words[:place]).log_probabilities[words[place]])
        total = (1 - sum(shares)) * p * from_model(place + 1)
        for share_of_term, term in zip(shares, terms, strict=True):
            if share_of_term and words[place : place + len(term.ids)] == term.ids:
                total += share_of_term * from_model(place + len(term.ids))
        return total

    def starts(place):
        attention = predict((*SOURCE, EOS), words[:place]).attention
        return [0 if has(t.ids, place) else share * sum(attention[i] for i in t.positions) for t in terms]

    return from_model(0)


@pytest.mark.parametrize("name", TERMS)
def test_the_probability_of_a_translation_is_the_sum_over_all_ways_to_come_to_it(random_model, name):
    predict, terms = random_model(3, 3).predict, TERMS[name]
    for words in itertools.chain.from_iterable(itertools.product((A, B, C), repeat=length) for length in range(5)):
        begun, total = (), 0.0
        for place, word in enumerate((*words, EOS)):
            prediction = predict((*SOURCE, EOS), words[:place])
            mixture = mixture_after(words[:place], begun, terms, prediction.attention, SHARE)
            log_p = prediction.log_probabilities[word]
            if mixture is None:
                total, begun = total + log_p, ()
            else:
                total += mixture.log_probability(log_p, mixture.copied().get(word, 0.0))
                begun = mixture.after(word, log_p)
        assert math.exp(total) == pytest.approx(probability(predict, words, terms), rel=1e-4)


@pytest.mark.parametrize("name", TERMS)
def test_what_may_come_next_sums_to_one(random_model, name):
    predict, terms = random_model(4, 3).predict, TERMS[name]
    words, begun = (), ()
    for word in (B, A, A, C):
        prediction = predict((*SOURCE, EOS), words)
        mixture = mixture_after(words, begun, terms, prediction.attention, SHARE)
        if mixture is None:
            break
        copied = mixture.copied()
        chances = [
            math.exp(mixture.log_probability(log_p, copied.get(i, 0.0)))
            for i, log_p in enumerate(prediction.log_probabilities)
        ]
        assert sum(chances) == pytest.approx(1.0, abs=1e-5)
        words, begun = (*words, word), mixture.after(word, prediction.log_probabilities[word])


def options(beam_size, **given):
    return SearchOptions(
        beam_size=beam_size,
        length_alpha=0.0,
        coverage_beta=0.0,
        prune_margin=1e9,
        max_length_ratio=1.0,
        max_length_extra=1,
        early_stopping="exact",
        soft_terms=SHARE,
        **given,
    )


def searched(model, terms, chosen, **arguments):
    (found,) = search_all(model, [SOURCE], chosen, batch_tokens=1000, tasks=[SearchTask(soft_terms=terms)], **arguments)
    return found


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_search_finds_what_is_likeliest_with_the_terms_and_tells_the_models_probabilities(
    random_model, name, seed
):
    model, terms = random_model(seed, 3, eos_bonus=1.0), TERMS[name]
    (best,) = searched(model, terms, options(400))
    every = itertools.chain.from_iterable(itertools.product((A, B, C), repeat=length) for length in range(4))
    # At the greatest length (4) the end is the model's own, so only what is shorter is compared.
    likeliest = max(every, key=lambda words: probability(model.predict, words, terms))
    if len(best.ids) < 4:
        assert best.ids == likeliest
        assert best.score + best.gain == pytest.approx(math.log(probability(model.predict, best.ids, terms)), abs=1e-4)
    by_model = [
        model.predict((*SOURCE, EOS), best.ids[:place]).log_probabilities[word]
        for place, word in enumerate((*best.ids, EOS))
    ]
    assert best.token_log_probabilities == pytest.approx(by_model, abs=1e-5)
    assert best.log_probability == pytest.approx(sum(by_model), abs=1e-5)
    assert best.score == pytest.approx(sum(by_model) / length_penalty(len(best.ids) + 1, 0.0), abs=1e-5)


def test_enough_of_the_searches_were_compared(random_model):
    lengths = [
        len(searched(random_model(seed, 3, eos_bonus=1.0), terms, options(400))[0].ids)
        for seed in range(4)
        for terms in TERMS.values()
    ]
    assert sum(length < 4 for length in lengths) >= 8


def test_a_term_is_copied_where_the_model_attends_to_it_and_nowhere_else(fake_model):
    def predict(source, prefix):
        """Writes C twice and ends, attending to the first word, the second, and the end."""
        chances = [1e-3] * (NUM_SPECIAL + 3)
        chances[C if len(prefix) < 2 else EOS] = 1 - 1e-3 * (NUM_SPECIAL + 2)
        attention = [0.02] * len(source)
        attention[(0, 1, 3)[min(len(prefix), 2)]] = 0.94
        return Prediction([math.log(chance) for chance in chances], attention)

    model = fake_model(predict)
    for place in (0, 1):
        (best,) = searched(model, (SoftTerm((place,), (B,)),), options(4))
        assert best.ids == tuple(B if i == place else C for i in range(2))
    assert searched(model, (SoftTerm((2,), (A, B)),), options(4))[0].ids == (C, C)


def test_a_term_that_is_there_is_not_written_again_and_one_that_is_begun_is_completed(fake_model):
    def predict(source, prefix):
        chances = [1e-3] * (NUM_SPECIAL + 3)
        likely = EOS if len(prefix) >= 3 else C
        chances[likely] = 1 - sum(chances) + 1e-3
        return Prediction([math.log(x) for x in chances], [1.0, 0.0, 0.0, 0.0])

    (best,) = searched(fake_model(predict), (SoftTerm((0,), (A, B)),), options(4))
    assert best.ids == (A, B, C)


def test_greedy_search_and_neighbours_and_a_search_without_terms(random_model):
    model = random_model(11, 3, eos_bonus=0.5)
    tasks = [SearchTask(soft_terms=TERMS["of three"]), SearchTask(), SearchTask(soft_terms=TERMS["that begin alike"])]
    for beam in (1, 3):
        alone = [search_all(model, [SOURCE], options(beam), batch_tokens=1000, tasks=[task])[0] for task in tasks]
        together = search_all(model, [SOURCE] * 3, options(beam), batch_tokens=1000, tasks=tasks)
        assert [[h.ids for h in found] for found in together] == [[h.ids for h in found] for found in alone]
    without = search_all(model, [SOURCE], options(3), batch_tokens=1000)[0]
    assert searched(model, (), options(3)) == without


def test_a_prefix_that_ends_inside_a_term_goes_on_with_it(fake_model):
    def predict(source, prefix):
        chances = [1e-3] * (NUM_SPECIAL + 3)
        chances[EOS if len(prefix) >= 2 else C] = 1 - 1e-3 * (NUM_SPECIAL + 2)
        return Prediction([math.log(chance) for chance in chances], [1.0, 0.0, 0.0, 0.0])

    task = SearchTask(prefix_ids=(A,), soft_terms=(SoftTerm((0,), (A, B)),))
    ((best,),) = search_all(fake_model(predict), [SOURCE], options(4), batch_tokens=1000, tasks=[task])
    assert best.ids == (A, B)


def test_terms_that_share_a_subword_share_the_attention_to_it():
    terms = (SoftTerm((1,), (A,)), SoftTerm((1,), (A, B)), SoftTerm((0,), (C,)))
    mixture = mixture_after((), (), terms, [0.2, 0.8], 0.9)
    assert mixture.copied() == pytest.approx({A: 0.9 * 0.8, C: 0.9 * 0.2})
    assert mixture.model == pytest.approx(0.1)


def test_samples_are_not_drawn_from_a_mixture(random_model):
    with pytest.raises(ValueError, match="soft terms need a search"):
        searched(random_model(1, 3), TERMS["of three"], replace(options(1), soft_terms=None))


# ------------------------------------------------------------------------------------------------- with a run

TERMINOLOGY = Terminology([Term("station", "gare routière"), Term("dogs", "toutous"), Term("old", "ancienne")])
LINES = ["Two dogs play in the snow.", "A man rides a bicycle past the old station, the station.", "Where is he?", ""]


def test_the_subwords_of_a_term_are_those_that_spell_it(run_directory):
    translator = Translator(run_directory, device="cpu", overrides=["decoding.soft_terms=0.9"], terms=TERMINOLOGY)
    subwords = translator.loaded.subwords
    (line,) = divide_sources([LINES[1]], subwords, translator.decoding, translator.loaded.recipe.data)
    task = translator._line_constraints.added(SearchTask(), line.parts[0])
    assert not len(task.phrases)
    spelt = []
    for term in task.soft_terms:
        parts = [spelling(line.parts[0].ids[place], subwords.pieces) for place in term.positions]
        spelt.append(b"".join(parts).decode())
    targets = [b"".join(spelling(i, subwords.pieces) for i in term.ids).decode() for term in task.soft_terms]
    old, stations = spelt
    assert old.strip() == "old"
    assert re.fullmatch(r" ?station,? station\.?", stations)
    assert [text.strip() for text in targets] == ["ancienne", "gare routière"]


def test_soft_terms_of_an_untrained_model_come_where_they_can_and_score_says_the_same(run_directory):
    soft = Translator(run_directory, device="cpu", overrides=["decoding.soft_terms=0.99"], terms=TERMINOLOGY)
    plain = Translator(run_directory, device="cpu")
    found = soft.translate(LINES)
    assert any(term.applied for translation in found for term in translation.terms)
    assert [t.text for t in found[2:]] == [t.text for t in plain.translate(LINES[2:])]
    (alone,) = soft.translate(LINES[1:2])
    assert alone.text == found[1].text
    for translation in found[:3]:
        assert translation.log_probability == pytest.approx(sum(translation.token_log_probabilities), abs=1e-4)


def test_reranking_ranks_by_what_the_terms_have_added_too(run_directory, language_model_run):
    translator = Translator(
        run_directory,
        device="cpu",
        overrides=["decoding.soft_terms=0.5", "decoding.reranking.language_model_weight=1e-9"],
        terms=TERMINOLOGY,
        rescoring=RescoringRuns(reranking_language_model=str(language_model_run)),
    )
    subwords = translator.loaded.subwords
    (line,) = divide_sources(LINES[:1], subwords, translator.decoding, translator.loaded.recipe.data)
    with_term, without = encode_targets(["Deux toutous jouent", "Deux chiens jouent"], subwords)
    found = [
        Hypothesis(tuple(with_term), -5.0, -5.0, (-1.0,) * (len(with_term) + 1), False, gain=2.0),
        Hypothesis(tuple(without), -4.0, -4.0, (-1.0,) * (len(without) + 1), False),
    ]
    found_options = SearchOptions.from_settings(translator.decoding, num_best=2)
    (ranked,) = translator.n_best_lists.translations(list(line.parts), [found], found_options, as_encoded=True)
    assert [(t.text, round(t.score, 3)) for t in ranked] == [
        ("Deux toutous jouent", -3.0),
        ("Deux chiens jouent", -4.0),
    ]


def test_it_does_nothing_without_terms_and_is_a_probability(run_directory):
    with pytest.raises(UserError, match=r"decoding\.soft_terms=0\.5: does nothing without --terms\nadd --terms FILE"):
        Translator(run_directory, device="cpu", overrides=["decoding.soft_terms=0.5"])
    with pytest.raises(UserError, match=r"soft_terms"):
        Translator(run_directory, device="cpu", overrides=["decoding.soft_terms=1"], terms=TERMINOLOGY)
