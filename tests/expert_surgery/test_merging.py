"""Merging: what is alike becomes one, weighted by its tokens, whatever the order of its hidden units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mtmoe.errors import UserError
from mtmoe.expert_surgery.growing import grow
from mtmoe.expert_surgery.merging import clusters, matching_units, merge, similarity
from mtmoe.expert_surgery.operation import parameter_of
from tests.expert_surgery.conftest import TOP_K_GATES


def _with_a_twin(it, layer: str, expert: int, twin: int):
    """Make an expert the same as another but for the order of its hidden units, with the same gate."""
    weights = {name: tensor.clone() for name, tensor in it.weights.items()}
    order_H = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    first, second, gate = (parameter_of(weights, layer, n) for n in ("first_EDH", "second_EHD", "gate_DE"))
    weights[first][twin] = weights[first][expert][:, order_H]
    weights[second][twin] = weights[second][expert][order_H]
    weights[gate][:, twin] = weights[gate][:, expert]
    it.model.load_state_dict(weights)
    return it._replace(weights=weights)


def test_two_equal_experts_become_one_without_a_difference_where_a_token_has_one(
    patient: Callable, after: Callable, large_batch
) -> None:
    it = patient("softmax", False, large_batch, experts_per_token=1)
    for layer in it.use:
        it = _with_a_twin(it, layer, 4, 9)
    done = merge(it.weights, it.moe, it.use, 11, 1)
    assert all([4, 9] in origins for origins in done.origins.values())
    with torch.inference_mode():
        found = after(it, done).log_probabilities(large_batch)
    torch.testing.assert_close(found, it.log_probabilities(large_batch), rtol=1e-4, atol=1e-4)


MORE = {"choice_bias_rate": 0.01, "shared_experts": 2}


@pytest.mark.parametrize(("gate", "two_levels", "more"), [*((*it, {}) for it in TOP_K_GATES), ("sigmoid", False, MORE)])
def test_merging_undoes_growing(
    patient: Callable, after: Callable, large_batch, gate: str, two_levels: bool, more: dict
) -> None:
    it = patient(gate, two_levels, large_batch, **more)
    k = it.moe.experts_per_token
    grown = grow(it.weights, it.moe, it.use, 24, 2 * k, noise=0.0, seed=1)
    use = {
        layer: of_layer._replace(
            tokens_E=of_layer.tokens_E[torch.tensor(grown.origins[layer])[:, 0]],
        )
        for layer, of_layer in it.use.items()
    }
    done = merge(grown.weights, grown.moe, use, 12, k)
    with torch.inference_mode():
        found = after(it, done).log_probabilities(large_batch)
    torch.testing.assert_close(found, it.log_probabilities(large_batch), rtol=1e-4, atol=1e-4)


def test_the_mean_is_weighted_by_tokens(patient: Callable, large_batch) -> None:
    it = patient("softmax", False, large_batch)
    tokens_E = torch.tensor([30, 10, *[7] * 10])
    use = {layer: of_layer._replace(tokens_E=tokens_E) for layer, of_layer in it.use.items()}
    gate = "encoder.moe_layers.1.gate.gate_DE"
    first, second = (f"encoder.moe_layers.1.experts.{name}" for name in ("first_EDH", "second_EHD"))
    weights = dict(it.weights)
    for name in (first, second):  # the second is the first with other lengths: alike, and its units are in order
        weights[name] = weights[name].clone()
        weights[name][1] = 1.5 * weights[name][0]
    done = merge(weights, it.moe, use, 11, 2)
    assert done.origins["encoder.moe1"][0] == [0, 1]
    torch.testing.assert_close(done.weights[first][0], (0.75 + 0.25 * 1.5) * weights[first][0])
    torch.testing.assert_close(
        done.weights[gate][:, 0], 0.75 * weights[gate][:, 0] + 0.25 * weights[gate][:, 1], rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(done.weights[gate][:, 1:], weights[gate][:, 2:])


def test_similarity_is_the_cosine_of_outputs() -> None:
    sample, first, second = torch.randn(100, 8), torch.randn(3, 8, 4), torch.randn(3, 4, 8)
    first[2], second[2] = first[0], -2 * second[0]
    alike = similarity(sample, first, second)
    outputs = [((sample @ first[e]).relu() @ second[e]).flatten() for e in range(3)]
    expected = [[float(torch.cosine_similarity(a, b, dim=0)) for a in outputs] for b in outputs]
    np.testing.assert_allclose(alike, expected, atol=1e-5)
    assert alike[0, 2] == pytest.approx(-1)


def test_the_most_alike_are_joined_first_and_joined_ones_count_by_their_tokens() -> None:
    alike = np.eye(4)
    for (i, j), value in {(0, 2): 0.9, (0, 1): 0.2, (1, 2): 0.8, (1, 3): 0.6, (0, 3): 0.1, (2, 3): 0.1}.items():
        alike[i, j] = alike[j, i] = value
    assert clusters(alike, np.array([1.0, 1.0, 1.0, 1.0]), 3) == ([[0, 2], [1], [3]], 0.9)
    # 0.5 of (0.2 and 0.8) against 0.6; with more tokens in 2 it is nearer to 0.8.
    assert clusters(alike, np.array([1.0, 1.0, 1.0, 1.0]), 2)[0] == [[0, 2], [1, 3]]
    assert clusters(alike, np.array([1.0, 1.0, 9.0, 1.0]), 2)[0] == [[0, 1, 2], [3]]


def test_units_are_matched_whatever_their_order_and_length() -> None:
    first, second = torch.randn(6, 5), torch.randn(5, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    found = matching_units((first, second), (2 * first[:, order], 2 * second[order]))
    assert torch.equal(order[found], torch.arange(5))


def test_a_strictly_balanced_gate_refuses(patient: Callable, batch) -> None:
    it = patient("strictly-balanced", True, batch)
    with pytest.raises(UserError, match="--merge and gate"):
        merge(it.weights, it.moe, it.use, 6, 4)
