"""What is true of every gate."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from mtmoe.model.moe.gating import Gate
from mtmoe.model.moe.layer_parallelism import LayerParallelism
from mtmoe.model.moe.routing import Routing
from tests.gates import GATES, TOP_K_GATES, WIDTH, WITH_THRESHOLDS, make_gate, quasi_noise, squared_cv

every_gate = pytest.mark.parametrize(("name", "two_levels"), GATES)
every_top_k_gate = pytest.mark.parametrize(("name", "two_levels"), TOP_K_GATES)


def _inputs(num_tokens: int, seed: int = 0) -> Tensor:
    return torch.randn(num_tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


def _check_form(routing: Routing, num_tokens: int, num_experts: int) -> None:
    tokens, experts = routing.tokens_M.tolist(), routing.experts_M.tolist()
    assert tokens == sorted(tokens)
    assert len(set(zip(tokens, experts, strict=True))) == len(tokens) == routing.gates_M.numel()
    assert all(0 <= token < num_tokens for token in tokens)
    assert all(0 <= expert < num_experts for expert in experts)
    assert routing.token_counts_E.tolist() == [experts.count(expert) for expert in range(num_experts)]
    if routing.experts_per_token:
        assert tokens == [m // routing.experts_per_token for m in range(num_tokens * routing.experts_per_token)]


@pytest.mark.parametrize("training", [True, False])
@every_gate
def test_a_routing_is_pairs_in_token_order_with_their_counts(name: str, two_levels: bool, training: bool) -> None:
    routing = make_gate(name, two_levels).train(training)(_inputs(30))
    _check_form(routing, 30, 12)
    assert routing.balance is not None
    assert routing.balance.token_counts_E is routing.token_counts_E
    if name not in WITH_THRESHOLDS:
        assert routing.experts_per_token == (4 if two_levels else 2)
        sums_N = torch.zeros(30).index_add(0, routing.tokens_M, routing.gates_M)
        torch.testing.assert_close(sums_N, torch.ones(30))


@pytest.mark.parametrize("training", [True, False])
@every_gate
def test_importance_is_the_sum_of_each_experts_gates_and_its_loss_their_squared_variation(
    name: str, two_levels: bool, training: bool
) -> None:
    routing = make_gate(name, two_levels).train(training)(_inputs(40))
    importance = [0.0] * 12
    for expert, gate in zip(routing.experts_M.tolist(), routing.gates_M.tolist(), strict=True):
        importance[expert] += gate
    assert routing.balance is not None
    torch.testing.assert_close(routing.balance.importance_E, torch.tensor(importance))
    assert routing.balance.auxiliary_losses["importance"].item() == pytest.approx(
        0.1 * squared_cv(importance), rel=1e-4
    )


@every_gate
def test_the_losses_have_their_names(name: str, two_levels: bool) -> None:
    expected = {"load"} if name == "noisy-top-k" else {"threshold"} if name in WITH_THRESHOLDS else set()
    losses = make_gate(name, two_levels)(_inputs(20)).balance.auxiliary_losses  # type: ignore[union-attr]
    assert set(losses) == {"importance"} | expected
    assert all(loss.shape == () for loss in losses.values())


@every_gate
def test_evaluation_draws_no_noise(name: str, two_levels: bool) -> None:
    gate, x_ND = make_gate(name, two_levels).eval(), _inputs(25)
    state = torch.get_rng_state()
    first, second = gate(x_ND), gate(x_ND)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.gates_M, second.gates_M)
    assert torch.equal(first.experts_M, second.experts_M)
    assert torch.equal(first.balance.load_E, first.token_counts_E.float())


@every_gate
def test_evaluation_asks_nothing_of_other_processes(name: str, two_levels: bool) -> None:
    """The main process validates alone: the others would never come."""
    asked: list[Tensor] = []
    gate = make_gate(name, two_levels)
    gate.parallelism = LayerParallelism(reduce_sum=lambda sums: asked.append(sums) or sums)  # type: ignore[func-returns-value]
    gate.eval()(_inputs(25))
    assert not asked
    gate.train()(_inputs(25))
    assert asked


def _loss(routing: Routing) -> Tensor:
    """Reaches every parameter of the gate."""
    assert routing.balance is not None
    weights_M = torch.sin(torch.arange(routing.gates_M.numel()) + routing.experts_M).to(routing.gates_M)
    return sum(routing.balance.auxiliary_losses.values(), (routing.gates_M * weights_M).sum())


@every_gate
def test_two_equal_passes_are_equal_to_the_bit(name: str, two_levels: bool) -> None:
    results = []
    for _ in range(2):
        gate, x_ND = make_gate(name, two_levels), _inputs(300).requires_grad_()
        torch.manual_seed(5)
        routing = gate(x_ND)
        _loss(routing).backward()
        results.append([routing.gates_M, routing.experts_M, x_ND.grad, *(p.grad for p in gate.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_gate
def test_every_parameter_and_the_input_learn(name: str, two_levels: bool) -> None:
    gate, x_ND = make_gate(name, two_levels), _inputs(50).requires_grad_()
    _loss(gate(x_ND)).backward()
    for parameter, tensor in [*gate.named_parameters(), ("x", x_ND)]:
        assert tensor.grad is not None, parameter
        assert tensor.grad.any(), parameter


@pytest.mark.parametrize("training", [True, False])
@every_gate
def test_nan_logits_give_no_expert_out_of_range_and_an_importance_that_shows_them(
    name: str, two_levels: bool, training: bool
) -> None:
    gate, x_ND = make_gate(name, two_levels).train(training), _inputs(20)
    x_ND[3] = torch.nan
    routing = gate(x_ND)
    _check_form(routing, 20, 12)
    if training or name not in WITH_THRESHOLDS:  # whose thresholds no NaN passes
        assert not routing.balance.importance_E.isfinite().all()
    everything = gate(torch.full((20, WIDTH), torch.nan))
    _check_form(everything, 20, 12)


@every_gate
def test_no_tokens_give_no_pairs_and_zero_gradients(name: str, two_levels: bool) -> None:
    gate = make_gate(name, two_levels)
    routing = gate(_inputs(0))
    assert routing.tokens_M.shape == routing.gates_M.shape == (0,)
    assert routing.token_counts_E.tolist() == [0] * 12
    _loss(routing).backward()
    for parameter in gate.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
    assert gate.eval()(_inputs(0)).tokens_M.shape == (0,)


@every_gate
def test_one_token_is_routed(name: str, two_levels: bool) -> None:
    for gate in (make_gate(name, two_levels), make_gate(name, two_levels).eval()):
        routing = gate(_inputs(1))
        _check_form(routing, 1, 12)
        assert all(loss.isfinite() for loss in routing.balance.auxiliary_losses.values())


@every_gate
def test_with_k_of_1_the_gate_of_a_token_is_1(name: str, two_levels: bool) -> None:
    routing = make_gate(name, two_levels, k=1, groups_per_token=1)(_inputs(24))
    _check_form(routing, 24, 12)
    if name not in WITH_THRESHOLDS:  # where a token may have more
        assert routing.gates_M.tolist() == [1.0] * 24


@every_gate
def test_when_all_experts_are_chosen_the_gates_are_a_softmax_and_there_is_no_load_loss(
    name: str, two_levels: bool
) -> None:
    gate, x_ND = make_gate(name, two_levels, k=4 if two_levels else 12, groups_per_token=3), _inputs(15)
    routing = gate(x_ND)
    assert routing.token_counts_E.tolist() == [15] * 12
    assert routing.balance.load_E.tolist() == [15.0] * 12
    assert float(routing.balance.auxiliary_losses.get("load", 0.0)) == 0.0
    if name in ("noisy-top-k", "sigmoid"):
        return
    gates_NE = torch.zeros(15, 12).index_put((routing.tokens_M, routing.experts_M), routing.gates_M)
    weights = dict(gate.named_parameters())
    if two_levels:
        first_NG = (x_ND @ weights["gate_DG"]).softmax(1)
        second_GNL = (x_ND @ weights["gate_GDL"]).softmax(2)
        expected_NE = torch.cat([first_NG[:, g : g + 1] * second_GNL[g] for g in range(3)], dim=1)
    else:
        expected_NE = (x_ND @ weights["gate_DE"]).softmax(1)
    torch.testing.assert_close(gates_NE, expected_NE)


@every_gate
def test_gates_stay_float32_under_autocast_and_float64_where_the_input_is(name: str, two_levels: bool) -> None:
    gate, x_ND = make_gate(name, two_levels).eval(), _inputs(30)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gate(x_ND)
    assert inside.gates_M.dtype == torch.float32
    assert torch.equal(inside.gates_M, gate(x_ND).gates_M)
    double = copy.deepcopy(gate).double()(x_ND.double())
    assert double.gates_M.dtype == torch.float64
    assert torch.equal(double.experts_M, inside.experts_M)
    torch.testing.assert_close(double.gates_M.float(), inside.gates_M)


@pytest.mark.parametrize("num_experts", [12, 9])  # 9 in three groups: the product that other devices take
@every_gate
def test_training_never_waits_for_the_device(name: str, two_levels: bool, num_experts: int) -> None:
    """Fake tensors have shapes and no values: whatever asks for one, or has a shape that depends on one, raises."""
    with FakeTensorMode():
        gate = make_gate(name, two_levels, num_experts)
        x_ND = torch.empty(40, WIDTH, requires_grad=True)
        routing = gate(x_ND)
        sum(routing.balance.auxiliary_losses.values(), routing.gates_M.sum()).backward()
        assert routing.tokens_M.shape == routing.experts_M.shape == routing.gates_M.shape
        if name in WITH_THRESHOLDS:  # which shows that the test can fail
            with pytest.raises(RuntimeError, match=r"aten\.nonzero"):
                gate.eval()(x_ND)


@every_gate
def test_the_compiler_sees_through_the_gate(name: str, two_levels: bool) -> None:
    torch.compiler.reset()  # which else gives up: all gates have one forward
    gate = make_gate(name, two_levels)
    compiled = torch.compile(gate, fullgraph=True, backend="aot_eager", dynamic=True)
    for num_tokens in (40, 56):
        gradients = []
        for run in (gate, compiled):
            x_ND = _inputs(num_tokens).requires_grad_()
            torch.manual_seed(1)
            routing = run(x_ND)
            _loss(routing).backward()
            gradients.append(x_ND.grad)
        torch.testing.assert_close(*gradients)


# ------------------------------------------------------------------------------- a batch in several processes


def _recorded(gate: Gate, x_ND: Tensor) -> Tensor:
    seen: list[Tensor] = []
    gate.parallelism = LayerParallelism(reduce_sum=lambda sums: seen.append(sums.detach()) or sums)  # type: ignore[func-returns-value]
    gate(x_ND)
    assert len(seen) == 1  # one message, not several
    return seen[0]


def _losses_of_halves(gate: Gate, x_ND: Tensor) -> list[dict[str, Tensor]]:
    """The losses in each of two processes with half of the batch; each adds the other's sums to its own."""
    halves = x_ND.chunk(2)
    sums = [_recorded(gate, half) for half in halves]
    losses = []
    for half, others in zip(halves, reversed(sums), strict=True):
        gate.parallelism = LayerParallelism(reduce_sum=lambda own, others=others: own + others)
        losses.append(gate(half).balance.auxiliary_losses)
    return losses


@every_top_k_gate
def test_two_halves_that_add_up_their_sums_have_the_losses_and_gradients_of_the_whole(
    name: str, two_levels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "randn_like", quasi_noise)
    gate, x_ND = make_gate(name, two_levels).double(), _inputs(48).double().requires_grad_()
    whole = gate(x_ND).balance.auxiliary_losses
    expected = torch.autograd.grad(sum(whole.values()), [x_ND, *gate.parameters()])
    losses = _losses_of_halves(gate, x_ND)
    for half in losses:
        for key, loss in half.items():
            torch.testing.assert_close(loss, whole[key])
    total = sum(sum(half.values()) for half in losses)
    for gradient, of_whole in zip(torch.autograd.grad(total, [x_ND, *gate.parameters()]), expected, strict=True):
        torch.testing.assert_close(gradient, of_whole)


@pytest.mark.parametrize("two_levels", [False, True])
def test_two_halves_of_a_strictly_balanced_batch_have_one_importance_loss_and_one_threshold_loss(
    two_levels: bool,
) -> None:
    gate, x_ND = make_gate("strictly-balanced", two_levels), _inputs(48)
    alone = [gate(half).balance for half in x_ND.chunk(2)]
    importance = (alone[0].importance_E + alone[1].importance_E).tolist()
    for losses in _losses_of_halves(gate, x_ND):
        assert losses["importance"].item() == pytest.approx(0.1 * squared_cv(importance), rel=1e-4)
        mean = (alone[0].auxiliary_losses["threshold"] + alone[1].auxiliary_losses["threshold"]) / 2
        torch.testing.assert_close(losses["threshold"], mean)


# ------------------------------------------------------------------------------------------------- router z-loss


def _log_sum_exp(logits: list[Tensor]) -> Tensor:
    return torch.log(sum(torch.exp(logit) for logit in logits))


def _slow_z_loss(gate: Gate, x_ND: Tensor, routing: Routing) -> Tensor:
    """The mean over tokens of log(sum exp)^2, one token after another; of two levels a second mean, over the tokens of
    each group."""
    if not hasattr(gate, "gate_GDL"):
        return sum(_log_sum_exp(list(x_D @ gate.gate_DE)) ** 2 for x_D in x_ND) / len(x_ND)
    first = sum(_log_sum_exp(list(x_D @ gate.gate_DG)) ** 2 for x_D in x_ND) / len(x_ND)
    of_groups = sorted(set(zip(routing.tokens_M.tolist(), (routing.experts_M // 4).tolist(), strict=True)))
    second = sum(_log_sum_exp(list(x_ND[token] @ gate.gate_GDL[group])) ** 2 for token, group in of_groups)
    return first + second / len(of_groups)


@pytest.mark.parametrize("training", [True, False])
@every_gate
def test_the_z_loss_is_the_mean_squared_log_of_the_sum_of_exponentials_in_value_and_gradient(
    name: str, two_levels: bool, training: bool
) -> None:
    # One expert for each row of a group: with strict balancing every row then has a pair that tells of it.
    gate = make_gate(name, two_levels, k=4 if two_levels else 2, z_loss_weight=0.3).double().train(training)
    x_ND = _inputs(30).double().requires_grad_()
    routing = gate(x_ND)
    found, slow = routing.balance.auxiliary_losses["z"], 0.3 * _slow_z_loss(gate, x_ND, routing)
    torch.testing.assert_close(found, slow)
    tensors = [x_ND, *(p for n, p in gate.named_parameters() if "gate_" in n)]
    for gradient, expected in zip(
        torch.autograd.grad(found, tensors, retain_graph=True), torch.autograd.grad(slow, tensors), strict=True
    ):
        torch.testing.assert_close(gradient, expected)


@every_gate
def test_without_a_weight_there_is_no_z_loss_and_with_one_nothing_else_changes(name: str, two_levels: bool) -> None:
    torch.manual_seed(1)
    without = make_gate(name, two_levels)(_inputs(30))
    torch.manual_seed(1)
    with_it = make_gate(name, two_levels, z_loss_weight=0.3)(_inputs(30))
    assert torch.equal(without.gates_M, with_it.gates_M)
    losses = dict(with_it.balance.auxiliary_losses)
    assert losses.pop("z") > 0
    assert losses == without.balance.auxiliary_losses


# Of two levels of noise each half chooses groups of its own: rows of the second level that the whole has not.
@pytest.mark.parametrize(("name", "two_levels"), [it for it in TOP_K_GATES if it != ("noisy-top-k", True)])
def test_halves_of_unequal_size_have_the_z_loss_of_the_whole(name: str, two_levels: bool) -> None:
    gate, x_ND = make_gate(name, two_levels, z_loss_weight=0.3).double().eval(), _inputs(40).double()
    whole = gate(x_ND).balance.auxiliary_losses["z"]
    gate.train()
    parts = x_ND[:13], x_ND[13:]
    for own, other in (parts, parts[::-1]):
        sums = _recorded(gate, other)
        gate.parallelism = LayerParallelism(reduce_sum=lambda mine, sums=sums: mine + sums)
        torch.testing.assert_close(gate(own).balance.auxiliary_losses["z"], whole)
