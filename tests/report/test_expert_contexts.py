"""Profiles of experts: their tokens are those that the layers count, and contexts are text of the sentences."""

from __future__ import annotations

import pytest
import torch

from mtmoe.checkpoint import LoadedRun, load_model
from mtmoe.data.batches.padding import batch_of
from mtmoe.report.expert_contexts import profile_experts

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
    monkeypatch.setattr("mtmoe.report.expert_contexts.SENTENCES_AT_ONCE", 3)
    profiles = profile_experts(loaded.model, loaded.subwords, pairs)
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
    for layer, profiles in profile_experts(loaded.model, loaded.subwords, pairs).items():
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
