"""Searching among listed words against the obvious way: a model in which all other words are impossible."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from mtmoe.checkpoint import open_run
from mtmoe.config.placeholder_patterns import placeholder_pattern
from mtmoe.config.settings import Decoding, Sampling
from mtmoe.config.settings import Shortlist as Settings
from mtmoe.data.prepared.lexicon import Lexicon, save_lexicon
from mtmoe.errors import UserError
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.scoring.forced_decoding import force_decode
from mtmoe.inference.search.beam_search import SearchOptions, SearchTask, search_all
from mtmoe.inference.search.next_words.likeliest import Ban
from mtmoe.inference.search.next_words.shortlist import ListedWords, Shortlist
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD

NUM_WORDS = 40
SIZE = NUM_SPECIAL + NUM_WORDS


def lexicon(size: int = SIZE, num_candidates: int = 6, num_frequent: int = 10) -> Lexicon:
    generator = np.random.default_rng(3)
    candidates_VC = generator.integers(NUM_SPECIAL, size, (size, num_candidates)).astype(np.int32)
    candidates_VC[::7, 2:] = PAD
    return Lexicon(candidates_VC, generator.permutation(np.arange(NUM_SPECIAL, size))[:num_frequent].astype(np.int32))


def shortlist(per_source_token: int = 3, frequent: int = 4, size: int = SIZE) -> Shortlist:
    return Shortlist(lexicon(size), Settings(per_source_token=per_source_token, frequent=frequent))


def allowed_words(own: Shortlist, source: tuple[int, ...] | list[int], wanted=()) -> set[int]:
    return {*own.always_F.tolist(), *own.own_words([i for i in source if i != EOS], wanted).tolist()}


def sources(number: int) -> list[list[int]]:
    generator = random.Random(5)
    return [[generator.randrange(NUM_SPECIAL, SIZE) for _ in range(generator.randint(1, 6))] for _ in range(number)]


OPTIONS = SearchOptions(
    beam_size=4, length_alpha=0.4, coverage_beta=0.2, prune_margin=4.0, max_length_ratio=1.5, max_length_extra=3
)


def test_the_words_of_a_source_are_those_of_the_lexicon_the_frequent_ones_and_its_own():
    candidates_VC = np.full((12, 4), PAD, np.int32)
    candidates_VC[4], candidates_VC[5, :2] = [6, 7, 8, 9], [9, 10]
    own = Shortlist(Lexicon(candidates_VC, np.array([7, 11, 6])), Settings(per_source_token=2, frequent=2))
    assert own.always_F.tolist() == [EOS, 7, 11]
    assert own.own_words([4]).tolist() == [4, 6, 8], "7 is frequent, so 8 takes its place"
    assert own.own_words([5, 4, 5]).tolist() == [4, 5, 6, 8, 9, 10]
    assert own.own_words([5], wanted=(7, 4)).tolist() == [4, 5, 9, 10]


def test_next_words_are_those_of_the_whole_vocabulary_without_the_others(random_model):
    own, model = shortlist(), random_model(1, NUM_WORDS)
    listed = ListedWords(model, own, "cpu")
    source_ids = sources(3)
    listed.enter([0, 1, 2], source_ids, wanted=[(), (), (SIZE - 1,)])
    source_X = np.array([1, 1, 0, 2, 2, 2])
    hidden_XD = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(1))
    proposed_XP = torch.tensor([[EOS, source_ids[s][0], SIZE - 1] for s in source_X])
    expected_XV = torch.full((6, SIZE), -torch.inf)
    for row, number in enumerate(source_X):
        words = sorted(allowed_words(own, source_ids[number], (SIZE - 1,) if number == 2 else ()))
        expected_XV[row, words] = hidden_XD[row, words].log_softmax(0)
    ban = Ban(torch.tensor([1, 3]), torch.stack([expected_XV[1, NUM_SPECIAL:].argmax(), torch.tensor(3)]) + NUM_SPECIAL)
    found = listed.next_words(hidden_XD, source_X, 5, proposed_XP, ban)
    torch.testing.assert_close(found.eos_X, expected_XV[:, EOS])
    torch.testing.assert_close(found.proposed_XP, expected_XV.gather(1, proposed_XP))
    assert torch.isneginf(found.proposed_XP[0, 2]), "no word of that source"
    expected_XV[:, :NUM_SPECIAL] = expected_XV[ban.rows, ban.words] = -torch.inf
    values_XV, words_XV = expected_XV.sort(dim=1, descending=True)
    torch.testing.assert_close(found.log_probabilities_XW, values_XV[:, :5])
    assert torch.equal(found.words_XW, words_XV[:, :5])


def test_words_stay_with_their_source_while_others_come_and_go(random_model):
    own, model, many = shortlist(per_source_token=9), random_model(1, NUM_WORDS), sources(90)
    generator = torch.Generator().manual_seed(1)
    listed, inside, waiting = ListedWords(model, own, "cpu"), [], list(range(90))
    numbers = np.random.default_rng(1)
    while inside or waiting:
        coming, waiting = waiting[:25], waiting[25:]
        listed.enter(coming, [many[source] for source in coming])
        inside += coming
        for source in numbers.permutation(inside)[: max(1, 2 * len(inside) // 3)].tolist():
            inside.remove(source)
            listed.leave(source)
        if not inside:
            continue
        source_X = np.repeat(inside, numbers.integers(1, 4, len(inside)))
        hidden_XD = torch.randn(len(source_X), SIZE, generator=generator)
        anew = ListedWords(model, own, "cpu")
        anew.enter(inside, [many[source] for source in inside])
        found, expected = (words.next_words(hidden_XD, source_X, 5) for words in (listed, anew))
        assert torch.equal(found.words_XW, expected.words_XW)
        torch.testing.assert_close(found.log_probabilities_XW, expected.log_probabilities_XW)
        torch.testing.assert_close(found.eos_X, expected.eos_X)


def test_a_source_with_fewer_words_than_the_beam_is_wide_has_no_others(random_model):
    listed = ListedWords(random_model(1, NUM_WORDS), shortlist(0, 0), "cpu")
    listed.enter([0], [[NUM_SPECIAL + 1]])
    found = listed.next_words(torch.zeros(1, SIZE), np.array([0]), 4)
    assert (found.words_XW[0, 0], found.eos_X[0].item()) == (NUM_SPECIAL + 1, pytest.approx(math.log(0.5)))
    assert torch.isneginf(found.log_probabilities_XW[0, 1:]).all()


def masked(model, own: Shortlist, wanted=()):
    """The same model, in which every word that is not listed for the source is impossible."""
    predict = model.predict

    def only_listed(source, prefix):
        prediction = predict(source, prefix)
        words = sorted(allowed_words(own, source, wanted))
        kept = np.full(SIZE, -1e30)
        kept[words] = torch.tensor(prediction.log_probabilities)[words].double().log_softmax(0).numpy()
        return prediction._replace(log_probabilities=kept.tolist())

    return type(model)(only_listed, NUM_WORDS)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_what_is_found_is_what_a_model_of_the_listed_words_alone_finds_whatever_the_batch(random_model, batch_tokens):
    own, model = shortlist(), random_model(2, NUM_WORDS, eos_bonus=2.0)
    expected = search_all(masked(model, own), sources(12), OPTIONS, batch_tokens=10_000)
    found = search_all(model, sources(12), OPTIONS, batch_tokens=batch_tokens, shortlist=own)
    assert [hypotheses[0].ids for hypotheses in found] == [hypotheses[0].ids for hypotheses in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[0].score == pytest.approx(other[0].score, abs=1e-5)
    free = search_all(model, sources(12), OPTIONS, batch_tokens=10_000)
    assert [hypotheses[0].ids for hypotheses in found] != [hypotheses[0].ids for hypotheses in free]


def test_a_shortlist_of_everything_changes_nothing(random_model):
    everything = Shortlist(lexicon(num_frequent=NUM_WORDS), Settings(per_source_token=0, frequent=NUM_WORDS))
    model = random_model(3, NUM_WORDS, eos_bonus=2.0)
    # The fake model gives probability to special symbols, too, which no list has.
    expected = search_all(masked(model, everything), sources(8), OPTIONS, batch_tokens=200)
    found = search_all(model, sources(8), OPTIONS, batch_tokens=200, shortlist=everything)
    assert [hypotheses[0].ids for hypotheses in found] == [hypotheses[0].ids for hypotheses in expected]


def test_what_a_task_asks_for_is_a_word_of_the_source(random_model):
    own, model = shortlist(1, 1), random_model(4, NUM_WORDS)
    outside = sorted(set(range(NUM_SPECIAL, SIZE)) - allowed_words(own, sources(1)[0]))[:3]
    task = SearchTask(prefix_ids=tuple(outside[:1]), phrases=Phrases.of_words([tuple(outside[1:])]))
    [[found]] = search_all(model, sources(1), OPTIONS, batch_tokens=200, tasks=[task], shortlist=own)
    assert found.ids[0] == outside[0]
    assert any(found.ids[i : i + 2] == tuple(outside[1:]) for i in range(len(found.ids)))
    assert math.isfinite(found.log_probability)


def test_words_are_banned_by_rules_among_listed_words_too(random_model):
    own, model = shortlist(), random_model(5, NUM_WORDS)
    options = SearchOptions(
        beam_size=4,
        length_alpha=1.0,
        coverage_beta=0.0,
        prune_margin=9.0,
        max_length_ratio=3.0,
        max_length_extra=10,
        min_length_ratio=2.0,
        no_repeat_ngram=1,
    )
    for hypotheses, source in zip(
        search_all(model, sources(6), options, batch_tokens=500, shortlist=own), sources(6), strict=True
    ):
        assert len(set(hypotheses[0].ids)) == len(hypotheses[0].ids) >= 2 * len(source)
        assert set(hypotheses[0].ids) <= allowed_words(own, source)


def test_models_that_translate_together_have_the_words_of_the_weighted_mean(random_model):
    models = [random_model(seed, NUM_WORDS, eos_bonus=2.0) for seed in (6, 7)]
    everything = Shortlist(lexicon(num_frequent=NUM_WORDS), Settings(per_source_token=0, frequent=NUM_WORDS))
    ensemble = Ensemble(models, [1.0, 3.0])
    words = torch.tensor([EOS, 9, 20])
    hidden_XD = torch.randn(2, 2 * SIZE)
    torch.testing.assert_close(hidden_XD @ ensemble.output_vectors(words).t(), ensemble.project(hidden_XD)[:, words])
    assert search_all(ensemble, sources(3), OPTIONS, batch_tokens=100, shortlist=everything)[0][0].ids


def test_drawing_words_has_no_shortlist(random_model):
    with pytest.raises(
        ValueError, match=r"\[sampling\] \(seed = 1\) draws from all of the vocabulary, so it has no shortlist"
    ):
        Decoding(sampling=Sampling(), shortlist=Settings())
    options = SearchOptions.from_settings(Decoding(sampling=Sampling()))
    with pytest.raises(ValueError, match="not from a shortlist"):
        search_all(random_model(1, NUM_WORDS), sources(1), options, batch_tokens=10, shortlist=shortlist())


# --------------------------------------------------------------------------------------------- a run on disk

LINES = ["Where is the station?", "", "A man rides a bicycle past the old station.", "Two dogs", "The children wait."]


@pytest.fixture
def run_with_lexicon(run_directory, monkeypatch):
    run = open_run(run_directory)
    size = Translator(run_directory, device="cpu").loaded.subwords.size
    save_lexicon(run.lexicon, lexicon(size, num_candidates=20, num_frequent=60))
    yield run_directory
    run.lexicon.unlink()


def test_a_translation_does_not_depend_on_the_batch_and_its_score_is_that_of_its_text(run_with_lexicon):
    short = ["decoding.shortlist={per_source_token=5, frequent=20}"]
    translator = Translator(run_with_lexicon, device="cpu", overrides=short)
    together = translator.translate(LINES)
    one_by_one = Translator(run_with_lexicon, device="cpu", overrides=[*short, "decoding.batch_tokens=1"])
    assert [t.text for t in one_by_one.translate(LINES)] == [t.text for t in together]
    free = Translator(run_with_lexicon, device="cpu").translate(LINES)
    assert [t.text for t in free] != [t.text for t in together]
    loaded, options = translator.loaded, SearchOptions.from_settings(translator.decoding)
    for line, translation in zip(LINES, together, strict=True):
        if not line:
            continue
        [source], [target] = loaded.subwords.encode_batch([line]), loaded.subwords.encode_batch([translation.text])
        source_BS, lengths_B = torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1])
        assert translator._shortlist is not None
        listed = ListedWords(loaded.model, translator._shortlist, "cpu")
        listed.enter([0], [source], [target])
        [alone] = force_decode(loaded.model, source_BS, lengths_B, [target], options, listed)
        [of_all] = force_decode(loaded.model, source_BS, lengths_B, [target], options)
        assert translation.log_probability == pytest.approx(alone.log_probability, abs=1e-4)
        assert translation.log_probability > of_all.log_probability


def test_a_run_without_a_lexicon_says_what_to_do(run_directory):
    with pytest.raises(UserError, match=r"lexicon.safetensors: there is no such file, and decoding.shortlist needs it"):
        Translator(run_directory, device="cpu", overrides=["decoding.shortlist={}"])


def test_copies_are_there_though_the_lists_have_none_of_their_subwords(run_with_lexicon):
    few = ["decoding.shortlist={per_source_token=0, frequent=1}", 'decoding.placeholders=["urls", "numbers", "braces"]']
    pattern = placeholder_pattern(["urls", "numbers", "braces"])
    lines = ["See https://example.org/zq?x=12 now.", "Call 555-1234, {name} and 10.5."]
    for beam_size in (1, 4):
        translator = Translator(run_with_lexicon, overrides=[*few, f"decoding.beam_size={beam_size}"], device="cpu")
        for line, translation in zip(lines, translator.translate(lines), strict=True):
            there = iter(pattern.findall(translation.text))
            assert all(part in there for part in pattern.findall(line)), translation.text  # each, in this order
