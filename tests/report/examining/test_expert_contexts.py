"""Profiles of experts: their tokens are those that the layers count, and contexts are text of the sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtmoe.checkpoint import LoadedRun, load_model
from mtmoe.data.batches.padding import batch_of
from mtmoe.report.examining.expert_contexts import profile_experts

SENTENCES = [
    ("Where is the station?", "Où est la gare ?"),
    ("Two dogs play in the snow.", "Deux chiens jouent dans la neige."),
    ("The children are waiting.", "Les enfants attendent."),
    ("Two dogs play in the snow.", "Deux chiens jouent dans la neige."),
]


@pytest.fixture(scope="module")
def loaded(report_run) -> LoadedRun:
    """The run's model."""
    return load_model(report_run)


@pytest.fixture(scope="module")
def pairs(loaded) -> list[tuple[list[int], list[int]]]:
    """The sentences as ids."""
    return [(loaded.subwords.encode(source), loaded.subwords.encode(target)) for source, target in SENTENCES]


def test_shares_are_those_that_the_layers_count(loaded, pairs, monkeypatch):
    monkeypatch.setattr("mtmoe.report.examining.expert_contexts.SENTENCES_AT_ONCE", 3)
    found = profile_experts(loaded.model, loaded.subwords, pairs)
    profiles = {layer: profile.experts for layer, profile in found.items()}
    batch = batch_of([source for source, _ in pairs], [target for _, target in pairs])
    with torch.inference_mode():
        balances = loaded.model(batch).balances
    assert profiles.keys() == balances.keys() == {"encoder.moe1", "decoder.moe1"}
    for layer, balance in balances.items():
        num_tokens = int((batch.source_lengths_B if layer.startswith("encoder") else batch.target_lengths_B).sum())
        counts = [round(profile.share * num_tokens) for profile in profiles[layer]]
        assert counts == balance.token_counts_E.tolist()
        gates = [profile.share * num_tokens * profile.mean_gate for profile in profiles[layer]]
        assert gates == pytest.approx(balance.importance_E.tolist(), abs=1e-4)


def test_contexts_are_text_of_the_sentences_the_largest_gates_first_and_none_twice(loaded, pairs):
    for layer, (profiles, by_frequency) in profile_experts(loaded.model, loaded.subwords, pairs).items():
        assert by_frequency is None
        side = 0 if layer.startswith("encoder") else 1
        texts = [f"(begin) {pair[side]} (end)" for pair in SENTENCES]
        for profile in profiles:
            gates = [context.gate for context in profile.contexts]
            assert gates == sorted(gates, reverse=True)
            shown = ["".join(context[:3]).strip() for context in profile.contexts]
            assert len(set(zip(shown, (c.token for c in profile.contexts), strict=True))) == len(shown)
            assert all(any(text in whole for whole in texts) for text in shown), shown
            assert all(subword.ratio > 1 and subword.times >= 3 for subword in profile.subwords)


def test_watching_leaves_the_model_as_it_was(loaded, pairs):
    before = [len(module._forward_hooks) for module in loaded.model.modules()]
    profile_experts(loaded.model, loaded.subwords, pairs)
    assert [len(module._forward_hooks) for module in loaded.model.modules()] == before


def test_routing_by_frequency_counts_the_same_tokens(loaded, pairs):
    times = [np.zeros(loaded.subwords.size, np.int64) for _ in range(2)]
    for pair in pairs:
        for times_V, ids in zip(times, pair, strict=True):
            np.add.at(times_V, ids, 1)
    for layer, (experts, routing) in profile_experts(loaded.model, loaded.subwords, pairs, tuple(times)).items():
        side = 0 if layer.startswith("encoder") else 1
        num_tokens = sum(len(pair[side]) + 1 for pair in pairs)
        k = sum(expert.share for expert in experts)
        assert sum(routing.num_tokens_F) == pytest.approx(k * num_tokens)
        # Each sentence has one special symbol, and nothing else of the last band.
        assert (routing.bands_F[-1], routing.num_tokens_F[-1]) == ("special or new", round(k * len(pairs)))
        shares_E = np.array(routing.num_tokens_F) @ routing.shares_FE / num_tokens
        assert shares_E == pytest.approx([expert.share for expert in experts])
