"""Noisy top-k, flat and of two levels, against the equations written out token by token (paper, appendix B)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtmoe.model.moe.gating import Gate, HierarchicalGate, NoisyTopKGate, squared_variation
from tests.gates import WIDTH, level, make_gate, quasi_noise

N, GROUPS, EXPERTS_PER_GROUP, K1, K2 = 14, 3, 4, 2, 2


def _inputs(num_tokens: int = N) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(num_tokens, WIDTH, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def _same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", quasi_noise)


def _flat_reference(gate: NoisyTopKGate, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Eqs. 6 and 10: importance and load."""
    importance, load = [torch.zeros(())] * gate.num_experts, [torch.zeros(())] * gate.num_experts
    for x_D in x_ND:
        gates, probabilities = level(x_D, gate.gate_DE, gate.noise_DE, gate.noise_floor, gate.experts_per_token)
        for i in range(gate.num_experts):
            importance[i] = importance[i] + gates.get(i, 0.0)
            load[i] = load[i] + probabilities[i]
    return torch.stack(importance), torch.stack(load)


def _two_level_reference(gate: HierarchicalGate, x_ND: Tensor) -> tuple[Tensor, Tensor, dict[tuple[int, int], Tensor]]:
    """Eqs. 13 and 14, and the gates of eq. 12 by token and expert, by a triple loop."""
    noise_DG, noise_GDL = getattr(gate, "noise_DG", None), getattr(gate, "noise_GDL", None)
    floor = gate.noise_floor or 0.0
    zero = torch.zeros((), dtype=torch.float64)
    importance = [[zero] * EXPERTS_PER_GROUP for _ in range(GROUPS)]
    first_load, tokens = [zero] * GROUPS, [0] * GROUPS
    load_in_group = [[zero] * EXPERTS_PER_GROUP for _ in range(GROUPS)]
    gates = {}
    for n, x_D in enumerate(x_ND):
        first, first_probabilities = level(x_D, gate.gate_DG, noise_DG, floor, K1)
        for i in range(GROUPS):
            first_load[i] = first_load[i] + first_probabilities[i]
            if i not in first:
                continue
            tokens[i] += 1
            noise_DL = None if noise_GDL is None else noise_GDL[i]
            second, second_probabilities = level(x_D, gate.gate_GDL[i], noise_DL, floor, K2)
            for j in range(EXPERTS_PER_GROUP):
                load_in_group[i][j] = load_in_group[i][j] + second_probabilities[j]
                if j in second:
                    gates[n, i * EXPERTS_PER_GROUP + j] = first[i] * second[j]
                    importance[i][j] = importance[i][j] + first[i] * second[j]
    load = [first_load[i] * load_in_group[i][j] / tokens[i] for i in range(GROUPS) for j in range(EXPERTS_PER_GROUP)]
    return torch.stack([value for row in importance for value in row]), torch.stack(load), gates


def _check_gradients(gate: Gate, x_ND: Tensor, ours: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> None:
    """Of any function of the vectors: here one with a weight of its own for each expert."""
    inputs = [x_ND, *gate.parameters()]
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b)
        if not b.requires_grad:
            assert not a.requires_grad
            continue
        weights = torch.linspace(-1.0, 2.0, a.numel(), dtype=torch.float64)
        for ours_gradient, gradient in zip(
            torch.autograd.grad((a * weights).sum(), inputs, retain_graph=True, materialize_grads=True),
            torch.autograd.grad((b * weights).sum(), inputs, retain_graph=True, materialize_grads=True),
            strict=True,
        ):
            torch.testing.assert_close(ours_gradient, gradient)


@pytest.mark.parametrize("k", [1, 2, 11])
def test_flat_importance_and_load_are_the_equations_in_value_and_gradient(k: int) -> None:
    gate, x_ND = make_gate("noisy-top-k", False, k=k).double(), _inputs()
    assert isinstance(gate, NoisyTopKGate)
    balance = gate(x_ND).balance
    _check_gradients(gate, x_ND, (balance.importance_E, balance.load_E), _flat_reference(gate, x_ND))


@pytest.mark.parametrize("name", ["noisy-top-k", "softmax"])
def test_two_level_importance_and_load_are_equations_13_and_14_in_value_and_gradient(name: str) -> None:
    gate, x_ND = make_gate(name, True).double(), _inputs()
    assert isinstance(gate, HierarchicalGate)
    routing = gate(x_ND)
    importance_E, load_E, gates = _two_level_reference(gate, x_ND)
    pairs = list(zip(routing.tokens_M.tolist(), routing.experts_M.tolist(), strict=True))
    assert set(pairs) == set(gates)
    torch.testing.assert_close(routing.gates_M, torch.stack([gates[pair] for pair in pairs]))
    if name == "softmax":  # no noise: the load is the count
        load_E = torch.tensor([sum(expert == e for _, expert in gates) for e in range(12)], dtype=torch.float64)
    _check_gradients(gate, x_ND, (routing.balance.importance_E, routing.balance.load_E), (importance_E, load_E))


def test_the_load_loss_of_two_levels_is_over_all_experts_and_teaches_the_first_level() -> None:
    gate, x_ND = make_gate("noisy-top-k", True).double(), _inputs()
    assert isinstance(gate, HierarchicalGate)
    balance = gate(x_ND).balance
    _, load_E, _ = _two_level_reference(gate, x_ND)
    torch.testing.assert_close(balance.auxiliary_losses["load"], 0.2 * squared_variation(load_E))
    balance.auxiliary_losses["load"].backward()
    for parameter in (gate.gate_DG, gate.noise_DG, gate.gate_GDL, gate.noise_GDL):
        assert parameter.grad is not None
        assert parameter.grad.any()


@pytest.mark.parametrize("name", ["noisy-top-k", "strictly-balanced"])
@pytest.mark.parametrize("two_levels", [False, True])
def test_numerical_gradients_agree_through_the_gates_and_all_losses(name: str, two_levels: bool) -> None:
    gate = make_gate(name, two_levels).double()
    parameters = [p for n, p in gate.named_parameters() if "threshold" not in n]
    x_ND = _inputs(6)
    with pytest.MonkeyPatch.context() as patch:
        # Noise that does not move with the logits, as numerical derivatives would see it move.
        patch.setattr(torch, "randn_like", lambda t: torch.sin(torch.arange(t.numel(), dtype=t.dtype)).view(t.shape))

        def outputs(*_: Tensor) -> tuple[Tensor, ...]:
            routing = gate(x_ND)
            return routing.gates_M, *(
                loss for key, loss in routing.balance.auxiliary_losses.items() if key != "threshold"
            )

        assert torch.autograd.gradcheck(outputs, (x_ND, *parameters))


@pytest.mark.parametrize("name", ["noisy-top-k", "softmax", "strictly-balanced"])
@pytest.mark.parametrize("groups", [1, 12])
@pytest.mark.parametrize("training", [True, False])
def test_two_levels_with_trivial_groups_are_one_level(name: str, groups: int, training: bool) -> None:
    """One group of all experts, or groups of one expert each."""
    of_groups = {"groups": 1, "groups_per_token": 1, "k": 2} if groups == 1 else {"groups": 12, "k": 1}
    two, one = make_gate(name, True, **of_groups).double(), make_gate(name, False).double()
    with torch.no_grad():
        for kind in ("gate", "noise"):
            if hasattr(one, f"{kind}_DE"):
                whole_DE = getattr(two, f"{kind}_GDL")[0] if groups == 1 else getattr(two, f"{kind}_DG")
                getattr(one, f"{kind}_DE").copy_(whole_DE)
        if name == "strictly-balanced":
            for thresholds in (two.log_threshold_G, two.log_threshold_GL):
                thresholds.fill_(-0.5)
            one.log_threshold_E.copy_(two.log_threshold_GL[0] if groups == 1 else two.log_threshold_G)
    x_ND = _inputs(200)
    expected, routing = one.train(training)(x_ND), two.train(training)(x_ND)
    _, places = torch.sort(expected.tokens_M * 12 + expected.experts_M)
    _, two_places = torch.sort(routing.tokens_M * 12 + routing.experts_M)
    assert torch.equal(routing.tokens_M, expected.tokens_M)
    assert torch.equal(routing.experts_M[two_places], expected.experts_M[places])
    torch.testing.assert_close(routing.gates_M[two_places], expected.gates_M[places])
    if groups == 12 and training:
        assert int(expected.token_counts_E.min()) > 0  # eq. 14 has no load for an empty group
    torch.testing.assert_close(routing.balance.importance_E, expected.balance.importance_E)
    torch.testing.assert_close(routing.balance.load_E, expected.balance.load_E)
    for key, loss in expected.balance.auxiliary_losses.items():
        if key != "threshold":  # of two levels it is one more
            torch.testing.assert_close(routing.balance.auxiliary_losses[key], loss)


def test_no_matrix_of_tokens_by_experts_is_formed() -> None:
    gate = HierarchicalGate(
        WIDTH,
        4096,
        2,
        groups=64,
        groups_per_token=2,
        importance_loss_weight=0.1,
        load_loss_weight=0.1,
        noise_floor=0.01,
    ).train()
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    x_ND = torch.randn(512, WIDTH)
    with Largest():
        sum(gate(x_ND).balance.auxiliary_losses.values()).backward()
    # Rows of two groups by the weights and noise of one; the slots of tiles may be one and a half times as many.
    assert 512 * 2 * 128 <= largest < 512 * 4096 / 4
