"""Search with a language model, against one that reads every prefix again from its beginning."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional as F

from mtmoe.config.settings import Decoding, Model, Sampling
from mtmoe.data.batches.padding import ragged, text_batch
from mtmoe.inference.models.shallow_fusion import FusedModel, with_the_rest_on_pad
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.model.language_model import LanguageModel
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL, PAD
from tests.inference.conftest import FakeModel, Prediction
from tests.inference.search.test_beam_search import assert_same, plain_beam_search

NUM_WORDS = 6
SOURCES = [[5, 6, 7], [9], [4, 4, 8, 8, 5], [6, 5], [8]]


def language_model(seed: int = 1) -> LanguageModel:
    torch.manual_seed(seed)
    settings = Model.model_validate_json('{"width": 16, "decoder_moe_after": [1], "moe": {"num_experts": 4}}')
    model = LanguageModel(settings, NUM_SPECIAL + NUM_WORDS).eval()
    with torch.no_grad():
        model.output_VD.mul_(3.0)  # so that it has opinions
    return model


class WholePrefixes:
    """Both models read the whole prefix for each next word, and their numbers are added up."""

    def __init__(self, translation: FakeModel, model: LanguageModel, weight: float, first_token: int = BOS) -> None:
        self.translation, self.model, self.weight, self.first_token = translation, model, weight, first_token
        self.predict = functools.cache(self._predict)

    @torch.inference_mode()
    def _predict(self, source: tuple[int, ...], prefix: tuple[int, ...]) -> Prediction:
        batch = text_batch(ragged([prefix]))
        batch.target_BT[:, 0] = self.first_token
        hidden_ND, *_ = self.model(batch)
        log_V = F.linear(hidden_ND[-1], self.model.output_VD).log_softmax(0)
        log_probabilities, attention = self.translation.predict(source, prefix)
        fused = [own + self.weight * float(other) for own, other in zip(log_probabilities, log_V, strict=True)]
        return Prediction(fused, attention)


@pytest.mark.parametrize("early_stopping", ["full", "exact"])
@pytest.mark.parametrize(("weight", "first_token"), [(0.3, BOS), (1.5, EOS)])
def test_fusion_finds_what_reading_whole_prefixes_finds(random_model, weight, first_token, early_stopping):
    decoding = Decoding(beam_size=4, early_stopping=early_stopping, length_alpha=0.6)
    options = SearchOptions.from_settings(decoding, num_best=3)
    changed = 0
    for seed in range(2):
        translation, model = random_model(seed, NUM_WORDS), language_model(seed)
        fused = FusedModel(translation, model, weight, first_token=first_token)
        # Few rows at a time: sources leave and others enter, and each keeps its own state.
        found = search_all(fused, SOURCES, options, batch_tokens=60)
        slow = WholePrefixes(translation, model, weight, first_token)
        for source, hypotheses in zip(SOURCES, found, strict=True):
            assert_same(hypotheses, plain_beam_search(slow, source, options))
        alone = search_all(translation, SOURCES, options, batch_tokens=60)
        changed += sum(a[0].ids != b[0].ids for a, b in zip(found, alone, strict=True))
    assert changed > 3  # else it would show little


def test_sampling_draws_from_both_and_diverse_beams_search_with_both(random_model):
    translation, model = random_model(3, NUM_WORDS), language_model()
    slow = WholePrefixes(translation, model, 0.7)

    def fused(source, prefix):
        log_probabilities, attention = slow.predict(source, prefix)
        log_XV = with_the_rest_on_pad(torch.tensor([log_probabilities]))
        return Prediction(log_XV[0].tolist(), attention)

    for decoding in (
        Decoding(beam_size=1, sampling=Sampling(seed=5)),
        Decoding.model_validate({"beam_size": 4, "diverse_beams": {"groups": 2}}),
    ):
        options = SearchOptions.from_settings(decoding, num_best=2)
        found = search_all(FusedModel(translation, model, 0.7), SOURCES, options, batch_tokens=60)
        expected = search_all(FakeModel(fused, NUM_WORDS), SOURCES, options, batch_tokens=1000)
        for hypotheses, others in zip(found, expected, strict=True):
            assert [h.ids for h in hypotheses] == [h.ids for h in others]
            assert [h.score for h in hypotheses] == pytest.approx([h.score for h in others], rel=1e-5)


@pytest.mark.parametrize("weight", [1e-6, 0.2, 10.0])
def test_the_rest_goes_where_no_search_looks_and_no_other_number_moves(weight):
    torch.manual_seed(2)
    fused_XV = torch.randn(5, 40).log_softmax(1) + weight * torch.randn(5, 40).log_softmax(1)
    whole_XV = with_the_rest_on_pad(fused_XV.clone()).log_softmax(1)
    words = torch.arange(40) != PAD
    torch.testing.assert_close(whole_XV[:, words], fused_XV[:, words], rtol=0, atol=2e-6)
