"""Pruning: what is used most is kept, and what is not used can go without a difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mtmoe.errors import UserError
from mtmoe.expert_surgery.operation import best_of_groups, parameter_of
from mtmoe.expert_surgery.pruning import prune
from mtmoe.model.expert_layers import expert_layers, watched
from tests.expert_surgery.conftest import TOP_K_GATES

MORE = {"choice_bias_rate": 0.01, "shared_experts": 2}


@pytest.mark.parametrize(("gate", "two_levels", "more"), [*((*it, {}) for it in TOP_K_GATES), ("sigmoid", False, MORE)])
@pytest.mark.parametrize("by", ["importance", "share"])
def test_experts_that_the_text_never_uses_go_without_a_difference(
    patient: Callable, after: Callable, batch, gate: str, two_levels: bool, more: dict, by: str
) -> None:
    it = patient(gate, two_levels, batch, **more)
    groups = 2 if two_levels else 1
    used = [layer.tokens_E.view(groups, -1).count_nonzero(1) for layer in it.use.values()]
    num_kept = groups * int(torch.stack(used).max())
    assert num_kept < 12
    done = prune(it.weights, it.moe, it.use, num_kept, by)
    with torch.inference_mode():
        found = after(it, done).log_probabilities(batch)
    torch.testing.assert_close(found, it.log_probabilities(batch), rtol=1e-5, atol=1e-5)
    one_fewer = prune(it.weights, it.moe, it.use, num_kept - groups, by)
    with torch.inference_mode():
        assert not torch.allclose(after(it, one_fewer).log_probabilities(batch), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("gate", "two_levels"), TOP_K_GATES)
def test_a_token_has_its_best_experts_of_those_that_are_left(
    patient: Callable, after: Callable, large_batch, gate: str, two_levels: bool
) -> None:
    """The slow reference: the logits of what is gone are -inf."""
    it = patient(gate, two_levels, large_batch)
    done = prune(it.weights, it.moe, it.use, 6, "importance")
    model = after(it, done)
    layer = expert_layers(model)["encoder.moe1"]
    with torch.inference_mode(), watched({"layer": layer}) as calls:
        model(large_batch)
    [routed] = calls["layer"]
    kept = [origin for [origin] in done.origins["encoder.moe1"]]
    gate_weights = {n.rpartition(".")[2]: t for n, t in it.weights.items() if n.startswith("encoder.moe_layers.1.gate")}
    for token, x_D in enumerate(routed.x_ND[:50]):
        expected: dict[int, float] = {}
        if two_levels:
            group_gates = _gates(gate, x_D @ gate_weights["gate_DG"])
            for group in range(2):
                logits_L = x_D @ gate_weights["gate_GDL"][group]
                _add_best(gate, expected, logits_L, 6 * group, kept, float(group_gates[group]))
        else:
            _add_best(gate, expected, x_D @ gate_weights["gate_DE"], 0, kept, 1.0)
        own = routed.routing.tokens_M == token
        experts, gates = routed.routing.experts_M[own].tolist(), routed.routing.gates_M[own].tolist()
        assert {kept[e]: g for e, g in zip(experts, gates, strict=True)} == pytest.approx(expected, abs=1e-5)


def _gates(gate: str, logits: torch.Tensor) -> torch.Tensor:
    """The gates of experts that are all chosen."""
    return logits.sigmoid() / logits.sigmoid().sum() if gate == "sigmoid" else logits.softmax(0)


def _add_best(
    gate: str, expected: dict[int, float], logits: torch.Tensor, first: int, kept: list[int], share: float
) -> None:
    """Add the two best experts that are kept, with their gates."""
    masked = torch.tensor([float(v) if first + n in kept else -torch.inf for n, v in enumerate(logits)])
    best = masked.topk(2)
    for place, value in zip(best.indices.tolist(), _gates(gate, best.values).tolist(), strict=True):
        expected[first + place] = share * value


def test_those_with_most_are_kept_equally_many_of_each_group_and_of_equals_the_first() -> None:
    assert best_of_groups([1.0, 5.0, 3.0, 5.0], 2, 1) == [1, 3]
    assert best_of_groups([1.0, 1.0, 1.0, 1.0], 2, 1) == [0, 1]
    assert best_of_groups([9.0, 8.0, 1.0, 2.0], 2, 2) == [0, 3]


def test_experts_and_their_gates_stay_together_and_the_rest_of_the_network_as_it_was(
    patient: Callable, large_batch
) -> None:
    it = patient("noisy-top-k", False, large_batch)
    done = prune(it.weights, it.moe, it.use, 5, "share")
    for layer, origins in done.origins.items():
        for inside, dimension in (("first_EDH", 0), ("second_EHD", 0), ("gate_DE", 1), ("noise_DE", 1)):
            name = parameter_of(it.weights, layer, inside)
            for number, [old] in enumerate(origins):
                kept = done.weights[name].select(dimension, number)
                assert torch.equal(kept, it.weights[name].select(dimension, old))
    others = [name for name in it.weights if ".moe_layers." not in name]
    assert all(torch.equal(done.weights[name], it.weights[name]) for name in others)
    tokens = it.use["decoder.moe1"].tokens_E
    kept = [origin for [origin] in done.origins["decoder.moe1"]]
    assert min(tokens[kept]) >= max(tokens[e] for e in range(12) if e not in kept)


@pytest.mark.parametrize(
    ("gate", "two_levels", "num_kept", "told"),
    [
        ("strictly-balanced", False, 6, 'gate = "strictly-balanced" do not go together'),
        ("expert-choice", False, 6, 'gate = "expert-choice" do not go together'),
        ("softmax", True, 7, "not a multiple of model.moe.hierarchy.groups = 2"),
        ("softmax", False, 12, "the layers have 12 experts, so nothing would change"),
        ("softmax", False, 1, "at least 2 are needed"),
        ("softmax", True, 2, r"at least 4 are needed \(2 in each of 2 groups\)"),
    ],
)
def test_what_cannot_be_done_is_told(
    patient: Callable, batch, gate: str, two_levels: bool, num_kept: int, told: str
) -> None:
    it = patient(gate, two_levels, batch)
    with pytest.raises(UserError, match=told):
        prune(it.weights, it.moe, it.use, num_kept, "share")


def test_a_bias_beside_a_softmax_over_all_experts_refuses(patient: Callable, batch) -> None:
    it = patient("softmax", False, batch, choice_bias_rate=0.01)
    told = r'--prune and gate = "softmax" with choice_bias_rate = 0.01 do not go together'
    with pytest.raises(UserError, match=told) as error:
        prune(it.weights, it.moe, it.use, 6, "share")
    assert 'gate = "sigmoid"' in error.value.fix


def test_biases_go_with_their_experts_and_shared_experts_stay(patient: Callable, large_batch) -> None:
    it = patient("sigmoid", False, large_batch, **MORE)
    done = prune(it.weights, it.moe, it.use, 5, "share")
    for layer, origins in done.origins.items():
        name = parameter_of(it.weights, layer, "choice_bias_E")
        assert torch.equal(done.weights[name], it.weights[name][[old for [old] in origins]])
        for inside in ("shared.first_DH", "shared.second_HD"):
            name = parameter_of(it.weights, layer, inside)
            assert torch.equal(done.weights[name], it.weights[name])
