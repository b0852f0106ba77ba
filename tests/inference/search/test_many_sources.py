"""Many sources of very different lengths at once, with a real model: each finds what it finds alone.

They are encoded in several runs, their memories are joined, they come and go; and fresh memory is full of NaN, so that
whatever is read without having been written to shows.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Model
from mtmoe.config.settings import Shortlist as ShortlistSettings
from mtmoe.data.prepared.lexicon import Lexicon
from mtmoe.inference.models.inference_precision import prepare_for_search
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.next_words.shortlist import Shortlist
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import NUM_SPECIAL

SIZE = 120
OPTIONS = SearchOptions(
    beam_size=3,
    length_alpha=0.6,
    coverage_beta=0.1,
    prune_margin=3.0,
    max_length_ratio=1.0,
    max_length_extra=2,
    keep_attention=True,
)
WIRINGS = [
    {},
    {"attention_context": "recurrent-all", "attention": "additive", "lstm_hidden": 24},
    {"output_attention": True},
]


@pytest.fixture
def dirty_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """New memory is full of NaN; how many tensors were given out so."""
    new_empty, counts = torch.Tensor.new_empty, [0]

    def full_of_nan(self: torch.Tensor, *arguments, **options) -> torch.Tensor:
        tensor = new_empty(self, *arguments, **options)
        counts[0] += tensor.is_floating_point()
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch.Tensor, "new_empty", full_of_nan)
    return counts


def model_of(**settings) -> TranslationModel:
    torch.manual_seed(3)
    model = TranslationModel(
        Model(**({"width": 16, "encoder_moe_after": (), "decoder_moe_after": ()} | settings)), SIZE
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    prepare_for_search(model, "fp32")
    return model


def shortlist() -> Shortlist:
    generator = np.random.default_rng(1)
    candidates_VC = generator.integers(NUM_SPECIAL, SIZE, (SIZE, 4)).astype(np.int32)
    frequent = generator.permutation(np.arange(NUM_SPECIAL, SIZE))[:10].astype(np.int32)
    return Shortlist(Lexicon(candidates_VC, frequent), ShortlistSettings(per_source_token=4, frequent=10))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("wiring", WIRINGS, ids=str)
def test_each_finds_what_it_finds_alone(wiring, listed, dirty_memory):
    model, own = model_of(**wiring), shortlist() if listed else None
    generator = random.Random(2)
    lengths = [1, 30, *(generator.randint(1, 30) for _ in range(88))]
    sources = [[generator.randrange(NUM_SPECIAL, SIZE) for _ in range(length)] for length in lengths]
    expected = [search_all(model, [source], OPTIONS, batch_tokens=10_000, shortlist=own)[0] for source in sources]
    assert len({hypotheses[0].ids for hypotheses in expected}) > 30
    for batch_tokens in (100_000, 4_000):  # all at once in several runs; and in batches that are filled up
        found = search_all(model, sources, OPTIONS, batch_tokens=batch_tokens, shortlist=own)
        for (one, *_), (other, *_), length in zip(found, expected, lengths, strict=True):
            assert one.ids == other.ids
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.attention is not None
            assert one.attention.shape == (len(one.ids) + 1, length + 1)
            torch.testing.assert_close(one.attention, other.attention, rtol=1e-4, atol=1e-4)
    assert dirty_memory[0] > 0
