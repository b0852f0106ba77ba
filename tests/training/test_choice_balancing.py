"""Biases on the gates' choice: changed once a step, by the tokens of all its batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtmoe.data.batches.padding import Batch
from mtmoe.data.batches.token_batches import sequential_batches
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import StepOutcome, Stepper

RATE = 0.125  # whose multiples are exact
NAME = "encoder.moe_layers.1.gate.choice_bias_E"


def _stepper(toy: Any, **training: Any) -> Stepper:
    moe = {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 16, "gate": "sigmoid", "choice_bias_rate": RATE}
    model = {**toy().model.model_dump(mode="json", exclude_defaults=True), "moe": moe}
    return Stepper(toy({"model": model}, precision="fp32", **training), 300, torch.device("cpu"))


def _batches(toy_data: Any, number: int) -> list[Batch]:
    stream = sequential_batches(open_prepared(toy_data).train, 200)
    return [next(stream) for _ in range(number)]


def _bias(stepper: Stepper, model: Any = None) -> torch.Tensor:
    return dict((model or stepper.model).named_parameters())[NAME].detach().clone()


def test_a_step_changes_each_bias_once_by_the_counts_of_all_its_batches(toy, toy_data) -> None:
    stepper, batches = _stepper(toy, gradient_accumulation=3), _batches(toy_data, 6)
    expected_E = torch.zeros(4)
    for step in range(2):
        use = ExpertUsage()
        stepper(batches[3 * step : 3 * step + 3], use)
        counts_E = torch.from_numpy(use.layers()["encoder.moe1"].tokens_E)
        assert int(counts_E.sum()) == 2 * sum(b.num_source_tokens for b in batches[3 * step : 3 * step + 3])
        change_E = RATE * torch.sign(counts_E.double().mean() - counts_E).float()
        expected_E = expected_E + change_E
        assert torch.equal(_bias(stepper), expected_E)
        assert change_E.any()


def test_a_step_that_is_skipped_changes_none(toy, toy_data) -> None:
    stepper = _stepper(toy)
    with torch.no_grad():
        stepper.model.decoder.bottom.cell.weight_ih_l0.fill_(torch.nan)
    assert stepper(_batches(toy_data, 1), ExpertUsage()).outcome is StepOutcome.SKIPPED
    assert not _bias(stepper).any()


def test_an_average_has_the_mean_of_the_biases_as_of_the_weights_that_they_belong_to(toy, toy_data) -> None:
    stepper = _stepper(toy, ema={"decay": 0.75, "every_steps": 1}, weight_decay=0.1)
    mean_E = _bias(stepper)
    for number, batch in enumerate(_batches(toy_data, 6), start=1):
        stepper([batch], ExpertUsage())
        decay = min(0.75, (1 + number) / (10 + number))
        mean_E = decay * mean_E + (1 - decay) * _bias(stepper)
    torch.testing.assert_close(_bias(stepper, stepper.inference_model), mean_E)
    assert not torch.equal(mean_E, _bias(stepper))
    assert not any("choice_bias" in name for name in stepper.optimizer.state())


@pytest.mark.parametrize(("frozen", "stays"), [(["gates"], True), (["encoder.moe1"], True), (["decoder"], False)])
def test_a_frozen_gate_keeps_its_bias(toy, toy_data, tmp_path, frozen, stays) -> None:
    stepper = _stepper(toy, start={"run": str(tmp_path), "frozen": frozen})
    stepper(_batches(toy_data, 1), ExpertUsage())
    assert _bias(stepper).any() != stays
    assert not dict(stepper.model.named_parameters())[NAME].requires_grad
