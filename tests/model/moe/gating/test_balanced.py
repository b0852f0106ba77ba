"""Strictly balanced gating against appendix F."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe.gating import HierarchicalBalancedGate, StrictlyBalancedGate
from mtmoe.model.moe.gating.balanced import best_rows, threshold_loss
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from tests.gates import WIDTH, best, make_gate


def _inputs(num_tokens: int, seed: int = 0) -> Tensor:
    return torch.randn(num_tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


def _dense(routing, num_tokens: int) -> Tensor:
    gates_NE = torch.zeros(num_tokens, 12, dtype=routing.gates_M.dtype)
    return gates_NE.index_put((routing.tokens_M, routing.experts_M), routing.gates_M)


@pytest.mark.parametrize(("num_tokens", "each"), [(60, 10), (61, 11), (6, 1), (1, 1)])
def test_every_expert_gets_k_x_over_n_tokens_rounded_up(num_tokens: int, each: int) -> None:
    assert make_gate("strictly-balanced", False)(_inputs(num_tokens)).token_counts_E.tolist() == [each] * 12
    # Of two levels: 2 of 3 groups, 2 of 4 experts in each.
    of_group = math.ceil(2 * num_tokens / 3)
    routing = make_gate("strictly-balanced", True)(_inputs(num_tokens))
    assert routing.token_counts_E.tolist() == [math.ceil(2 * of_group / 4)] * 12


def test_more_tokens_than_there_are_are_not_taken() -> None:
    assert make_gate("strictly-balanced", False, k=12)(_inputs(7)).token_counts_E.tolist() == [7] * 12


def test_equal_gates_still_give_every_expert_its_number_of_tokens() -> None:
    gate = make_gate("strictly-balanced", False)
    torch.nn.init.zeros_(gate.gate_DE)
    assert gate(_inputs(60)).token_counts_E.tolist() == [10] * 12


def test_a_new_gate_has_no_ties() -> None:
    new = StrictlyBalancedGate(WIDTH, 12, 2, importance_loss_weight=0.1, threshold_loss_weight=1.0)
    # In double precision: of 200 numbers in single precision two are the same by chance, now and then.
    values_NE = (_inputs(200).double() @ new.gate_DE.detach().double()).softmax(1)
    assert all(column.unique().numel() == 200 for column in values_NE.t())
    assert float((values_NE * 12).max()) < 2.0  # and is nearly even


def test_gates_in_training_are_equations_16_and_18() -> None:
    gate, x_ND = make_gate("strictly-balanced", False), _inputs(60)
    values_NE = (x_ND @ gate.gate_DE).softmax(1)
    mask_NE = torch.zeros(60, 12)
    for expert in range(12):
        mask_NE[best(values_NE[:, expert], 10), expert] = 1.0
    expected_NE = values_NE * mask_NE / (values_NE * mask_NE).sum(1, keepdim=True)
    without = mask_NE.sum(1) == 0
    assert without.any()  # the case of 0/0
    expected_NE[without] = 0.0
    routing = gate(x_ND)
    torch.testing.assert_close(_dense(routing, 60), expected_NE)
    torch.testing.assert_close(routing.balance.importance_E, expected_NE.sum(0))


def test_gates_of_two_levels_are_balanced_among_the_tokens_of_each_group() -> None:
    gate, x_ND = make_gate("strictly-balanced", True), _inputs(60)
    first_NG = (x_ND @ gate.gate_DG).softmax(1)
    mask_NG = torch.zeros(60, 3)
    for group in range(3):
        mask_NG[best(first_NG[:, group], 40), group] = 1.0
    first_NG = first_NG * mask_NG / (first_NG * mask_NG).sum(1, keepdim=True)
    expected_NE = torch.zeros(60, 12)
    for group in range(3):
        tokens = mask_NG[:, group].nonzero()[:, 0]
        second_PL = (x_ND[tokens] @ gate.gate_GDL[group]).softmax(1)
        mask_PL = torch.zeros_like(second_PL)
        for leaf in range(4):
            mask_PL[best(second_PL[:, leaf], 20), leaf] = 1.0
        total_P1 = (second_PL * mask_PL).sum(1, keepdim=True)
        second_PL = torch.where(total_P1 > 0, second_PL * mask_PL / total_P1, 0.0)
        expected_NE[tokens, group * 4 : group * 4 + 4] = second_PL * first_NG[tokens, group, None]
    torch.testing.assert_close(_dense(gate(x_ND), 60), expected_NE.nan_to_num(0.0))


def test_evaluation_takes_the_experts_above_their_thresholds() -> None:
    gate, x_ND = make_gate("strictly-balanced", False).eval(), _inputs(60)
    with torch.no_grad():
        gate.log_threshold_E.copy_(torch.linspace(-1.0, 1.0, 12))
    values_NE = (x_ND @ gate.gate_DE).softmax(1)
    threshold = [math.exp(-1.0 + 2.0 * i / 11) / 12 for i in range(12)]
    mask_NE = torch.tensor([[float(v > t) for v, t in zip(row, threshold, strict=True)] for row in values_NE.tolist()])
    total_N1 = (values_NE * mask_NE).sum(1, keepdim=True)
    expected_NE = torch.where(total_N1 > 0, values_NE * mask_NE / total_N1, 0.0)
    torch.testing.assert_close(_dense(gate(x_ND), 60), expected_NE)
    torch.testing.assert_close(gate(x_ND[:1]).gates_M, gate(x_ND).gates_M[gate(x_ND).tokens_M == 0])


def test_no_term_of_the_threshold_loss_is_negative_and_it_is_zero_where_the_masks_agree() -> None:
    values_NE = torch.rand(40, 12, dtype=torch.float64)
    _, mask_NE = best_rows(values_NE, 9)
    for threshold in (0.1, 0.5, 0.9):
        for row in range(40):
            for expert in range(12):
                one = threshold_loss(
                    values_NE[row : row + 1, expert : expert + 1],
                    torch.tensor([threshold], dtype=torch.float64),
                    mask_NE[row : row + 1, expert : expert + 1],
                )
                assert float(one) >= 0
    top = values_NE.topk(10, dim=0).values
    assert float(threshold_loss(values_NE, (top[8] + top[9]) / 2, mask_NE)) == 0.0


def test_the_derivative_by_a_threshold_is_the_batchwise_count_less_the_count_above_the_threshold() -> None:
    values_NE = torch.rand(40, 12, dtype=torch.float64, requires_grad=True)
    _, mask_NE = best_rows(values_NE, 9)
    threshold_E = torch.rand(12, dtype=torch.float64, requires_grad=True)
    threshold_loss(values_NE, threshold_E, mask_NE).backward()
    assert threshold_E.grad is not None
    assert threshold_E.grad.tolist() == [
        9 - sum(value > threshold_E[i].item() for value in values_NE[:, i].tolist()) for i in range(12)
    ]
    assert values_NE.grad is None


@pytest.mark.parametrize("two_levels", [False, True])
def test_thresholds_learn_from_their_loss_alone_and_alone(two_levels: bool) -> None:
    gate, x_ND = make_gate("strictly-balanced", two_levels), _inputs(60).requires_grad_()
    routing = gate(x_ND)
    thresholds = [p for name, p in gate.named_parameters() if "threshold" in name]
    others = [x_ND, *(p for name, p in gate.named_parameters() if "threshold" not in name)]
    loss = routing.balance.auxiliary_losses["threshold"]
    assert not any(g.any() for g in torch.autograd.grad(loss, others, retain_graph=True, materialize_grads=True))
    assert all(g.any() for g in torch.autograd.grad(loss, thresholds, retain_graph=True))
    rest = routing.gates_M.square().sum() + routing.balance.auxiliary_losses["importance"]
    assert all(g.any() for g in torch.autograd.grad(rest, others, retain_graph=True))
    assert not any(g.any() for g in torch.autograd.grad(rest, thresholds, materialize_grads=True))


def test_the_threshold_loss_is_equation_20_divided_by_the_tokens() -> None:
    gate, x_ND = make_gate("strictly-balanced", False), _inputs(60)
    values_NE = (x_ND @ gate.gate_DE).softmax(1)
    batchwise = [best(values_NE[:, expert], 10) for expert in range(12)]
    total = 0.0
    for j in range(60):
        for i in range(12):
            value = values_NE[j, i].item()
            total += (float(value > 1 / 12) - float(j in batchwise[i])) * (value - 1 / 12)
    assert gate(x_ND).balance.auxiliary_losses["threshold"].item() == pytest.approx(total / 60, rel=1e-4)


@pytest.mark.parametrize("two_levels", [False, True])
def test_learned_thresholds_give_each_expert_its_share_of_held_out_tokens_within_10_percent(two_levels: bool) -> None:
    torch.manual_seed(1)
    gate = make_gate("strictly-balanced", two_levels)
    thresholds = [p for name, p in gate.named_parameters() if "threshold" in name]
    optimizer = torch.optim.Adam(thresholds, lr=0.03)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    before = gate.eval()(_inputs(12_000, seed=1)).token_counts_E
    for batch in range(250):
        optimizer.zero_grad()
        gate.train()(_inputs(1_200, seed=100 + batch)).balance.auxiliary_losses["threshold"].backward()
        optimizer.step()
        schedule.step()
    token_counts_E = gate.eval()(_inputs(12_000, seed=2)).token_counts_E
    share = 12_000 * (4 if two_levels else 2) / 12
    assert float((before / share - 1).abs().max()) > 0.2
    assert float((token_counts_E / share - 1).abs().max()) < 0.1


def test_a_token_without_experts_has_the_output_of_nothing() -> None:
    settings = MixtureOfExpertsSettings(
        num_experts=12, experts_per_token=2, expert_hidden=16, gate="strictly-balanced", sigmoid_output=False
    )
    layer = MixtureOfExperts(WIDTH, settings).eval()
    x_ND = _inputs(30)
    values_NE = (x_ND @ layer.gate.gate_DE).softmax(1).detach()
    with torch.no_grad():  # every expert excludes the first ten tokens, and takes some of the others
        layer.gate.log_threshold_E.copy_((values_NE[:10].max(0).values * 12.001).log())
    y_ND, balance = layer(x_ND)
    assert not y_ND[:10].any()
    assert y_ND[10:].any()
    assert int(balance.token_counts_E.sum()) > 0
    with torch.no_grad():
        layer.gate.log_threshold_E.fill_(10.0)
    assert not layer(x_ND)[0].any()
    layer.sigmoid_output = True
    assert torch.equal(layer(x_ND)[0], torch.full((30, WIDTH), 0.5))


def test_the_thresholds_of_two_levels_are_of_the_size_of_their_gates() -> None:
    gate = HierarchicalBalancedGate(
        WIDTH, 12, 2, groups=3, groups_per_token=2, importance_loss_weight=0.1, threshold_loss_weight=1.0
    )
    assert gate.threshold_G.tolist() == pytest.approx([1 / 3] * 3)
    assert gate.threshold_GL.shape == (3, 4)
    assert gate.threshold_GL.flatten().tolist() == pytest.approx([1 / 4] * 12)
