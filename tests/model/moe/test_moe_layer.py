"""The whole layer: the gate that the settings name, its experts, and the dense twin."""

from __future__ import annotations

import pytest
import torch

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.moe.experts import loop_over_experts
from mtmoe.model.moe.gating import (
    ExpertChoiceGate,
    HierarchicalBalancedGate,
    HierarchicalGate,
    NoisyTopKGate,
    SigmoidGate,
    SoftmaxGate,
    StrictlyBalancedGate,
)
from mtmoe.model.moe.moe_layer import DenseFeedForward, MixtureOfExperts, build_feed_forward, build_gate
from tests.gates import GATES


def _settings(name: str, two_levels: bool, **more) -> MixtureOfExpertsSettings:
    levels = Hierarchy(groups=4, groups_per_token=3) if two_levels else None
    return MixtureOfExpertsSettings(
        gate=name, num_experts=16, experts_per_token=6 if two_levels else 2, expert_hidden=24, hierarchy=levels, **more
    )


def test_the_settings_name_the_gate_and_its_numbers() -> None:
    classes = (
        NoisyTopKGate,
        HierarchicalGate,
        SoftmaxGate,
        HierarchicalGate,
        StrictlyBalancedGate,
        HierarchicalBalancedGate,
        SigmoidGate,
        HierarchicalGate,
        ExpertChoiceGate,
    )
    for (name, two_levels), expected in zip(GATES, classes, strict=True):
        own = {
            "noisy-top-k": {"load_loss_weight": 0.3, "noise_floor": 0.2},
            "softmax": {} if two_levels else {"choice_bias_rate": 0.2},
            "strictly-balanced": {"threshold_loss_weight": 0.3},
            "sigmoid": {"gate_scale": 1.5},
            "expert-choice": {"threshold_loss_weight": 0.3},
        }[name]
        gate = build_gate(8, _settings(name, two_levels, importance_loss_weight=0.4, z_loss_weight=0.7, **own))
        assert type(gate) is expected
        assert (gate.num_experts, gate.experts_per_token) == (16, 6 if two_levels else 2)
        assert gate.importance_loss_weight == 0.4
        for key, value in own.items():
            assert getattr(gate, key.replace("gate_", "")) == value
        assert gate.z_loss_weight == 0.7
        assert (getattr(gate, "noise_floor", None) is None) == (name != "noisy-top-k")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "two_levels"), GATES)
def test_the_layer_is_equation_1_written_as_a_loop_in_value_and_gradient(
    name: str, two_levels: bool, training: bool
) -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, _settings(name, two_levels, sigmoid_output=False)).train(training)
    x_ND = torch.randn(40, 8, requires_grad=True)
    inputs = [x_ND, layer.experts.first_EDH, layer.experts.second_EHD, *layer.gate.parameters()]
    torch.manual_seed(1)
    y_ND, _ = layer(x_ND)
    torch.manual_seed(1)
    slow_ND = loop_over_experts(x_ND, layer.gate(x_ND), layer.experts.first_EDH, layer.experts.second_EHD)
    torch.testing.assert_close(y_ND, slow_ND, rtol=1e-4, atol=1e-5)
    weights_ND = torch.randn_like(y_ND)
    fast = torch.autograd.grad((y_ND * weights_ND).sum(), inputs, materialize_grads=True, allow_unused=True)
    slow = torch.autograd.grad((slow_ND * weights_ND).sum(), inputs, materialize_grads=True, allow_unused=True)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "two_levels"), GATES)
def test_a_tokens_output_in_evaluation_does_not_depend_on_its_neighbours(name: str, two_levels: bool) -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, _settings(name, two_levels)).eval()
    x_ND = torch.randn(40, 8)
    alone_ND = torch.cat([layer(x_1D)[0] for x_1D in x_ND.split(1)])
    torch.testing.assert_close(layer(x_ND)[0], alone_ND, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("two_levels", [False, True])
def test_the_dense_twin_has_the_hidden_units_of_all_experts_of_a_token(two_levels: bool) -> None:
    dense = build_feed_forward(8, _settings("noisy-top-k", two_levels, kind="dense"))
    assert isinstance(dense, DenseFeedForward)
    assert dense.first_DH.shape == (8, 24 * (6 if two_levels else 2))


def test_a_dense_network_of_several_layers_has_a_relu_after_each_but_the_last() -> None:
    settings = MixtureOfExpertsSettings(
        kind="dense", experts_per_token=1, expert_hidden=16, dense_layers=3, sigmoid_output=False
    )
    layer = build_feed_forward(8, settings)
    x_ND = torch.randn(5, 8)
    first, one, two, last = (p.detach() for p in (layer.first_DH, *layer.inner_HH, layer.second_HD))
    expected = (((x_ND @ first).relu() @ one).relu() @ two).relu() @ last
    torch.testing.assert_close(layer(x_ND)[0].detach(), expected)
