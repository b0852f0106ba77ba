"""Gates at their limits: noise that underflows, logits far apart, one expert, no token, tokens that are all equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.moe.gating import Gate, squared_variation
from mtmoe.model.moe.gating.balanced import renormalised
from mtmoe.model.moe.gating.top_k import choose_top_k, noise_scale, noisy_top
from mtmoe.model.moe.moe_layer import build_gate
from mtmoe.model.moe.routing import Routing
from tests.gates import GATES, WIDTH, make_gate

NOISY = [two for gate, two in GATES if gate == "noisy-top-k"]


def _backward(gate: Gate, routing: Routing, weights_M: Tensor | None = None) -> None:
    """Gradients of all that a gate gives, which must be finite."""
    assert routing.balance is not None
    weights_M = torch.linspace(-1, 1, routing.gates_M.numel()) if weights_M is None else weights_M
    total = (routing.gates_M * weights_M).sum() + sum(routing.balance.auxiliary_losses.values())
    gate.zero_grad()
    total.backward()
    assert total.isfinite()
    for name, parameter in gate.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


def _floorless(two_levels: bool, raw: float) -> Gate:
    """Noisy top-k without a floor, whose raw noise is about so large."""
    settings = MixtureOfExpertsSettings(
        num_experts=6,
        experts_per_token=1,
        hierarchy=Hierarchy(groups=3, groups_per_token=1) if two_levels else None,
        noise_floor=0.0,
    )
    gate = build_gate(WIDTH, settings).train()
    for name, parameter in gate.named_parameters():
        with torch.no_grad():
            if "noise" in name:
                parameter.fill_(raw / WIDTH)
            else:
                torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(name)))
    return gate


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("raw", [-20.0, -80.0, -95.0, -110.0, -1e4])
@pytest.mark.parametrize("two_levels", NOISY)
def test_without_a_noise_floor_noise_that_underflows_leaves_a_count(two_levels, raw, flush):
    torch.set_flush_denormal(flush)  # as training does on a CPU
    try:
        gate = _floorless(two_levels, raw)
        x_ND = 1.0 + 0.1 * torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(1))
        routing = gate(x_ND)
        assert routing.balance is not None
        torch.testing.assert_close(routing.balance.load_E, routing.token_counts_E.float(), atol=1e-3, rtol=1e-3)
        _backward(gate, routing)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("two_levels", NOISY)
def test_without_a_noise_floor_nor_any_difference_gradients_are_finite(two_levels):
    gate = _floorless(two_levels, -200.0)
    for name, parameter in gate.named_parameters():
        if "noise" not in name:
            torch.nn.init.zeros_(parameter)  # as at the start: every expert is at every threshold
    _backward(gate, gate(torch.ones(20, WIDTH)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_noise_underflows_the_fast_path_has_the_gradients_of_the_plain_one(dtype):
    generator = torch.Generator().manual_seed(0)
    clean_RE = torch.randn(9, 7, generator=generator, dtype=dtype)
    raw_RE = torch.randn(9, 7, generator=generator, dtype=dtype) * 400 - 300
    noise_RE, weights_RE = torch.randn(2, 9, 7, generator=generator, dtype=dtype)
    found = []
    for fast in (True, False):
        clean, raw = clean_RE.clone().requires_grad_(), raw_RE.clone().requires_grad_()
        std = noise_scale(raw, 0.0)
        if fast:
            probability_RE = choose_top_k(clean, std, 2, lambda like: noise_RE).probability_RE
        else:
            probability_RE = noisy_top(clean, std, noise_RE, 2)[2]
        assert probability_RE is not None
        (probability_RE * weights_RE).sum().backward()
        found.append((probability_RE.detach(), clean.grad, raw.grad))
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert bool(one.isfinite().all())
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_least_noise_is_below_all_that_a_logit_tells(dtype):
    raw = torch.tensor([-30.0, -5.0, 0.0, 3.0, 60.0], dtype=dtype)
    torch.testing.assert_close(noise_scale(raw, 0.0), raw.exp().log1p(), rtol=1e-5, atol=1e-12)
    assert 0 < float(noise_scale(torch.tensor(-1e30, dtype=dtype), 0.0)) < torch.finfo(dtype).eps ** 1.9


@pytest.mark.parametrize("scale", [30.0, 300.0, 3e4])
@pytest.mark.parametrize(("kind", "two_levels"), GATES)
def test_logits_far_apart_have_finite_gates_and_gradients(kind, two_levels, scale):
    gate = make_gate(kind, two_levels)
    with torch.no_grad():
        for name, parameter in gate.named_parameters():
            if "gate_" in name:
                parameter.mul_(scale)
    x_ND = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))
    for weights in (1.0, 1e3):
        routing = gate(x_ND)
        _backward(gate, routing, weights * torch.linspace(-1, 1, routing.gates_M.numel()))
    assert bool((gate.eval()(x_ND).gates_M >= 0).all())


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(("kind", "two_levels"), GATES)
def test_losses_without_tokens_of_one_token_and_of_equal_tokens_are_finite(kind, two_levels, is_training):
    gate = make_gate(kind, two_levels).train(is_training)
    one_1D = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))
    for x_ND in (one_1D[:0], one_1D, one_1D.expand(30, -1), torch.zeros(30, WIDTH)):
        routing = gate(x_ND)
        balance = routing.balance
        assert balance is not None
        assert int(balance.token_counts_E.sum()) == routing.tokens_M.numel()
        if not len(x_ND):
            assert not any(float(loss) for name, loss in balance.auxiliary_losses.items())
        if is_training:
            _backward(gate, routing)


@pytest.mark.parametrize("kind", ["noisy-top-k", "softmax", "strictly-balanced"])
@pytest.mark.parametrize("hierarchy", [None, {"groups": 1, "groups_per_token": 1}])
def test_one_expert_is_always_balanced(kind, hierarchy):
    settings: dict[str, Any] = {"gate": kind, "num_experts": 1, "experts_per_token": 1, "importance_loss_weight": 1.0}
    gate = build_gate(WIDTH, MixtureOfExpertsSettings(hierarchy=hierarchy, **settings)).train()
    routing = gate(torch.randn(9, WIDTH))
    assert routing.balance is not None
    assert routing.token_counts_E.tolist() == [9]
    torch.testing.assert_close(routing.gates_M, torch.ones(9))
    assert float(routing.balance.auxiliary_losses["importance"]) == 0.0
    assert float(routing.balance.auxiliary_losses.get("load", torch.zeros(()))) == 0.0
    _backward(gate, routing)


@pytest.mark.parametrize(
    ("values", "expected"), [([5.0], 0.0), ([0.0, 0.0], 0.0), ([3.0] * 4, 0.0), ([4.0, 0.0], 1.0), ([0.0], 0.0)]
)
def test_squared_variation_at_its_limits(values, expected):
    values_E = torch.tensor(values, requires_grad=True)
    found = squared_variation(values_E)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected)
    assert values_E.grad is not None
    assert bool(values_E.grad.isfinite().all())


def test_gates_of_which_hardly_anything_is_left_have_a_finite_gradient():
    mask_RE = torch.tensor([[True, True, False]] * 4)
    smallest = torch.tensor([[1e-38], [2e-37], [1e-25], [1e-3]])
    values_RE = (smallest * torch.tensor([1.0, 3.0, 5.0])).requires_grad_()
    gates_RE = renormalised(values_RE, mask_RE)
    torch.testing.assert_close(gates_RE[2:].detach(), torch.tensor([[0.25, 0.75, 0.0]] * 2))
    assert float(gates_RE[:2].detach().max()) < 1e-30
    (gates_RE * torch.tensor([1e3, -1e3, 1.0])).sum().backward()
    assert values_RE.grad is not None
    assert bool(values_RE.grad.isfinite().all())
