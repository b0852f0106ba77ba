"""The experts' optimizer against its equations, matrix by matrix and element by element (paper, appendix D)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mtmoe.config.settings import Training
from mtmoe.errors import UserError
from mtmoe.model.parameter_roles import ParameterRoles
from mtmoe.training.optimizers import factored_adam
from mtmoe.training.optimizers.adam import Adam
from mtmoe.training.optimizers.factored_adam import FactoredAdam
from mtmoe.training.optimizers.gradient_clipping import clip_gradients


def _settings(**training) -> Training:
    return Training(max_steps=100, learning_rate=0.1, **({"expert_optimizer": "factored-adam"} | training))


def _reference(weights: list[list[float]], gradients: list[Tensor], rate, beta2, eps, weight_decay):
    """One matrix after all its gradients, in Python's double precision."""
    num_rows, num_columns = len(weights), len(weights[0])
    row, column = [0.0] * num_rows, [0.0] * num_columns
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.double().tolist()
        decay = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
        for r in range(num_rows):
            row[r] = decay * row[r] + (1 - decay) * sum(g[r][c] ** 2 for c in range(num_columns)) / num_columns
        for c in range(num_columns):
            column[c] = decay * column[c] + (1 - decay) * sum(g[r][c] ** 2 for r in range(num_rows)) / num_rows
        assert sum(row) / num_rows == pytest.approx(sum(column) / num_columns)
        for r in range(num_rows):
            for c in range(num_columns):
                moment = row[r] * column[c] / (sum(row) / num_rows)
                weights[r][c] -= rate * weight_decay * weights[r][c]
                weights[r][c] -= rate * g[r][c] / (math.sqrt(moment) + eps)
    return weights


@pytest.mark.parametrize("chunk_bytes", [1, 2 * 4 * 6 * 8, 1 << 20])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_every_matrix_makes_the_updates_of_the_equations(monkeypatch, chunk_bytes, weight_decay):
    monkeypatch.setattr(factored_adam, "CPU_BYTES", chunk_bytes)
    torch.manual_seed(0)
    stack = nn.Parameter(torch.randn(5, 4, 6, dtype=torch.float64))
    before = stack.tolist()
    optimizer = FactoredAdam([stack], lr=0.1, beta2=0.9, eps=1e-3, weight_decay=weight_decay)
    gradients = [torch.randn(5, 4, 6, dtype=torch.float64) * 10.0 ** (-t) for t in range(4)]
    for gradient in gradients:
        stack.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(stack.grad, gradient)
    for expert in range(5):
        expected = _reference(before[expert], [g[expert] for g in gradients], 0.1, 0.9, 1e-3, weight_decay)
        torch.testing.assert_close(stack[expert].detach(), torch.tensor(expected, dtype=torch.float64))


def test_where_the_squared_gradient_has_rank_one_it_is_adam_without_a_first_moment():
    torch.manual_seed(0)
    shape = (3, 8, 16)
    start, signs = torch.randn(shape), torch.randn(shape).sign()
    factored, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = FactoredAdam([factored], lr=0.01, beta2=0.98, eps=1e-9, weight_decay=0.05)
    adam = torch.optim.AdamW([plain], lr=0.01, betas=(0.0, 0.98), eps=1e-9, weight_decay=0.05)
    outer = torch.rand(3, 8, 1) * torch.rand(3, 1, 16)
    for t in range(1, 6):
        factored.grad = plain.grad = signs * outer * t
        optimizer.step()
        adam.step()
        torch.testing.assert_close(factored.detach(), plain.detach())


def test_the_two_means_of_the_state_agree_and_it_is_less_than_half_a_percent_of_the_weights():
    stack = nn.Parameter(torch.zeros(2, 512, 1024))
    optimizer = FactoredAdam([stack], lr=0.1, beta2=0.9, eps=1e-9, weight_decay=0.0)
    torch.manual_seed(0)
    for _ in range(3):
        stack.grad = torch.randn(2, 512, 1024)
        optimizer.step()
    state = optimizer.state[stack]
    torch.testing.assert_close(state["row_means"].mean(1), state["column_means"].mean(1))
    num_bytes = sum(t.nbytes for t in state.values() if isinstance(t, Tensor))
    assert num_bytes < 0.005 * stack.nbytes


def test_an_expert_without_gradient_stays_but_for_the_decay_and_forgets():
    torch.manual_seed(0)
    start = torch.randn(3, 4, 8)
    stack = nn.Parameter(start.clone())
    optimizer = FactoredAdam([stack], lr=0.1, beta2=0.9, eps=1e-9, weight_decay=0.5)
    for _ in range(2):
        stack.grad = torch.randn(3, 4, 8)
        stack.grad[1] = 0.0  # never
        optimizer.step()
    torch.testing.assert_close(stack[1].detach(), start[1] * 0.95**2)
    before, moments = stack.detach().clone(), optimizer.state[stack]["row_means"].clone()
    stack.grad = torch.zeros(3, 4, 8)
    optimizer.step()
    torch.testing.assert_close(stack.detach(), before * 0.95)
    decay = 0.9 * (1 - 0.9**2) / (1 - 0.9**3)
    torch.testing.assert_close(optimizer.state[stack]["row_means"], moments * decay)


def test_tiny_and_huge_gradients_give_finite_updates_of_the_rate():
    for size in (1e-17, 1e15):
        stack = nn.Parameter(torch.zeros(1, 4, 8))
        optimizer = FactoredAdam([stack], lr=0.1, beta2=0.98, eps=1e-30, weight_decay=0.0)
        stack.grad = torch.full((1, 4, 8), size)
        optimizer.step()
        torch.testing.assert_close(stack.detach(), torch.full((1, 4, 8), -0.1))


def test_a_parameter_that_is_no_stack_is_refused():
    with pytest.raises(ValueError, match=r"three dimensions, not \[4, 4\]"):
        FactoredAdam([nn.Parameter(torch.zeros(4, 4))], lr=0.1, beta2=0.9, eps=1e-9, weight_decay=0.0)


# ---------------------------------------------------------------------------------------- weights in bf16


def _in_bf16(seed: int, *, num_steps: int = 1, lr: float = 0.1, start: float | None = None) -> tuple[Tensor, Tensor]:
    """(updated weights in bf16, those of the same weights and gradients kept in float32)"""
    torch.manual_seed(0)
    weights = (torch.randn(3, 16, 32) if start is None else torch.full((3, 16, 32), start)).bfloat16()
    rounded, exact = nn.Parameter(weights.clone()), nn.Parameter(weights.float())
    settings = {"lr": lr, "beta2": 0.9, "eps": 1e-9, "weight_decay": 0.1}
    optimizers = [FactoredAdam([p], seed=seed, **settings) for p in (rounded, exact)]
    for _ in range(num_steps):
        gradient = torch.randn(3, 16, 32).abs().bfloat16()
        rounded.grad, exact.grad = gradient, gradient.float()
        for optimizer in optimizers:
            optimizer.step()
    return rounded.detach(), exact.detach()


def test_weights_in_bf16_get_the_update_in_float32_rounded_to_a_neighbour():
    rounded, exact = _in_bf16(seed=1)
    assert rounded.dtype == torch.bfloat16
    assert bool(((rounded.float() - exact).abs() <= exact.abs() * 2.0**-7).all())
    assert not torch.equal(rounded, exact.bfloat16())  # which would be the nearest one
    assert abs(float((rounded.float() - exact).mean())) < 3e-4


def test_updates_that_are_too_small_for_bf16_are_made_on_average():
    rounded, exact = _in_bf16(seed=1, num_steps=40, lr=1e-5, start=1.0)
    assert bool((exact.bfloat16() == 1.0).all())  # rounded to the nearest, nothing would ever have moved
    expected = float(1 - exact.double().mean())
    assert float(1 - rounded.double().mean()) == pytest.approx(expected, rel=0.25)


def test_rounding_depends_on_the_seed_alone():
    assert torch.equal(_in_bf16(seed=1, num_steps=3)[0], _in_bf16(seed=1, num_steps=3)[0])
    assert not torch.equal(_in_bf16(seed=1)[0], _in_bf16(seed=2)[0])


# ------------------------------------------------------------------------------------ beside the fused Adam

NAMES = {
    "encoder.moe_layers.1.experts.first_EDH": (3, 8, 16),
    "encoder.moe_layers.1.experts.second_EHD": (3, 16, 8),
    "encoder.moe_layers.1.gate.gate_DE": (8, 3),
    "decoder.other_stack": (3, 8, 16),
    "decoder.experts.first_EDH.scale": (3, 8, 16),
    "decoder.bias": (8,),
}
STACKS = list(NAMES)[:2]


def _parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {name: nn.Parameter(torch.randn(shape)) for name, shape in NAMES.items()}


def _adam(parameters: dict[str, nn.Parameter], settings: Training) -> Adam:
    gates = frozenset(name for name in NAMES if name.endswith("gate_DE"))
    return Adam(parameters, settings, roles=ParameterRoles(frozenset(STACKS), frozenset(STACKS), gates))


def _steps(adam: Adam, seeds: range) -> None:
    for seed in seeds:
        torch.manual_seed(seed)
        for parameter in adam.parameters.values():
            parameter.grad = torch.randn_like(parameter)
        adam.set_learning_rate(0.01 * seed)
        clip_gradients(adam.parameters, adam.settings.clip_norm)
        adam.step()
        adam.zero_grad()
        assert all(parameter.grad is None for parameter in adam.parameters.values())


def test_only_stacks_of_experts_are_factored_and_everything_else_is_as_with_adam():
    factored, plain = _adam(_parameters(), _settings()), _adam(_parameters(), _settings(expert_optimizer="adam"))
    _steps(factored, range(1, 4))
    _steps(plain, range(1, 4))
    for name in NAMES:
        equal = torch.equal(factored.parameters[name], plain.parameters[name])
        assert equal == (name not in STACKS)
    expected = {f"{m}.{n}" for n in NAMES if n not in STACKS for m in ("exp_avg", "exp_avg_sq")}
    assert set(factored.state()) == expected | {f"{m}.{n}" for n in STACKS for m in ("row_means", "column_means")}
    assert set(plain.state()) == {f"{m}.{n}" for n in NAMES for m in ("exp_avg", "exp_avg_sq")}


def test_the_stacks_share_the_rate_the_clipping_and_the_decay():
    settings = _settings(weight_decay=0.1, clip_norm=2.0, adam_beta2=0.9)
    adam, own = _adam(_parameters(), settings), _parameters()
    alone = FactoredAdam([own[name] for name in STACKS], lr=9.0, beta2=0.9, eps=1e-9, weight_decay=0.1)
    for seed in range(1, 4):
        _steps(adam, range(seed, seed + 1))
        torch.manual_seed(seed)
        gradients = {name: torch.randn(shape) for name, shape in NAMES.items()}
        norm = torch.stack([g.norm() for g in gradients.values()]).norm()
        for name in STACKS:
            own[name].grad = gradients[name] * (2.0 / (norm + 1e-6))
        alone.param_groups[0]["lr"] = 0.01 * seed
        alone.step()
    for name in STACKS:
        torch.testing.assert_close(adam.parameters[name], own[name])


def test_a_state_that_was_saved_and_loaded_goes_on_to_the_bit():
    whole = _adam(_parameters(), _settings())
    _steps(whole, range(1, 6))
    first = _adam(_parameters(), _settings())
    _steps(first, range(1, 4))
    second = _adam({n: nn.Parameter(p.detach().clone()) for n, p in first.parameters.items()}, _settings())
    second.load_state({key: t.clone() for key, t in first.state().items()}, 3, Path("step-00000003"))
    _steps(second, range(4, 6))
    for name in NAMES:
        assert torch.equal(second.parameters[name], whole.parameters[name])


@pytest.mark.parametrize(
    ("before", "now", "missing"), [("adam", "factored-adam", "row_means"), ("factored-adam", "adam", "exp_avg")]
)
def test_the_state_of_the_other_optimizer_is_refused_with_the_setting(before, now, missing):
    first = _adam(_parameters(), _settings(expert_optimizer=before))
    _steps(first, range(1, 2))
    second = _adam(_parameters(), _settings(expert_optimizer=now))
    with pytest.raises(UserError, match=rf"no {missing}\.encoder.*training\.expert_optimizer = {now}") as caught:
        second.load_state(first.state(), 1, Path("step-00000001"))
    assert "that the run began with" in caught.value.fix


def test_a_process_without_experts_has_nothing_to_update():
    stack = nn.Parameter(torch.zeros(0, 3, 4))
    stack.grad = torch.zeros(0, 3, 4)
    optimizer = FactoredAdam([stack], lr=0.1, beta2=0.9, eps=1e-9, weight_decay=0.1)
    optimizer.step()
    assert optimizer.state[stack]["row_means"].shape == (0, 3)


def test_weights_in_bf16_without_their_optimizer_are_a_contradiction_that_names_both():
    with pytest.raises(
        ValidationError, match=r'expert_weights = "bf16" needs expert_optimizer = "factored-adam".*"adam"'
    ):
        Training(max_steps=1, expert_weights="bf16")
