"""Teachers and two readings against their formulas, written out with the whole matrix and left to autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.training.losses import taught_cross_entropy as loss_module
from mtmoe.training.losses.distillation import with_exact_top_k
from mtmoe.training.losses.label_smoothing import output_cross_entropy
from mtmoe.training.losses.taught_cross_entropy import TaughtCrossEntropy, Terms, taught_cross_entropy

V, D = 50, 16


def problem(num_tokens: int, num_readings: int = 1, dtype: torch.dtype = torch.float64):
    """Hidden vectors of all readings, the output layer, labels, and the teachers' probabilities of one reading."""
    torch.manual_seed(0)
    hidden_ND = torch.randn(num_readings * num_tokens, D, dtype=dtype, requires_grad=True)
    output_VD = torch.randn(V, D, dtype=dtype, requires_grad=True)
    labels_N = torch.randint(0, V, (num_tokens,)).repeat(num_readings)
    return hidden_ND, output_VD, labels_N, torch.randn(num_tokens, V, dtype=dtype).softmax(1)


def reference(hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, terms: Terms, teacher_NV: Tensor) -> Tensor:
    """Hinton et al. (2015), section 2, and Liang et al. (2021), eqs. 1 to 3, of which this is half."""
    readings = (hidden_ND @ output_VD.t()).chunk(terms.num_readings)
    labels_N = labels_N[: len(teacher_NV)]
    total = torch.zeros((), dtype=hidden_ND.dtype)
    for logits_NV in readings:
        one_hot_NV = F.one_hot(labels_N, V).to(logits_NV.dtype)
        smoothed_NV = (1 - terms.smoothing) * one_hot_NV + terms.smoothing / V
        of_text = -(smoothed_NV * logits_NV.log_softmax(1)).sum()
        tempered_NV = (logits_NV / terms.temperature).log_softmax(1)
        of_teacher = F.kl_div(tempered_NV, teacher_NV, reduction="sum") * terms.temperature**2
        total = total + ((1 - terms.teacher_weight) * of_text + terms.teacher_weight * of_teacher) / len(readings)
    if terms.consistency_weight:
        one_NV, other_NV = (logits_NV.log_softmax(1) for logits_NV in readings)
        both = F.kl_div(other_NV, one_NV, reduction="sum", log_target=True) + F.kl_div(
            one_NV, other_NV, reduction="sum", log_target=True
        )
        total = total + terms.consistency_weight * (both / 2) / 2
    return total


TERMS = {
    "teacher": Terms(0.0, 0.5),
    "smoothing and teacher": Terms(0.1, 0.3),
    "hot teacher": Terms(0.1, 0.7, 2.5),
    "cold teacher": Terms(0.0, 1.0, 0.5),
    "two readings": Terms(0.1, consistency_weight=5.0),
    "all together": Terms(0.1, 0.4, 2.0, 3.0),
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("chunk_elements", [V, V * 10, 1 << 20])
def test_loss_and_gradients_are_those_of_the_formulas(monkeypatch, terms, chunk_elements):
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", chunk_elements)
    hidden_ND, output_VD, labels_N, teacher_NV = problem(13, terms.num_readings)
    fast = taught(hidden_ND, output_VD, labels_N, terms, teacher_NV)
    slow = reference(hidden_ND, output_VD, labels_N, terms, teacher_NV)
    torch.testing.assert_close(fast.objective_sum, slow)
    of_fast = torch.autograd.grad(fast.objective_sum / 7, [hidden_ND, output_VD])
    of_slow = torch.autograd.grad(slow / 7, [hidden_ND, output_VD])
    for a, b in zip(of_fast, of_slow, strict=True):
        torch.testing.assert_close(a, b)


def taught(hidden_ND, output_VD, labels_N, terms, teacher_NV, dtype=torch.float64) -> TaughtCrossEntropy:
    says = (lambda part: teacher_NV[part]) if terms.teacher_weight else None
    return taught_cross_entropy(hidden_ND, output_VD, labels_N, terms, says, dtype)


def test_without_teacher_and_second_reading_it_is_the_loss_of_the_text():
    hidden_ND, output_VD, labels_N, teacher_NV = problem(13)
    found = taught(hidden_ND, output_VD, labels_N, Terms(0.1), teacher_NV)
    expected = output_cross_entropy(hidden_ND, output_VD, labels_N, 0.1, torch.float64)
    torch.testing.assert_close(found.objective_sum, expected.smoothed_sum)
    torch.testing.assert_close(found.plain_sum, expected.plain_sum)


def test_the_parts_that_are_told_are_divergences_without_weights():
    """0 of a network that says what its teacher and its other reading say."""
    hidden_ND, output_VD, labels_N, _ = problem(9)
    says_NV = (hidden_ND @ output_VD.t() / 2.0).softmax(1).detach()
    twice_ND = hidden_ND.detach().repeat(2, 1)
    terms = Terms(0.1, 0.5, 2.0, 1.0)
    same = taught(twice_ND, output_VD, labels_N.repeat(2), terms, says_NV)
    assert float(same.teacher_sum.detach()) == pytest.approx(0, abs=1e-12)
    assert float(same.consistency_sum) == pytest.approx(0, abs=1e-12)
    other = taught(torch.cat((hidden_ND.detach(), -hidden_ND.detach())), output_VD, labels_N.repeat(2), terms, says_NV)
    heavier = terms._replace(teacher_weight=0.9, consistency_weight=9.0)
    again = taught(
        torch.cat((hidden_ND.detach(), -hidden_ND.detach())), output_VD, labels_N.repeat(2), heavier, says_NV
    )
    assert float(other.teacher_sum) == pytest.approx(float(again.teacher_sum)) != 0
    assert float(other.consistency_sum) == pytest.approx(float(again.consistency_sum)) != 0


def test_bf16_products_give_nearly_the_same():
    terms = TERMS["all together"]
    hidden_ND, output_VD, labels_N, teacher_NV = problem(37, 2, torch.float32)
    fast = taught(hidden_ND, output_VD, labels_N, terms, teacher_NV, torch.bfloat16)
    slow = reference(hidden_ND, output_VD, labels_N, terms, teacher_NV)
    assert float(fast.objective_sum.detach()) == pytest.approx(float(slow.detach()), rel=0.02)
    for a, b in zip(
        torch.autograd.grad(fast.objective_sum, [hidden_ND, output_VD]),
        torch.autograd.grad(slow, [hidden_ND, output_VD]),
        strict=True,
    ):
        assert float((a - b).norm() / b.norm()) < 0.03


def test_without_tokens_there_still_is_a_gradient_of_zero():
    hidden_ND, output_VD = torch.zeros(0, 4, requires_grad=True), torch.ones(7, 4, requires_grad=True)
    no_labels_N = torch.zeros(0, dtype=torch.int64)
    loss = taught_cross_entropy(hidden_ND, output_VD, no_labels_N, Terms(0.1, 0.5, 1.0, 1.0), None, torch.float32)
    loss.objective_sum.backward()
    assert hidden_ND.grad is not None
    assert torch.equal(output_VD.grad, torch.zeros(7, 4))


def test_the_likeliest_words_keep_their_probabilities_and_the_others_share_the_rest():
    says_NV = torch.tensor([[0.5, 0.0, 0.2, 0.1, 0.2 - 0.05, 0.05]])
    expected_NV = torch.tensor([[0.5, 0.1, 0.2, 0.1, 0.1, 0.0]])
    expected_NV[0, [1, 3, 4, 5]] = 0.3 / 4
    torch.testing.assert_close(with_exact_top_k(says_NV, 2), expected_NV)
    for all_words in (0, 6, 100):
        assert torch.equal(with_exact_top_k(says_NV, all_words), says_NV)


def test_at_the_likeliest_words_the_gradient_is_that_of_the_whole_distribution():
    hidden_ND, output_VD, labels_N, teacher_NV = problem(11)
    logits_NV = (hidden_ND @ output_VD.t()).detach()
    identity_VV = torch.eye(V, dtype=torch.float64)

    def gradient(says_NV: Tensor) -> Tensor:
        free_NV = logits_NV.clone().requires_grad_()
        loss = taught(free_NV, identity_VV, labels_N, Terms(0.1, 0.5), says_NV)
        return torch.autograd.grad(loss.objective_sum, free_NV)[0]

    best_NK = teacher_NV.topk(4, dim=1).indices
    few, whole = gradient(with_exact_top_k(teacher_NV, 4)), gradient(teacher_NV)
    torch.testing.assert_close(few.gather(1, best_NK), whole.gather(1, best_NK))
    assert not torch.allclose(few, whole)
