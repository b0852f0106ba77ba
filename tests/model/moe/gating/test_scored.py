"""Gates that choose by a score: sigmoid gating, and a bias on the choice alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtmoe.model.moe.gating import Gate, changed_bias
from mtmoe.model.moe.gating.scored import choose_by_score
from tests.gates import WIDTH, best, make_gate


def _inputs(num_tokens: int, seed: int = 0) -> Tensor:
    return torch.randn(num_tokens, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def _gate(name: str, two_levels: bool = False, bias: bool = False, **settings: Any) -> Gate:
    gate = make_gate(name, two_levels, **({"choice_bias_rate": 0.01} if bias else {}), **settings).double()
    if bias:
        with torch.no_grad():
            gate.choice_bias_E.copy_(torch.linspace(-0.4, 0.4, 12)[torch.arange(12) * 5 % 12])
    return gate


def _scores(name: str, logits_E: Tensor) -> list[Tensor]:
    if name == "sigmoid":
        return [1 / (1 + torch.exp(-logit)) for logit in logits_E]
    total = sum(torch.exp(logit) for logit in logits_E)
    return [torch.exp(logit) / total for logit in logits_E]


def _slow(name: str, logits_E: Tensor, bias: Tensor | None, k: int) -> dict[int, Tensor]:
    """Gates of one token: the k best of score + bias, each score divided by the sum of theirs."""
    scores = _scores(name, logits_E)
    ranked = torch.stack([s.detach() + (0.0 if bias is None else bias[i]) for i, s in enumerate(scores)])
    kept = best(ranked, k)
    total = sum(scores[i] for i in kept)
    return {i: scores[i] / total for i in kept}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "bias"), [("sigmoid", False), ("sigmoid", True), ("softmax", True)])
def test_gates_are_the_best_scores_divided_by_their_sum_in_value_and_gradient(
    name: str, bias: bool, training: bool
) -> None:
    scale = {"gate_scale": 2.5} if name == "sigmoid" else {}
    gate, x_ND = _gate(name, bias=bias, **scale).train(training), _inputs(40).requires_grad_()
    routing = gate(x_ND)
    found_NE = x_ND.new_zeros(40, 12).index_put((routing.tokens_M, routing.experts_M), routing.gates_M)
    rows = []
    for x_D in x_ND:
        row = [x_D.new_zeros(())] * 12
        for expert, value in _slow(name, x_D @ gate.gate_DE, gate.choice_bias_E, 2).items():
            row[expert] = value * scale.get("gate_scale", 1.0)
        rows.append(torch.stack(row))
    slow_NE = torch.stack(rows)
    torch.testing.assert_close(found_NE, slow_NE)
    weights_NE = torch.randn(40, 12, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    tensors = [x_ND, gate.gate_DE]
    fast = torch.autograd.grad((found_NE * weights_NE).sum(), tensors)
    for gradient, expected in zip(fast, torch.autograd.grad((slow_NE * weights_NE).sum(), tensors), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_the_sigmoid_gate_of_two_levels_is_the_product_of_both_times_the_scale() -> None:
    gate, x_ND = _gate("sigmoid", two_levels=True, gate_scale=1.5), _inputs(40)
    routing = gate(x_ND)
    found_NE = x_ND.new_zeros(40, 12).index_put((routing.tokens_M, routing.experts_M), routing.gates_M)
    for token, x_D in enumerate(x_ND):
        expected_E = x_D.new_zeros(12)
        for group, of_group in _slow("sigmoid", x_D @ gate.gate_DG, None, 2).items():
            for place, value in _slow("sigmoid", x_D @ gate.gate_GDL[group], None, 2).items():
                expected_E[group * 4 + place] = 1.5 * of_group * value
        torch.testing.assert_close(found_NE[token], expected_E)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_a_bias_changes_the_choice_and_has_no_part_in_the_values(name: str) -> None:
    gate, plain, x_ND = _gate(name, bias=True), _gate(name), _inputs(60)
    assert not torch.equal(gate(x_ND).experts_M, plain(x_ND).experts_M)
    with torch.no_grad():
        gate.choice_bias_E.fill_(7.0)  # the same for all: the same choice, and values that do not show it
    torch.testing.assert_close(gate(x_ND).gates_M, plain(x_ND).gates_M)
    assert torch.equal(gate(x_ND).experts_M, plain(x_ND).experts_M)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_no_gradient_reaches_a_bias(name: str) -> None:
    gate = _gate(name, bias=True)
    routing = gate(_inputs(30).requires_grad_())
    (routing.gates_M.square().sum() + sum(routing.balance.auxiliary_losses.values())).backward()
    assert gate.gate_DE.grad.any()
    assert gate.choice_bias_E.grad is None
    assert not gate.choice_bias_E.requires_grad


def test_without_a_rate_there_is_no_bias_and_a_new_one_is_zero() -> None:
    assert "choice_bias_E" not in dict(make_gate("softmax", False).named_parameters())
    assert not make_gate("softmax", False, choice_bias_rate=0.1).choice_bias_E.any()


@pytest.mark.parametrize("bias", [None, torch.zeros(6)])
def test_scores_that_are_all_zero_or_one_still_sum_to_1(bias: Tensor | None) -> None:
    for logits in (-2000.0, 2000.0):
        logits_RE = torch.full((3, 6), logits, requires_grad=True)
        choice = choose_by_score(logits_RE, 2, "sigmoid", bias)
        torch.testing.assert_close(choice.gates_RK, torch.full((3, 2), 0.5))
        choice.gates_RK[:, 0].sum().backward()
        assert logits_RE.grad.isfinite().all()


def test_a_bias_rises_where_tokens_are_too_few_and_falls_where_they_are_too_many() -> None:
    bias_E, counts_E = torch.tensor([0.5, 0.5, 0.5, 0.0]), torch.tensor([9, 1, 5, 5])
    torch.testing.assert_close(changed_bias(bias_E, counts_E, 0.1), torch.tensor([0.4, 0.6, 0.5, 0.0]))
    # A mean that is no whole number, and counts that float32 cannot tell apart.
    many_E = torch.tensor([2**40, 2**40 + 1, 2**40 + 1])
    torch.testing.assert_close(changed_bias(torch.zeros(3), many_E, 0.1), torch.tensor([0.1, -0.1, -0.1]))
    assert not changed_bias(torch.zeros(3), torch.zeros(3, dtype=torch.int64), 0.1).any()


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_a_bias_alone_brings_the_counts_together(name: str) -> None:
    gate, x_ND = make_gate(name, False, choice_bias_rate=0.02), _inputs(600).float()
    counts = []
    for _ in range(60):
        counts_E = gate(x_ND).token_counts_E
        counts.append(float(counts_E.double().std() / counts_E.double().mean()))
        gate.choice_bias_E.copy_(changed_bias(gate.choice_bias_E, counts_E, gate.choice_bias_rate))
    assert counts[0] > 0.4
    assert counts[-1] < counts[0] / 4
