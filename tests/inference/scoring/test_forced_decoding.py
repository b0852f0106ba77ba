"""Scores of given translations: equal to what the search reports, and one for each line."""

from __future__ import annotations

import math

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.errors import UserError
from mtmoe.inference.scoring.forced_decoding import Score, force_decode, perplexity, perplexity_of, score_pairs
from mtmoe.inference.search.beam_search import SearchOptions, search_all
from mtmoe.inference.search.source_batching import pad_with_eos
from mtmoe.inference.translator import Translator

SOURCES = [
    "Where is the station?",
    "",
    "Two dogs play in the snow.",
    "A man",
    "The children are waiting.",
    "dogs " * 60,
]
TARGETS = ["Où est la gare ?", "", "Deux chiens jouent dans la neige.", "Un homme", "", "chiens"]


@pytest.fixture(scope="module")
def loaded(run_directory):
    return load_model(run_directory, "best", "cpu")


def test_the_score_of_a_translation_is_the_one_that_translating_reported(run_directory, loaded):
    translator = Translator(run_directory, device="cpu")
    translations = translator.translate(SOURCES, num_best=3)
    encode, decode = loaded.subwords.encode, loaded.subwords.decode
    num_reencoded = 0
    for rank in range(3):
        ranked = [([t, *t.alternatives] + [None] * 3)[rank] for t in translations]
        pairs = [(s, t) for s, t in zip(SOURCES, ranked, strict=True) if t is not None]
        sources, found = zip(*pairs, strict=True)
        for translation, score in zip(found, score_pairs(loaded, sources, [t.text for t in found]), strict=True):
            assert score.log_probability == pytest.approx(translation.log_probability, abs=1e-4)
            assert score.num_tokens == translation.num_tokens
            num_reencoded += decode(encode(translation.text)) != translation.text or "\ufffd" in translation.text
    assert num_reencoded  # the case of other subwords than the search found did occur


def test_without_scores_texts_are_the_same_and_nothing_is_computed_anew(run_directory, monkeypatch):
    translator = Translator(run_directory, device="cpu")
    found = translator.translate(SOURCES, with_scores=True)
    several = translator.translate(SOURCES, 3, with_alignment=True)
    assert translator.translate(SOURCES, 3, with_alignment=True, with_scores=False) == several, "ranked by scores"
    monkeypatch.setattr("mtmoe.inference.scoring.reencoding.force_decode", None)
    quick = list(translator.stream(SOURCES, with_scores=False))
    assert [t.text for t in quick] == [t.text for t in found]
    for one, other in zip(quick, found, strict=True):
        assert one.num_tokens == len(one.tokens) == len(one.token_log_probabilities)
        if one.tokens == other.tokens:
            assert one.score == pytest.approx(other.score, abs=1e-4)
    assert any(one.tokens != other.tokens for one, other in zip(quick, found, strict=True))


def test_forced_decoding_of_what_the_search_found_gives_its_hypothesis(loaded):
    options = SearchOptions.from_settings(loaded.recipe.decoding, num_best=4)
    ids = [loaded.subwords.encode(line) for line in SOURCES if line]
    source_BS, lengths_B = pad_with_eos(ids)
    found = search_all(loaded.model, ids, options, batch_tokens=10_000)
    for rank in range(2):
        hypotheses = [group[min(rank, len(group) - 1)] for group in found]
        forced = force_decode(loaded.model, source_BS, lengths_B, [h.ids for h in hypotheses], options)
        for hypothesis, again in zip(hypotheses, forced, strict=True):
            assert again.ids == hypothesis.ids
            assert again.score == pytest.approx(hypothesis.score, abs=1e-4)
            assert again.log_probability == pytest.approx(hypothesis.log_probability, abs=1e-4)
            assert again.token_log_probabilities == pytest.approx(hypothesis.token_log_probabilities, abs=1e-4)


def test_forced_decoding_agrees_with_the_search_of_a_fake_model(random_model):
    model = random_model(5, 6)
    options = SearchOptions(4, 0.7, 0.3, 1e9, 1.0, 1, num_best=4)
    sources = [[5, 6, 7], [9]]
    source_BS, lengths_B = pad_with_eos(sources)
    found = search_all(model, sources, options, batch_tokens=100)
    for rank in range(4):
        hypotheses = [group[rank] for group in found]
        forced = force_decode(model, source_BS, lengths_B, [h.ids for h in hypotheses], options)
        assert [h.score for h in forced] == pytest.approx([h.score for h in hypotheses], abs=1e-5)


def test_a_score_is_the_sum_over_the_tokens_that_the_model_gives_alone(loaded):
    scores = list(score_pairs(loaded, SOURCES, TARGETS))
    ids, labels = loaded.subwords.encode(SOURCES[2]), loaded.subwords.encode(TARGETS[2])
    with torch.no_grad():
        tokens = loaded.model.log_probabilities(batch_of([ids], [labels]))[0].tolist()
    assert scores[2].num_tokens == len(labels) + 1 == len(tokens)
    assert scores[2].token_log_probabilities == pytest.approx(tokens, abs=1e-4)
    assert scores[2].log_probability == pytest.approx(sum(tokens), abs=1e-4)


def test_there_is_one_score_for_each_line_whatever_the_batches(loaded):
    scores = list(score_pairs(loaded, SOURCES, TARGETS))
    assert len(scores) == len(SOURCES)
    small = loaded.recipe.decoding.model_copy(update={"batch_tokens": 1})
    alone = list(score_pairs(loaded, iter(SOURCES), iter(TARGETS), decoding=small))
    assert [s.num_tokens for s in alone] == [s.num_tokens for s in scores]
    assert [s.log_probability for s in alone] == pytest.approx([s.log_probability for s in scores], abs=1e-4)


def test_an_empty_translation_is_scored_as_the_end_of_sentence_alone(loaded):
    (score,) = score_pairs(loaded, ["The children are waiting."], [""])
    assert score.num_tokens == 1
    assert score.log_probability == score.token_log_probabilities[0] < 0


def test_a_blank_source_line_has_log_probability_0_for_0_tokens(loaded):
    blank, invented = score_pairs(loaded, ["", " "], ["", "Bonjour"])
    assert blank == Score(0.0, 0, (), "")
    assert invented[:3] == (0.0, 0, ())
    assert invented.warning == "not scored: the source line is blank, but the target line is not"


def test_a_source_that_is_too_long_is_scored_as_it_was_translated(loaded):
    truncated = list(score_pairs(loaded, ["dogs " * 60, "dogs " * 90], ["chiens"] * 2))
    assert truncated[0].log_probability == pytest.approx(truncated[1].log_probability, abs=1e-4)
    assert truncated[0].warning.endswith("to 40 subwords (decoding.max_source_tokens)")
    left_empty = loaded.recipe.decoding.model_copy(update={"over_long": "empty"})
    (empty,) = score_pairs(loaded, ["dogs " * 60], ["chiens"], decoding=left_empty)
    assert (empty.log_probability, empty.num_tokens) == (0.0, 0)
    assert empty.warning.startswith("not scored: left empty: ")


def test_perplexity_is_per_token_over_all_lines():
    scores = [Score(-2.0, 2, (-1.0, -1.0)), Score(0.0, 0, ()), Score(-4.0, 1, (-4.0,))]
    assert perplexity(scores) == pytest.approx(math.exp(2.0))


def test_no_scored_token_has_no_perplexity():
    with pytest.raises(UserError, match="no line was scored, so there is no perplexity"):
        perplexity([Score(0.0, 0, ())])


def test_different_line_counts_are_an_error_before_anything_is_scored(loaded):
    with pytest.raises(UserError, match="the source has 3 lines, but the target has 2"):
        score_pairs(loaded, SOURCES[:3], TARGETS[:2])


def test_different_line_counts_of_streams_are_found_at_their_end(loaded):
    with pytest.raises(UserError, match="the source has 2 lines, but the target has 6"):
        list(score_pairs(loaded, iter(SOURCES[:2]), iter(TARGETS)))


def test_progress_counts_every_pair(loaded):
    calls = []
    list(score_pairs(loaded, SOURCES, TARGETS, progress=lambda *call: calls.append(call)))
    assert calls == [("score", 6, 6, "sentences")]


def test_a_perplexity_that_no_number_can_say_is_infinite():
    assert perplexity_of(-1000.0, 1) == math.inf
    assert perplexity_of(-2.0, 2) == pytest.approx(math.e)
