"""Expert usage: figures against their definition, batch by batch."""

from __future__ import annotations

import json

import pytest
import torch

from mtmoe.checkpoint import ExpertUsageState
from mtmoe.model.moe.gating import Gate, HierarchicalGate, NoisyTopKGate, SoftmaxGate, StrictlyBalancedGate
from mtmoe.model.moe.routing import Balance
from mtmoe.training.metrics.expert_usage import ExpertUsage


def _balance(
    counts: list[int], importance: list[float], load_E: list[float] | None = None, /, **losses: float
) -> Balance:
    token_counts_E = torch.tensor(counts)
    return Balance(
        torch.tensor(importance, requires_grad=True),
        token_counts_E.float() if load_E is None else torch.tensor(load_E, requires_grad=True),
        token_counts_E,
        {name: torch.tensor(loss, requires_grad=True) for name, loss in losses.items()},
    )


def test_the_columns_of_table_6_are_means_over_batches_of_importance_and_of_load() -> None:
    use = ExpertUsage()
    use.add({"encoder.moe1": _balance([2, 0], [1.0, 0.0], [1.5, 0.5], importance=0.5)})
    use.add({"encoder.moe1": _balance([2, 4], [2.0, 3.0], [2.0, 4.0], importance=0.3)})
    [(layer, measured)] = use.metrics().items()
    metrics = measured.line(layer)
    expected = {
        "importance_cv": (1 + 0.2) / 2,
        "load_cv": (0.5 + 1 / 3) / 2,
        "max_over_mean_load": (1.5 + 4 / 3) / 2,
        "tokens_cv": (1 + 1 / 3) / 2,
        "max_over_mean_tokens": (2 + 4 / 3) / 2,
        "importance_loss": 0.4,
    }
    assert {key: metrics[f"encoder.moe1.{key}"] for key in expected} == pytest.approx(expected)
    # Of the window as a whole:
    assert metrics["encoder.moe1.dead_experts"] == 0
    assert metrics["encoder.moe1.token_share"] == [0.5, 0.5]
    json.dumps(metrics)
    use.reset()
    assert use.metrics() == {}


GATES = {
    "noisy": NoisyTopKGate(6, 8, 2, importance_loss_weight=0.1, load_loss_weight=0.1, noise_floor=0.1),
    "hierarchical": HierarchicalGate(
        6, 8, 2, groups=4, groups_per_token=2, importance_loss_weight=0.1, load_loss_weight=0.1, noise_floor=0.1
    ),
    "softmax": SoftmaxGate(6, 8, 2, importance_loss_weight=0.1),
    "balanced": StrictlyBalancedGate(6, 8, 2, importance_loss_weight=0.1, threshold_loss_weight=1.0),
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_the_figures_of_real_gates_do_not_depend_on_how_many_batches_are_told_of_at_a_time(gate: Gate) -> None:
    torch.manual_seed(0)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    balances = [gate(torch.randn(num_tokens, 6)).balance for num_tokens in (5, 30, 17, 9, 40, 21)]
    expected = {}
    for key, vectors in (("importance_cv", 0), ("load_cv", 1), ("tokens_cv", 2)):
        of_batches = [
            float(v.std(correction=0) / v.mean()) for v in (balance[vectors].detach().double() for balance in balances)
        ]
        expected[key] = sum(of_batches) / len(of_batches)
    for num_batches in (1, 2, 3, 6):
        use, windows = ExpertUsage(), []
        for number, balance in enumerate(balances, start=1):
            use.add({"m": balance})
            if number % num_batches == 0:
                windows.append(use.metrics())
                use.reset()
        for key, value in expected.items():
            assert sum(getattr(w["m"], key) for w in windows) / len(windows) == pytest.approx(value)
    assert (expected["load_cv"] != pytest.approx(expected["tokens_cv"])) == (
        gate in (GATES["noisy"], GATES["hierarchical"])
    )


@pytest.mark.parametrize(
    ("balance", "cv", "peak"),
    [
        (_balance([7], [7.0]), 0.0, 1.0),
        (_balance([0, 0], [0.0, 0.0]), 0.0, 0.0),
        (_balance([3, 3, 3], [3.0, 3.0, 3.0]), 0.0, 1.0),
        (_balance([1, 0], [1e-8, 0.0]), 1.0, 2.0),
    ],
    ids=["one expert", "no tokens", "all equal", "tiny gates"],
)
def test_extremes_have_figures(balance: Balance, cv: float, peak: float) -> None:
    use = ExpertUsage()
    use.add({"m": balance})
    metrics = use.metrics()["m"]
    assert [metrics.importance_cv, metrics.load_cv, metrics.tokens_cv] == pytest.approx([cv] * 3)
    assert [metrics.max_over_mean_load, metrics.max_over_mean_tokens] == [peak] * 2


@pytest.mark.parametrize("asked_after", [(), (1,), (2, 3)])
def test_a_use_that_is_saved_and_loaded_goes_on_to_the_same_bits(asked_after: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)

    def balance() -> Balance:
        importance_E, load_E = torch.rand(2, 7, generator=generator)
        token_counts_E = torch.randint(0, 3, (7,), generator=generator)
        return Balance(importance_E, load_E, token_counts_E, {"importance": importance_E.sum(), "load": load_E.sum()})

    balances = [balance() for _ in range(5)]
    whole, parts = ExpertUsage(), ExpertUsage()
    for number, one in enumerate(balances):
        whole.add({"m": one})
        parts.add({"m": one})
        if number in asked_after:
            saved = parts.state().model_dump_json()
            parts = ExpertUsage()
            parts.load_state(ExpertUsageState.model_validate_json(saved))
    assert parts.metrics() == whole.metrics()
    assert parts.layers()["m"].max_over_mean_tokens == whole.layers()["m"].max_over_mean_tokens > 1.1


def test_layers_are_told_of_one_by_one() -> None:
    use = ExpertUsage()
    use.add({"encoder.moe1": _balance([1, 1], [1.0, 1.0]), "decoder.moe1": _balance([2, 0], [1.0, 1.0])})
    metrics = use.metrics()
    assert metrics["encoder.moe1"].load_cv == 0.0
    assert metrics["decoder.moe1"].load_cv == pytest.approx(1.0)
    assert metrics["decoder.moe1"].dead_experts == 1


def test_many_experts_are_told_of_by_quantiles_of_their_shares() -> None:
    use = ExpertUsage()
    use.add({"m": _balance([0] * 10 + [1] * 54 + [46], [1.0] * 65)})
    metrics = use.metrics()["m"].line("m")
    assert "m.token_share" not in metrics
    assert metrics["m.token_share_min"] == 0.0
    assert metrics["m.token_share_median"] == pytest.approx(0.01)
    assert metrics["m.token_share_max"] == pytest.approx(0.46)
    assert len(_metrics_of(64)["m.token_share"]) == 64


def _metrics_of(num_experts: int) -> dict:
    use = ExpertUsage()
    use.add({"m": _balance([1] * num_experts, [1.0] * num_experts)})
    return use.metrics()["m"].line("m")


def test_no_tokens_have_shares_of_zero() -> None:
    use = ExpertUsage()
    use.add({"m": _balance([0, 0], [0.0, 0.0])})
    assert use.metrics()["m"].token_share_E == (0.0, 0.0)
