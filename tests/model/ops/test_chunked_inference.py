"""Sequences of any length in bounded memory: what is computed in pieces is what is computed at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches.padding import ragged, text_batch
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.model import attention, lstm
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe import moe_layer as feed_forward
from mtmoe.model.translation import TranslationModel

SOURCES = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [11, 12, 13]]
TARGETS = [[20, 21, 22, 23], [24, 25, 26, 27, 28, 29, 30]]
GATES = (
    {},
    {"gate": "softmax"},
    {"gate": "strictly-balanced"},
    {"hierarchy": {"groups": 2}, "experts_per_token": 4},
    {"kind": "dense"},
)


def _settings(moe: dict[str, Any], **settings: Any) -> Model:
    mixture = MixtureOfExpertsSettings(**{"num_experts": 8, "experts_per_token": 2, "expert_hidden": 16} | moe)
    base: dict[str, Any] = {"width": 16, "encoder_moe_after": (1,), "decoder_moe_after": (1,), "moe": mixture}
    return Model(**(base | settings))


@contextmanager
def _tiny_pieces() -> Iterator[None]:
    """A position or two at a time, everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "ATTENTION_ELEMENTS", 20)
        patch.setattr(lstm, "LAYER_ELEMENTS", 300)
        patch.setattr(feed_forward, "LAYER_ELEMENTS", 50)
        patch.setattr(feed_forward, "POSITIONS_AT_ONCE", 3)
        yield


@pytest.mark.parametrize("context", ["parallel", "recurrent", "recurrent-all"])
@pytest.mark.parametrize("kind", ["product", "additive"])
@pytest.mark.parametrize("moe", GATES, ids=str)
def test_a_translation_is_scored_in_pieces_as_at_once(context, kind, moe):
    torch.manual_seed(0)
    settings = _settings(moe, attention_context=context, attention=kind, output_attention=True, lstm_hidden=24)
    model, batch = TranslationModel(settings, 40).eval(), batch_of(SOURCES, TARGETS)
    expected, whole = model.log_probabilities(batch), model(batch)
    with torch.no_grad(), _tiny_pieces():
        found, pieces = model.log_probabilities(batch), model(batch)
    torch.testing.assert_close(found, expected.detach())
    assert pieces.balances.keys() == whole.balances.keys()
    for layer, balance in pieces.balances.items():
        assert torch.equal(balance.token_counts_E, whole.balances[layer].token_counts_E)
        torch.testing.assert_close(balance.importance_E, whole.balances[layer].importance_E.detach())


@pytest.mark.parametrize("moe", GATES, ids=str)
def test_text_is_scored_in_pieces_as_at_once(moe):
    torch.manual_seed(0)
    model = LanguageModel(_settings(moe, encoder_moe_after=(), tied_embeddings="none"), 40).eval()
    batch = text_batch(ragged(TARGETS + SOURCES))
    expected = model.log_probabilities(batch).detach()
    with torch.no_grad(), _tiny_pieces():
        torch.testing.assert_close(model.log_probabilities(batch), expected)


def test_gradients_are_those_of_one_piece():
    torch.manual_seed(0)
    model, batch = TranslationModel(_settings({}, dropout=0.0), 40).train(), batch_of(SOURCES, TARGETS)
    gradients = []
    for pieces in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        with _tiny_pieces() if pieces else pytest.MonkeyPatch.context():
            model(batch).hidden_ND.sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


class _PeakMemory:
    """The most that this process has held while it was measured, above what it held before, in bytes."""

    def __enter__(self) -> _PeakMemory:
        self._before = self._most = self._resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.bytes = self._most - self._before

    def _watch(self) -> None:
        while not self._over.is_set():
            self._most = max(self._most, self._resident())
            time.sleep(0.002)

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc to see how much memory is used")
@pytest.mark.parametrize("context", ["parallel", "recurrent"])
def test_a_pair_of_very_long_lines_takes_little_memory(context):
    """All attention weights at once would be 256 MB, of the parallel wiring, and several times so much in all."""
    torch.manual_seed(0)
    model = TranslationModel(_settings({}, width=8, attention_context=context), 40).eval()
    ids = torch.randint(4, 40, (8000,)).tolist()
    batch = batch_of([ids], [ids if context == "parallel" else ids[:500]])
    with torch.inference_mode(), _PeakMemory() as peak:
        assert model.log_probabilities(batch).isfinite().all()
    assert peak.bytes < 250e6
