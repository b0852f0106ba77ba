"""The floor of ``mtmoe bench moe``; the command itself is run in tests/cli."""

from __future__ import annotations

import pytest
import torch

from mtmoe.benchmark.expert_layer import (
    LayerCase,
    LayerShape,
    MachineRates,
    default_cases,
    floor_milliseconds,
    layer_settings,
    one_expert_after_another,
)
from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe.experts import loop_over_experts
from mtmoe.model.moe.moe_layer import MixtureOfExperts

SHAPE = LayerShape(512, 1024, 4, 65536, "bf16", "adam", "fp32", 1, "cpu")


@pytest.mark.parametrize(
    ("num_tokens", "num_experts", "hidden", "forward_ms", "backward_ms"),
    [  # spec/moe_engineering.md, section 2: 790 TFLOP/s and 4.3 TB/s
        (16384, 32, 1024, 0.17, 0.35),
        (16384, 2048, 1024, 1.11, 2.24),
        (65536, 256, 1024, 0.70, 1.39),
        (65536, 2048, 2048, 2.70, 5.57),
        (262144, 2048, 1024, 2.81, 5.81),
    ],
)
def test_the_floor_is_that_of_the_specification(num_tokens, num_experts, hidden, forward_ms, backward_ms):
    shape = SHAPE._replace(num_tokens=num_tokens, expert_hidden=hidden)
    floor = floor_milliseconds(shape, layer_settings(shape, LayerCase(num_experts, 0)), MachineRates(790e3, 4300.0))
    assert floor == (pytest.approx(forward_ms, abs=0.006), pytest.approx(backward_ms, abs=0.006))


@pytest.mark.parametrize("case", default_cases((1, 2, 4, 32, 256, 1024, 4096), 4))
def test_every_case_has_the_same_operations_for_a_token(case):
    settings = layer_settings(SHAPE, case)
    assert settings.num_experts == case.num_experts
    assert settings.experts_per_token * settings.expert_hidden == 4 * 1024


def test_two_levels_are_measured_where_there_are_many_experts_and_k_is_a_square():
    assert default_cases((4, 32, 4096), 4) == [
        LayerCase(4, 0),
        LayerCase(32, 0),
        LayerCase(32, 8),
        LayerCase(4096, 0),
        LayerCase(4096, 64),
    ]
    assert default_cases((32,), 2) == [LayerCase(32, 0)]


def test_the_loop_that_the_experts_are_compared_with_computes_the_same():
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, MixtureOfExpertsSettings(num_experts=32, experts_per_token=2, expert_hidden=8)).double()
    torch.nn.init.normal_(layer.gate.gate_DE)
    x_ND, stacks = torch.randn(20, 8, dtype=torch.float64, requires_grad=True), list(layer.experts.parameters())
    routing = layer.gate(x_ND.detach())
    assert not routing.token_counts_E.all()  # some have no token
    results = []
    for y_ND in (
        one_expert_after_another(x_ND, routing, *stacks, torch.float64),
        loop_over_experts(x_ND, routing, *stacks),
    ):
        results.append([y_ND, *torch.autograd.grad(y_ND.square().sum(), [x_ND, *stacks])])
    for value, reference in zip(*results, strict=True):
        torch.testing.assert_close(value, reference)


@pytest.mark.parametrize(
    ("gate", "rate", "two"),
    [("sigmoid", 0.0, True), ("sigmoid", 0.1, False), ("softmax", 0.1, False), ("expert-choice", 0.0, False)],
)
def test_newer_gates_are_measured_with_the_operations_of_the_dense_layer(gate, rate, two):
    shape = SHAPE._replace(gate=gate, choice_bias_rate=rate, shared_experts=2)
    cases = default_cases((4, 32), 4, has_two_levels=shape.has_two_levels)
    assert any(case.groups for case in cases) == two
    for case in cases:
        settings = layer_settings(shape, case)
        assert (settings.gate, settings.dense_hidden) == (gate, (4 + 2) * 1024)
        assert settings.choice_bias_rate == (rate if case.num_experts > 4 else 0.0)
