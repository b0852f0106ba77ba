"""Weights in fewer bits: how far they are off, and what is refused."""

from __future__ import annotations

import pytest
import torch

from mtmoe.checkpoint.packages.stored_weights import gate_names, restored_weights, stored_weights
from mtmoe.config.settings import Model
from mtmoe.model.moe.gating import Gate
from mtmoe.model.translation import TranslationModel

GENERATOR = torch.Generator().manual_seed(1)
WEIGHTS = {
    "matrix": torch.randn(5, 300, generator=GENERATOR),
    "experts": torch.randn(3, 4, 64, generator=GENERATOR) * torch.tensor([1e-6, 1.0, 1e4])[:, None, None],
    "gate": torch.randn(8, 4, generator=GENERATOR),
    "bias": torch.randn(7, generator=GENERATOR),
    "nothing": torch.zeros(2, 3),
}


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32"])
def test_weights_come_back_by_name_shape_and_type(precision):
    restored = restored_weights(stored_weights(WEIGHTS, precision, {"gate"}))
    assert restored.keys() == WEIGHTS.keys()
    assert {name: weight.shape for name, weight in restored.items()} == {n: w.shape for n, w in WEIGHTS.items()}
    assert {weight.dtype for weight in restored.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32"])
def test_gates_and_vectors_stay_to_the_bit(precision):
    restored = restored_weights(stored_weights(WEIGHTS, precision, {"gate"}))
    for name in ("gate", "bias", "nothing"):
        assert torch.equal(restored[name], WEIGHTS[name])


def test_in_8_bits_no_weight_is_off_by_more_than_half_a_step_of_its_row():
    stored = stored_weights(WEIGHTS, "int8", {"gate"})
    restored = restored_weights(stored)
    for name in ("matrix", "experts"):
        assert stored[name].dtype == torch.int8
        step = WEIGHTS[name].abs().amax(-1, keepdim=True) / 127
        assert ((restored[name] - WEIGHTS[name]).abs() <= step * 0.5001).all()
        assert (stored[name].abs().amax(-1) == 127).all(), "the whole range is used, in every row"


def test_bf16_is_off_by_its_rounding():
    restored = restored_weights(stored_weights(WEIGHTS, "bf16", set()))
    for name in ("matrix", "experts"):
        assert ((restored[name] - WEIGHTS[name]).abs() <= WEIGHTS[name].abs() / 256).all()


def test_restored_weights_are_stored_as_they_were():
    stored = stored_weights(WEIGHTS, "int8", {"gate"})
    again = stored_weights(restored_weights(stored), "int8", {"gate"})
    for name in ("matrix", "experts"):
        assert torch.equal(again[name], stored[name])


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        ({"w": torch.zeros(2, 3, dtype=torch.int8)}, "w is in 8 bits, and has no scale"),
        ({"w": torch.zeros(2, 3, dtype=torch.int8), "w.row_scale": torch.zeros(3)}, "no scale for each of its rows"),
        ({"w": torch.zeros(2, dtype=torch.float64)}, "w is of type float64"),
    ],
)
def test_what_is_stored_otherwise_is_refused(stored, what):
    with pytest.raises(ValueError, match=what):
        restored_weights(stored)


@pytest.mark.parametrize("gate", ["noisy-top-k", "softmax", "strictly-balanced", "sigmoid", "expert-choice"])
def test_all_parameters_of_gates_are_found(gate):
    biased = {"choice_bias_rate": 0.1} if gate in ("softmax", "sigmoid") else {}
    moe = {"gate": gate, "expert_hidden": 8, "shared_experts": 1, **biased}
    settings = Model.model_validate({"width": 16, "encoder_moe_after": (1,), "moe": moe})
    model = TranslationModel(settings, 40)
    inside = {id(p) for module in model.modules() if isinstance(module, Gate) for p in module.parameters()}
    assert inside
    names = gate_names(model)
    assert {id(p) for name, p in model.named_parameters() if name in names} == inside
