"""Experts that every token has, beside those behind the gate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.layer_names import named_layers
from mtmoe.model.moe.experts import loop_over_experts
from mtmoe.model.moe.moe_layer import DenseFeedForward, MixtureOfExperts, build_feed_forward
from mtmoe.model.moe.shared_experts import SharedExperts
from mtmoe.model.parameter_roles import parameter_roles
from tests.gates import GATES


def _settings(gate: str = "softmax", two_levels: bool = False, **more: Any) -> MixtureOfExpertsSettings:
    levels = Hierarchy(groups=4, groups_per_token=3) if two_levels else None
    return MixtureOfExpertsSettings(
        gate=gate,  # type: ignore[arg-type]
        num_experts=16,
        experts_per_token=6 if two_levels else 2,
        expert_hidden=24,
        hierarchy=levels,
        shared_experts=2,
        **more,
    )


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("gate", "two_levels"), GATES)
def test_the_layer_is_the_routed_sum_and_each_shared_expert_in_value_and_gradient(
    gate: str, two_levels: bool, training: bool, sigmoid: bool
) -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, _settings(gate, two_levels, sigmoid_output=sigmoid)).double().train(training)
    x_ND = torch.randn(40, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    y_ND, _ = layer(x_ND)
    torch.manual_seed(1)
    slow_ND = loop_over_experts(x_ND, layer.gate(x_ND), layer.experts.first_EDH, layer.experts.second_EHD)
    assert layer.shared is not None
    for first_DH, second_HD in zip(
        layer.shared.first_DH.split(24, 1), layer.shared.second_HD.split(24, 0), strict=True
    ):
        slow_ND = slow_ND + (x_ND @ first_DH).relu() @ second_HD
    slow_ND = 1 / (1 + torch.exp(-slow_ND)) if sigmoid else slow_ND
    torch.testing.assert_close(y_ND, slow_ND)
    weights_ND = torch.randn_like(y_ND)
    inputs = [x_ND, *layer.parameters()]
    fast = torch.autograd.grad((y_ND * weights_ND).sum(), inputs, materialize_grads=True, allow_unused=True)
    slow = torch.autograd.grad((slow_ND * weights_ND).sum(), inputs, materialize_grads=True, allow_unused=True)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_a_layer_without_them_has_the_weights_that_it_had() -> None:
    torch.manual_seed(3)
    plain = MixtureOfExperts(8, _settings().model_copy(update={"shared_experts": 0}))
    torch.manual_seed(3)
    with_them = MixtureOfExperts(8, _settings())
    assert plain.shared is None
    weights = dict(with_them.named_parameters())
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, weights[name])


def test_the_dense_twin_is_as_wide_as_all_experts_of_a_token_together() -> None:
    dense = build_feed_forward(8, _settings(kind="dense"))
    assert isinstance(dense, DenseFeedForward)
    assert dense.first_DH.shape == (8, (2 + 2) * 24)
    mixture = build_feed_forward(8, _settings())
    assert isinstance(mixture, MixtureOfExperts)
    assert mixture.operations - mixture.gate.operations == sum(p.numel() for p in dense.parameters())


def test_they_are_experts_to_who_freezes_and_no_stack_to_who_spreads_or_optimises() -> None:
    layer = torch.nn.ModuleDict({"encoder": torch.nn.ModuleDict({"moe_layers": torch.nn.ModuleDict()})})
    layer["encoder"]["moe_layers"]["1"] = MixtureOfExperts(8, _settings())
    roles = parameter_roles(layer)
    names = {f"encoder.moe_layers.1.shared.{name}" for name in ("first_DH", "second_HD")}
    assert roles.shared_experts == names
    assert not names & (roles.expert_stacks | roles.sharded | roles.gates)
    assert names < named_layers(layer)["experts"]
    assert names < named_layers(layer)["encoder.moe1"]


def test_each_is_drawn_as_if_it_were_alone() -> None:
    torch.manual_seed(0)
    experts = SharedExperts(4, 64, 32)
    assert experts.first_DH.shape == (64, 128)
    assert experts.second_HD.shape == (128, 64)
    bound = (6 / (64 + 32)) ** 0.5  # Glorot's, of one expert of 32 units
    for matrix in experts.parameters():
        assert 0.98 * bound < float(matrix.detach().abs().max()) <= bound


def test_a_tokens_output_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, _settings()).eval()
    x_ND = torch.randn(40, 8)
    alone_ND = torch.cat([layer(x_1D)[0] for x_1D in x_ND.split(1)])
    torch.testing.assert_close(layer(x_ND)[0], alone_ND, rtol=1e-5, atol=1e-6)
