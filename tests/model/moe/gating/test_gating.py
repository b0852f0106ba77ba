"""Noisy top-k gating against the paper's equations (sections 2 and 3 of the fact sheet)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtmoe.model.moe.gating import NoisyTopKGate, probability_in_top_k, squared_variation
from mtmoe.model.moe.gating.top_k import choose_top_k, noise_scale, noisy_top
from mtmoe.model.moe.routing import Routing


def _experts(routing: Routing) -> Tensor:
    """[N, K]"""
    return routing.experts_M.view(-1, routing.experts_per_token)


def _gates(routing: Routing) -> Tensor:
    """[N, K]"""
    return routing.gates_M.view(-1, routing.experts_per_token)


def _gate(width: int = 6, num_experts: int = 8, k: int = 2, noise_floor: float = 0.0) -> NoisyTopKGate:
    gate = NoisyTopKGate(
        width, num_experts, k, importance_loss_weight=0.1, load_loss_weight=0.2, noise_floor=noise_floor
    )
    torch.manual_seed(3)
    torch.nn.init.normal_(gate.gate_DE)
    torch.nn.init.normal_(gate.noise_DE)
    return gate


def _noisy_logits(gate: NoisyTopKGate, x_ND: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean logits, standard deviations and noisy logits (eqs. 3-4), with the noise that the gate will draw."""
    clean_NE = x_ND @ gate.gate_DE
    std_NE = torch.log1p(torch.exp(x_ND @ gate.noise_DE)) + gate.noise_floor
    torch.manual_seed(seed)
    return clean_NE, std_NE, clean_NE + torch.randn_like(clean_NE) * std_NE


def test_a_token_is_sent_to_its_k_best_experts_with_a_softmax_over_their_noisy_logits():
    gate, x_ND = _gate().train(), torch.randn(20, 6)
    _, _, noisy_NE = _noisy_logits(gate, x_ND, seed=11)
    torch.manual_seed(11)
    routing = gate(x_ND)
    for token in range(20):
        best = sorted(range(8), key=lambda e: -noisy_NE[token, e].item())[:2]
        assert _experts(routing)[token].tolist() == best
        weights = torch.tensor([math.exp(noisy_NE[token, e].item()) for e in best])
        torch.testing.assert_close(_gates(routing)[token], weights / weights.sum())


def test_there_is_no_noise_in_evaluation_and_the_load_is_the_plain_count():
    gate, x_ND = _gate().eval(), torch.randn(30, 6)
    first, second = gate(x_ND), gate(x_ND)
    assert torch.equal(_gates(first), _gates(second))
    assert torch.equal(_experts(first), (x_ND @ gate.gate_DE).topk(2).indices)
    assert first.balance.load_E.tolist() == torch.bincount(_experts(first).flatten(), minlength=8).tolist()
    assert float(first.balance.auxiliary_losses["load"]) == 0.0


def test_importance_is_the_sum_of_the_gates_and_its_loss_the_weighted_squared_variation():
    gate, x_ND = _gate().train(), torch.randn(40, 6)
    routing = gate(x_ND)
    importance = [0.0] * 8
    for experts, gates in zip(_experts(routing).tolist(), _gates(routing).tolist(), strict=True):
        for expert, value in zip(experts, gates, strict=True):
            importance[expert] += value
    torch.testing.assert_close(routing.balance.importance_E, torch.tensor(importance))
    mean = sum(importance) / 8
    variance = sum((value - mean) ** 2 for value in importance) / 8  # population variance
    assert float(routing.balance.auxiliary_losses["importance"].detach()) == pytest.approx(
        0.1 * variance / mean**2, rel=1e-4
    )


def test_load_is_the_probability_of_staying_in_the_top_k_when_only_ones_own_noise_is_drawn_again():
    gate, x_ND = _gate().train(), torch.randn(5, 6)
    clean_NE, std_NE, noisy_NE = _noisy_logits(gate, x_ND, seed=7)
    top = noisy_NE.topk(3)
    probability_NE = probability_in_top_k(clean_NE, std_NE, top.values, top.indices[:, :2])
    generator = torch.Generator().manual_seed(1)
    for expert in range(8):
        redrawn_SNE = noisy_NE.expand(100_000, -1, -1).clone()
        redrawn_SNE[:, :, expert] = (
            clean_NE[:, expert] + torch.randn(100_000, 5, generator=generator) * std_NE[:, expert]
        )
        frequency_N = (redrawn_SNE.topk(2).indices == expert).any(-1).float().mean(0)
        torch.testing.assert_close(frequency_N, probability_NE[:, expert].detach(), atol=0.008, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_the_fast_choice_equals_the_equations_in_value_and_gradient(k):
    torch.manual_seed(3)
    clean_RE, raw_RE = (torch.randn(11, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    noise_RE, weight_RE = torch.randn(11, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    weight_RK = torch.randn(11, k, dtype=torch.float64)

    def with_gradients(gates_RK, probability_RE):
        value = (gates_RK * weight_RK).sum() + (probability_RE * weight_RE).sum()
        return gates_RK, probability_RE, *torch.autograd.grad(value, [clean_RE, raw_RE])

    choice = choose_top_k(clean_RE, noise_scale(raw_RE, 0.01), k, lambda _: noise_RE)
    top_RM, indices_RM, probability_RE = noisy_top(clean_RE, noise_scale(raw_RE, 0.01), noise_RE, k)
    assert torch.equal(choice.experts_RK, indices_RM[:, :k])
    expected = with_gradients(top_RM[:, :k].softmax(1), probability_RE)
    for value, reference in zip(with_gradients(choice.gates_RK, choice.probability_RE), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-14)


def test_the_gradients_of_the_fast_choice_are_those_of_finite_differences():
    torch.manual_seed(4)
    clean_RE, raw_RE = (torch.randn(3, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    noise_RE = torch.randn(3, 6, dtype=torch.float64)

    def outputs(clean_RE, raw_RE):
        choice = choose_top_k(clean_RE, noise_scale(raw_RE, 0.01), 2, lambda _: noise_RE)
        return choice.gates_RK, choice.probability_RE

    assert torch.autograd.gradcheck(outputs, (clean_RE, raw_RE))


def test_loads_add_up_to_k_for_each_token_on_average_over_the_noise():
    gate, x_ND = _gate().train(), torch.randn(1, 6).expand(20_000, -1)
    torch.manual_seed(5)
    assert float(gate(x_ND).balance.load_E.sum()) / 20_000 == pytest.approx(2.0, abs=0.03)


def test_load_has_a_gradient_to_the_gate_the_noise_and_the_input():
    gate, x_ND = _gate().train(), torch.randn(12, 6, requires_grad=True)
    gate(x_ND).balance.auxiliary_losses["load"].backward()
    for tensor in (gate.gate_DE, gate.noise_DE, x_ND):
        assert tensor.grad is not None
        assert float(tensor.grad.abs().sum()) > 0


def test_when_every_expert_is_chosen_there_is_no_load_loss_and_nothing_is_undefined():
    gate = _gate(num_experts=4, k=4).train()
    balance = gate(torch.randn(9, 6)).balance
    assert balance.load_E.tolist() == [9, 9, 9, 9]
    assert float(balance.auxiliary_losses["load"]) == 0.0


def test_the_gate_begins_with_zeros_so_that_its_noise_is_ln_2_everywhere():
    gate = NoisyTopKGate(6, 8, 2, importance_loss_weight=0.1, load_loss_weight=0.1, noise_floor=0.0)
    assert not gate.gate_DE.any()
    assert not gate.noise_DE.any()
    balance = gate.train()(torch.randn(4000, 6)).balance
    assert float(balance.load_E.max() / balance.load_E.mean()) < 1.1


def test_ties_send_a_token_to_k_experts_and_not_more():
    gate = NoisyTopKGate(6, 8, 2, importance_loss_weight=0.1, load_loss_weight=0.1, noise_floor=0.0).eval()
    assert int(gate(torch.randn(10, 6)).balance.token_counts_E.sum()) == 20


def test_squared_variation_is_that_of_the_population():
    assert float(squared_variation(torch.tensor([1.0, 3.0]))) == pytest.approx(0.25)


def test_gating_stays_float32_under_autocast():
    gate, x_ND = _gate().eval(), torch.randn(9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gate(x_ND)
    assert _gates(inside).dtype == torch.float32
    torch.testing.assert_close(_gates(inside), _gates(gate(x_ND)), rtol=0, atol=0)
