"""What is logged of the use of experts."""

from __future__ import annotations

import json

import pytest
import torch

from mtmoe.config.settings import Training
from mtmoe.model.routing import Balance
from mtmoe.training.expert_use import ExpertUse


def _balance(counts: list[int], importance: list[float], /, **losses: float) -> Balance:
    counts_E = torch.tensor(counts)
    return Balance(
        torch.tensor(importance, requires_grad=True),
        counts_E.float(),
        counts_E,
        {name: torch.tensor(loss, requires_grad=True) for name, loss in losses.items()},
    )


def _use() -> ExpertUse:
    return ExpertUse(Training(max_steps=1, overload_warning_steps=1))


def test_the_columns_of_table_6_are_over_all_batches_of_the_window() -> None:
    use = _use()
    use.add({"encoder.moe1": _balance([2, 0], [1.0, 0.0], importance=0.5, load=0.1)})
    use.add({"encoder.moe1": _balance([4, 2], [3.0, 2.0], importance=0.3, load=0.3)})
    metrics = use.metrics()
    assert metrics["encoder.moe1.load_cv"] == metrics["load_cv"] == pytest.approx(2 / 4)  # 6 and 2
    assert metrics["encoder.moe1.importance_cv"] == pytest.approx(1 / 3)  # 4 and 2
    assert metrics["encoder.moe1.max_over_mean_load"] == pytest.approx(6 / 4)
    assert metrics["encoder.moe1.dead_experts"] == 0
    assert metrics["encoder.moe1.load_share"] == [0.75, 0.25]
    assert metrics["encoder.moe1.importance_loss"] == pytest.approx(0.4)
    assert metrics["encoder.moe1.load_loss"] == pytest.approx(0.2)
    json.dumps(metrics)
    use.reset()
    assert use.metrics() == {}


def test_layers_are_told_of_one_by_one_and_the_worst_load_for_all() -> None:
    use = _use()
    use.add({"encoder.moe1": _balance([1, 1], [1.0, 1.0]), "decoder.moe1": _balance([2, 0], [1.0, 1.0])})
    metrics = use.metrics()
    assert metrics["encoder.moe1.load_cv"] == 0.0
    assert metrics["load_cv"] == pytest.approx(1.0)
    assert metrics["decoder.moe1.dead_experts"] == 1


def test_many_experts_are_told_of_by_quantiles_of_their_shares() -> None:
    use = _use()
    use.add({"m": _balance([0] * 10 + [1] * 54 + [46], [1.0] * 65)})
    metrics = use.metrics()
    assert "m.load_share" not in metrics
    assert metrics["m.load_share_min"] == 0.0
    assert metrics["m.load_share_median"] == pytest.approx(0.01)
    assert metrics["m.load_share_max"] == pytest.approx(0.46)
    assert len(_metrics_of(64)["m.load_share"]) == 64


def _metrics_of(num_experts: int) -> dict:
    use = _use()
    use.add({"m": _balance([1] * num_experts, [1.0] * num_experts)})
    return use.metrics()


def test_no_tokens_have_shares_of_zero() -> None:
    use = _use()
    use.add({"m": _balance([0, 0], [0.0, 0.0])})
    assert use.metrics()["m.load_share"] == [0.0, 0.0]


def test_a_warning_names_only_weights_of_losses_that_the_gate_has() -> None:
    for losses, named in (({"importance": 0.1}, False), ({"importance": 0.1, "load": 0.1}, True)):
        use = _use()
        use.add({"m": _balance([9, 0, 0, 0, 0, 0], [1.0] * 6, **losses)})
        overloaded, dead = use.warnings(use.metrics(), 1)
        for text in (overloaded, dead):
            assert ("load_loss_weight" in text) == named
        assert "importance_loss_weight" in dead
