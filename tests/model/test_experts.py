"""The dispatched experts against eq. 1 written as a loop: values and every gradient."""

from __future__ import annotations

import pytest
import torch

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.experts import Experts, loop_over_experts
from mtmoe.model.feed_forward import DenseFeedForward, MixtureOfExperts
from mtmoe.model.gating import tokens_per_expert
from mtmoe.model.routing import Routing


def _case(num_tokens: int, num_experts: int, k: int, used: int | None = None):
    torch.manual_seed(0)
    experts = Experts(num_experts, 16, 24)
    x_ND = torch.randn(num_tokens, 16, requires_grad=True)
    scores_NE = torch.rand(num_tokens, num_experts)
    scores_NE[:, used or num_experts :] = -1.0
    gates_NK, experts_NK = scores_NE.topk(k)
    gates_NK = gates_NK.softmax(1).requires_grad_()
    return experts, x_ND, experts_NK, gates_NK


def _routing(experts_NK, gates_NK, num_experts):
    num_tokens, k = experts_NK.shape
    tokens_M = torch.arange(num_tokens).repeat_interleave(k)
    counts_E = tokens_per_expert(experts_NK, num_experts)
    return Routing(tokens_M, experts_NK.flatten(), gates_NK.flatten(), k, counts_E, None)


@pytest.mark.parametrize("same_number", [True, False])
@pytest.mark.parametrize(("num_tokens", "num_experts", "k"), [(33, 8, 2), (1, 8, 2), (7, 4, 4), (50, 3, 1), (5, 40, 3)])
def test_dispatch_and_combine_equal_a_loop_over_experts_in_value_and_gradient(num_tokens, num_experts, k, same_number):
    experts, x_ND, experts_NK, gates_NK = _case(num_tokens, num_experts, k)
    inputs = [x_ND, gates_NK, experts.first_EDH, experts.second_EHD]
    routing = _routing(experts_NK, gates_NK, num_experts)
    if not same_number:
        kept = torch.arange(num_tokens * k) % 3 != 1  # also none for a token
        tokens_M, experts_M, gates_M = (part[kept] for part in routing[:3])
        routing = Routing(tokens_M, experts_M, gates_M, 0, tokens_per_expert(experts_M, num_experts), None)
    fast_ND = experts(x_ND, routing)
    slow_ND = loop_over_experts(x_ND, routing, experts.first_EDH, experts.second_EHD)
    torch.testing.assert_close(fast_ND, slow_ND, rtol=1e-5, atol=1e-5)
    weight_ND = torch.randn_like(fast_ND)
    fast_gradients = torch.autograd.grad((fast_ND * weight_ND).sum(), inputs, retain_graph=True)
    slow_gradients = torch.autograd.grad((slow_ND * weight_ND).sum(), inputs)
    for fast, slow in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_an_expert_without_tokens_has_a_gradient_of_exactly_zero():
    experts, x_ND, experts_NK, gates_NK = _case(20, 8, 2, used=3)
    experts(x_ND, _routing(experts_NK, gates_NK, 8)).square().sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert not parameter.grad[3:].any()
        assert parameter.grad[:3].any()


def test_no_tokens_at_all_give_no_output_and_zero_gradients():
    experts, x_ND, experts_NK, gates_NK = _case(0, 8, 2)
    y_ND = experts(x_ND, _routing(experts_NK, gates_NK, 8))
    assert y_ND.shape == (0, 16)
    y_ND.sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_a_tokens_output_does_not_depend_on_its_neighbours():
    experts, x_ND, experts_NK, gates_NK = _case(64, 8, 2)
    together = experts(x_ND, _routing(experts_NK, gates_NK, 8))
    alone = torch.cat(
        [experts(x_ND[i : i + 1], _routing(experts_NK[i : i + 1], gates_NK[i : i + 1], 8)) for i in range(64)]
    )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_bf16_autocast_computes_the_experts_in_bf16_and_close_to_float32():
    experts, x_ND, experts_NK, gates_NK = _case(64, 8, 2)
    exact = experts(x_ND, _routing(experts_NK, gates_NK, 8)).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rough = experts(x_ND, _routing(experts_NK, gates_NK, 8)).detach()
    assert rough.dtype == torch.bfloat16
    assert float((rough.float() - exact).abs().max()) < 0.05 * float(exact.abs().max())


def test_the_sigmoid_is_on_the_sum_and_can_be_switched_off():
    torch.manual_seed(1)
    settings = MixtureOfExpertsSettings(num_experts=4, experts_per_token=2, expert_hidden=16)
    layer = MixtureOfExperts(16, settings).eval()
    x_ND = torch.randn(10, 16)
    with_sigmoid, _ = layer(x_ND)
    layer.sigmoid_output = False
    without, _ = layer(x_ND)
    torch.testing.assert_close(with_sigmoid, without.sigmoid())


def test_the_dense_twin_has_the_operations_of_the_chosen_experts():
    settings = MixtureOfExpertsSettings(num_experts=8, experts_per_token=2, expert_hidden=24)
    mixture, dense = MixtureOfExperts(16, settings), DenseFeedForward(16, settings)
    per_expert = sum(p.numel() for p in mixture.experts.parameters()) // 8
    assert sum(p.numel() for p in dense.parameters()) == 2 * per_expert
