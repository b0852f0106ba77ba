"""Sampled softmax against its definition and against the whole softmax."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mtmoe.training.losses import sampled_softmax
from mtmoe.training.losses.label_smoothing import reference_cross_entropy
from mtmoe.training.losses.sampled_softmax import (
    cross_entropy_against,
    draw_classes,
    inclusion_probabilities,
    sampled_cross_entropy,
)

NUM_CLASSES, WIDTH = 40, 6


def problem(num_tokens: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    hidden_ND = torch.randn(num_tokens, WIDTH, requires_grad=True)
    output_VD = torch.randn(NUM_CLASSES, WIDTH, requires_grad=True)
    return hidden_ND, output_VD, torch.randint(NUM_CLASSES, (num_tokens,))


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return [gradient.double() for gradient in torch.autograd.grad(loss, of)]


def log_uniform(num_classes: int) -> list[float]:
    """p(c) by the definition: floor(exp(u log(V + 1))) - 1 is c for u in an interval of this length."""
    edges = torch.arange(1, num_classes + 2, dtype=torch.float64).log() / torch.tensor(num_classes + 1.0).double().log()
    return (edges[1:] - edges[:-1]).tolist()


def test_the_probabilities_are_those_of_having_a_class_in_so_many_log_uniform_draws():
    expected = [1 - (1 - p) ** 7 for p in log_uniform(30)]
    assert sum(log_uniform(30)) == pytest.approx(1)
    assert inclusion_probabilities(7, 30).tolist() == pytest.approx(expected)


def test_classes_are_drawn_as_often_as_their_probability_says_and_independently():
    torch.manual_seed(1)
    num_trials, q_V = 4000, inclusion_probabilities(8, 20)
    drawn_TV = torch.zeros(num_trials, 20, dtype=torch.float64)
    for row in drawn_TV:
        row[draw_classes(8, 20)] = 1
    error_V = (q_V * (1 - q_V) / num_trials).sqrt()
    assert ((drawn_TV.mean(0) - q_V).abs() < 5 * error_V).all()
    covariance_VV = drawn_TV.t().cov() - torch.diag(drawn_TV.var(0))
    assert covariance_VV.abs().max() < 5 * 0.25 / num_trials**0.5


@pytest.mark.parametrize("chunk", [1 << 24, 50], ids=["one chunk", "chunks"])
def test_value_and_gradients_are_those_of_the_definition(monkeypatch, chunk):
    monkeypatch.setattr(sampled_softmax, "CHUNK_ELEMENTS", chunk)
    hidden_ND, output_VD, labels_N = problem()
    torch.manual_seed(5)
    classes = draw_classes(20, NUM_CLASSES)
    assert set(classes.tolist()) & set(labels_N.tolist()), "some label is drawn"
    log_q = inclusion_probabilities(20, NUM_CLASSES).log()
    expected = torch.zeros((), dtype=torch.float64)
    for hidden_D, label in zip(hidden_ND.double(), labels_N.tolist(), strict=True):
        candidates = [label, *(c for c in classes.tolist() if c != label)]
        scores = torch.stack([hidden_D @ output_VD[c].double() - log_q[c] for c in candidates])
        expected = expected - scores.log_softmax(0)[0]
    torch.manual_seed(5)
    found = sampled_cross_entropy(hidden_ND, output_VD, labels_N, 20, torch.float32)
    assert found.smoothed_sum.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(found.plain_sum) == pytest.approx(expected.item(), rel=1e-5)
    pairs = zip(
        gradients(found.smoothed_sum, hidden_ND, output_VD), gradients(expected, hidden_ND, output_VD), strict=True
    )
    for one, other in pairs:
        assert torch.allclose(one, other, atol=1e-5)


def test_it_converges_to_the_whole_softmax_in_value_and_gradient_as_draws_grow():
    hidden_ND, output_VD, labels_N = problem()
    whole = reference_cross_entropy(hidden_ND, output_VD, labels_N, 0.0).smoothed_sum
    whole_gradients = gradients(whole, hidden_ND, output_VD)
    value_errors, gradient_errors = [], []
    for num_draws in (10, 40, 160, 5000):
        torch.manual_seed(1)
        losses = [sampled_cross_entropy(hidden_ND, output_VD, labels_N, num_draws, torch.float32) for _ in range(60)]
        mean = torch.stack([loss.smoothed_sum for loss in losses]).mean()
        value_errors.append(abs((mean - whole).item()))
        found = gradients(mean, hidden_ND, output_VD)
        gradient_errors.append(max(float((a - b).abs().max()) for a, b in zip(found, whole_gradients, strict=True)))
    assert value_errors == sorted(value_errors, reverse=True)
    assert gradient_errors == sorted(gradient_errors, reverse=True)
    assert value_errors[-1] < 1e-4
    assert gradient_errors[-1] < 1e-4


@pytest.mark.parametrize("num_draws", [1, 3, 10])
def test_the_expected_gradient_vanishes_exactly_where_the_probabilities_are_the_true_ones(num_draws):
    """Over all labels and all sets that can be drawn: what is learned is not bent by the sampling."""
    num_classes = 6
    probability_V = torch.tensor([0.05, 0.3, 0.1, 0.02, 0.13, 0.4])
    hidden_ND = torch.ones(num_classes, 1)
    labels_N = torch.arange(num_classes)
    q_V = inclusion_probabilities(num_draws, num_classes)

    def expected_gradient(output_VD: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for drawn in itertools.product((False, True), repeat=num_classes):
            mask_V = torch.tensor(drawn)
            weight = float(torch.where(mask_V, q_V, 1 - q_V).prod())
            for label in labels_N.tolist():
                loss = cross_entropy_against(
                    hidden_ND[:1], output_VD, labels_N[label : label + 1], mask_V.nonzero()[:, 0], num_draws,
                    torch.float32,
                ).smoothed_sum  # fmt: skip
                total = total + weight * float(probability_V[label]) * loss.double()
        (gradient_VD,) = torch.autograd.grad(total, output_VD)
        return gradient_VD

    at_the_truth = probability_V.log()[:, None].clone().requires_grad_()
    assert expected_gradient(at_the_truth).abs().max() < 1e-6
    elsewhere = (probability_V.log()[:, None] + torch.linspace(0, 1, num_classes)[:, None]).requires_grad_()
    assert expected_gradient(elsewhere).abs().max() > 1e-3
