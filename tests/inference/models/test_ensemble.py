"""Models that translate together, against the weighted mean of their log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Decoding, Model
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.errors import UserError
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.scoring.forced_decoding import force_decode
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.source_batching import pad_with_eos
from mtmoe.model.translation import TranslationModel
from tests.inference.conftest import FakeModel, Prediction

SOURCES = [[5, 6, 7], [9], [4, 4, 8, 8, 5], [6, 5]]
OPTIONS = SearchOptions.from_settings(Decoding(beam_size=4), num_best=3)


@pytest.mark.parametrize("weights", [None, [3.0, 1.0]])
def test_an_ensemble_searches_with_the_renormalised_weighted_mean(random_model, weights):
    first, second = random_model(1, 6), random_model(2, 6)
    shares = [0.5, 0.5] if weights is None else [0.75, 0.25]

    def together(source, prefix):
        parts = [model.predict(source, prefix) for model in (first, second)]
        product = np.exp(sum(w * np.array(p.log_probabilities) for w, p in zip(shares, parts, strict=True)))
        attention = sum(w * np.array(p.attention) for w, p in zip(shares, parts, strict=True))
        return Prediction(np.log(product / product.sum()).tolist(), attention.tolist())

    expected = search_all(FakeModel(together, 6), SOURCES, OPTIONS, batch_tokens=1000)
    found = search_all(Ensemble([first, second], weights), SOURCES, OPTIONS, batch_tokens=40)
    alone = search_all(first, SOURCES, OPTIONS, batch_tokens=1000)
    for hypotheses, others in zip(found, expected, strict=True):
        assert [h.ids for h in hypotheses] == [h.ids for h in others]
        assert [h.score for h in hypotheses] == pytest.approx([h.score for h in others], abs=1e-5)
    assert [h[0].ids for h in found] != [h[0].ids for h in alone]


def _model(width: int, seed: int, vocabulary_size: int = 30) -> TranslationModel:
    torch.manual_seed(seed)
    model = TranslationModel(Model(width=width), vocabulary_size).eval()
    with torch.no_grad():
        model.output_VD.mul_(2.0)
    return model


def test_models_of_different_widths_translate_and_score_together():
    ensemble = Ensemble([_model(16, 1), _model(32, 2)])
    found = search_all(ensemble, SOURCES, OPTIONS, batch_tokens=60)
    targets = [hypotheses[0].ids for hypotheses in found]
    forced = force_decode(ensemble, *pad_with_eos(SOURCES), targets, OPTIONS)
    assert [h.score for h in forced] == pytest.approx([h[0].score for h in found], abs=1e-4)
    lone, itself = _model(16, 1), Ensemble([_model(16, 1)])
    assert [h[0].ids for h in search_all(itself, SOURCES, OPTIONS, batch_tokens=60)] == [
        h[0].ids for h in search_all(lone, SOURCES, OPTIONS, batch_tokens=60)
    ]


def test_whole_sentences_are_scored_as_step_by_step():
    ensemble = Ensemble([_model(16, 1), _model(32, 2)], [1.0, 3.0])
    targets = [[5, 6], [7, 7, 7, 7, 8], [], [9]]
    forced = force_decode(ensemble, *pad_with_eos(SOURCES), targets, OPTIONS)
    with torch.no_grad():
        whole_BT = ensemble.log_probabilities(batch_of(SOURCES, targets))
    for row_T, hypothesis in zip(whole_BT.tolist(), forced, strict=True):
        tokens = hypothesis.token_log_probabilities
        assert row_T[: len(tokens)] == pytest.approx(tokens, abs=1e-5)
        assert not any(row_T[len(tokens) :])


def test_an_ensemble_has_the_parameters_of_all_its_models():
    models = [_model(16, 1), _model(32, 2)]
    assert len(list(Ensemble(models).parameters())) == sum(len(list(model.parameters())) for model in models)


def test_models_that_do_not_go_together_are_an_error_with_the_sizes():
    with pytest.raises(UserError, match=r"vocabularies of different sizes: \[30, 31\]"):
        Ensemble([_model(16, 1), _model(16, 1, 31)])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_an_error(random_model, weights):
    with pytest.raises(UserError, match="an ensemble of 2 models cannot have the weights"):
        Ensemble([random_model(1, 6), random_model(2, 6)], weights)
