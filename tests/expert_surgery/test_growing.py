"""Growing: copies compute what one expert did, and divide its tokens where k stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mtmoe.errors import UserError
from mtmoe.expert_surgery.dev_use import use_of_experts
from mtmoe.expert_surgery.growing import grow
from mtmoe.model.expert_layers import expert_layers, watched
from tests.expert_surgery.conftest import GATES, TOP_K_GATES


def _grown(it, num_experts: int, k: int | None = None, noise: float = 0.0, seed: int = 1):
    return grow(it.weights, it.moe, it.use, num_experts, k or it.moe.experts_per_token, noise=noise, seed=seed)


@pytest.mark.parametrize(("gate", "two_levels"), GATES)
@pytest.mark.parametrize("times", [2, 3])
def test_where_k_grows_too_outputs_stay_as_they_were(
    patient: Callable, after: Callable, large_batch, gate: str, two_levels: bool, times: int
) -> None:
    it = patient(gate, two_levels, large_batch)
    done = _grown(it, 12 * times, it.moe.experts_per_token * times)
    with torch.inference_mode():
        found = after(it, done).log_probabilities(large_batch)
    torch.testing.assert_close(found, it.log_probabilities(large_batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("gate", "more"),
    [
        ("softmax", {"choice_bias_rate": 0.01}),
        ("sigmoid", {"choice_bias_rate": 0.01, "gate_scale": 2.0, "shared_experts": 2}),
        ("expert-choice", {"shared_experts": 1}),
    ],
)
@pytest.mark.parametrize("times", [2, 3])
def test_so_they_do_with_biases_shared_experts_and_expert_choice(
    patient: Callable, after: Callable, large_batch, gate: str, more: dict, times: int
) -> None:
    it = patient(gate, False, large_batch, **more)
    done = _grown(it, 12 * times, 2 * times)
    with torch.inference_mode():
        found = after(it, done).log_probabilities(large_batch)
    torch.testing.assert_close(found, it.log_probabilities(large_batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("gate", "two_levels"), [it for it in TOP_K_GATES if it[0] != "sigmoid"])
@pytest.mark.parametrize("times", [2, 3])
def test_where_k_stays_nearly_all_tokens_keep_their_experts_and_each_copy_has_a_like_share(
    patient: Callable, after: Callable, large_batch, gate: str, two_levels: bool, times: int
) -> None:
    it = patient(gate, two_levels, large_batch)
    done = _grown(it, 12 * times)
    model = after(it, done)
    name = "encoder.moe1"  # further up, what another token has changed comes in
    routings = []
    for network in (it.model, model):
        with torch.inference_mode(), watched({name: expert_layers(network)[name]}) as calls:
            network(large_batch)
        routings.append(calls[name][0].routing)
    before, now = routings
    origin = torch.tensor([old for [old] in done.origins[name]])
    k = it.moe.experts_per_token
    experts_before, order_before = before.experts_M.view(-1, k).sort(dim=1)
    experts_now, order_now = origin[now.experts_M].view(-1, k).sort(dim=1)
    same_N = (experts_before == experts_now).all(1)
    assert same_N.float().mean() > 0.95
    gates_before, gates_now = (
        routing.gates_M.view(-1, k).gather(1, order) for routing, order in ((before, order_before), (now, order_now))
    )
    torch.testing.assert_close(gates_now[same_N], gates_before[same_N], rtol=1e-3, atol=1e-4)
    had = 12 // (2 if two_levels else 1)
    of_group = had * times
    copy_M = now.experts_M % of_group // had
    shares = torch.bincount(copy_M, minlength=times) / len(copy_M)
    assert 0.15 / times < shares.min()
    assert shares.max() < 2.2 / times


def test_noise_makes_copies_differ_but_leaves_the_first_as_it_is(patient: Callable, large_batch) -> None:
    it = patient("noisy-top-k", True, large_batch)
    plain, noisy, again = _grown(it, 24), _grown(it, 24, noise=0.1), _grown(it, 24, noise=0.1)
    name = "decoder.moe_layers.1.experts.first_EDH"
    firsts = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17]
    others = [e for e in range(24) if e not in firsts]
    assert torch.equal(noisy.weights[name][firsts], it.weights[name])
    assert torch.equal(plain.weights[name][others], it.weights[name])
    difference = noisy.weights[name][others] - it.weights[name]
    ratios = difference.flatten(1).std(1) / it.weights[name].flatten(1).std(1)
    assert ratios.tolist() == pytest.approx([0.1] * 12, rel=0.2)
    assert all(torch.equal(tensor, again.weights[key]) for key, tensor in noisy.weights.items())
    assert not torch.equal(_grown(it, 24, noise=0.1, seed=2).weights[name], noisy.weights[name])


def test_one_expert_a_token_is_divided_too(patient: Callable, after: Callable, large_batch) -> None:
    it = patient("softmax", False, large_batch, experts_per_token=1)
    model = after(it, _grown(it, 24))
    with torch.inference_mode():
        found = model.log_probabilities(large_batch)
    torch.testing.assert_close(found, it.log_probabilities(large_batch), rtol=1e-4, atol=1e-4)
    tokens_E = use_of_experts(model, [large_batch])["encoder.moe1"].tokens_E
    assert tokens_E[:12].sum() > 100
    assert tokens_E[12:].sum() > 100


@pytest.mark.parametrize(
    ("gate", "num_experts", "k", "told"),
    [
        ("softmax", 18, 2, "each of 12 experts is copied equally often"),
        ("softmax", 12, 2, "each of 12 experts is copied equally often"),
        ("softmax", 24, 3, "it stays 2 or becomes 2 times as many, 4"),
        ("strictly-balanced", 24, 2, "a token goes to all 2 copies of its experts"),
        ("sigmoid", 24, 2, 'with gate = "sigmoid" a token goes to all 2 copies of its experts'),
        ("expert-choice", 24, 2, "a token goes to all 2 copies of its experts"),
    ],
)
def test_numbers_that_do_not_suit_are_told(
    patient: Callable, batch, gate: str, num_experts: int, k: int, told: str
) -> None:
    it = patient(gate, False, batch)
    with pytest.raises(UserError, match=told):
        _grown(it, num_experts, k)


def test_a_bias_on_the_choice_wants_k_to_grow(patient: Callable, batch) -> None:
    it = patient("softmax", False, batch, choice_bias_rate=0.01)
    with pytest.raises(UserError, match=r'with gate = "softmax" and choice_bias_rate = 0.01 a token goes to all') as e:
        _grown(it, 24, 2)
    assert e.value.fix == "--experts-per-token 4"
