"""Networks with experts on both sides and random weights, and batches to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches.token_batches import Batch, batch_of
from mtmoe.expert_surgery.dev_use import LayerUse, use_of_experts
from mtmoe.expert_surgery.operation import Operation
from mtmoe.model.translation import TranslationModel

NUM_WORDS = 60
GATES = [(gate, two) for gate in ("noisy-top-k", "softmax", "sigmoid", "strictly-balanced") for two in (False, True)]
TOP_K_GATES = GATES[:6]


class Patient(NamedTuple):
    """A network, as an operation is given it."""

    model: TranslationModel
    weights: dict[str, Tensor]
    moe: MixtureOfExpertsSettings
    use: dict[str, LayerUse]

    def log_probabilities(self, batch: Batch) -> Tensor:
        with torch.inference_mode():
            return self.model.log_probabilities(batch)


def settings_of(moe: dict[str, Any]) -> Model:
    sides = {"encoder_moe_after": (1,), "decoder_moe_after": () if moe["gate"] == "expert-choice" else (1,)}
    moe = {"expert_hidden": 16, "sigmoid_output": False, **moe}
    return Model.model_validate({"width": 16, "tied_embeddings": "none", **sides, "moe": moe})


@pytest.fixture
def batch() -> Batch:
    """A short sentence, so that some experts have no token."""
    generator = torch.Generator().manual_seed(4)

    def words(number: int) -> list[int]:
        return torch.randint(4, NUM_WORDS, (number,), generator=generator).tolist()

    return batch_of([words(2)], [words(2)])


@pytest.fixture
def large_batch() -> Batch:
    """Hundreds of tokens, so that every expert has some."""
    ids = torch.randint(4, NUM_WORDS, (40, 2, 12), generator=torch.Generator().manual_seed(5)).tolist()
    return batch_of([source for source, _ in ids], [target for _, target in ids])


@pytest.fixture
def patient() -> Callable[..., Patient]:
    """Make a network of 12 experts with a gate, of two levels or one, and measure the use of its experts."""

    def make(gate: str, two_levels: bool, batch: Batch, **moe: Any) -> Patient:
        levels = {"hierarchy": {"groups": 2, "groups_per_token": 2}} if two_levels else {}
        k = {"experts_per_token": 4 if two_levels else 2}
        settings = settings_of({"gate": gate, "num_experts": 12, **k, **levels, **moe})
        torch.manual_seed(7)
        model = TranslationModel(settings, NUM_WORDS).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".gate." in name and "threshold" not in name:
                    parameter.normal_(std=0.1 if "bias" in name else 0.7)
        weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        return Patient(model, weights, settings.moe, use_of_experts(model, [batch]))

    return make


@pytest.fixture
def after() -> Callable[[Patient, Operation], TranslationModel]:
    """Build the network that an operation made; its parameters have the names and shapes of its settings."""

    def make(patient: Patient, done: Operation) -> TranslationModel:
        settings = patient.model.settings.model_dump(exclude_none=True)
        settings["moe"] |= {key: getattr(done.moe, key) for key in ("num_experts", "experts_per_token")}
        model = TranslationModel(Model.model_validate(settings), NUM_WORDS).eval()
        model.load_state_dict(dict(done.weights))
        return model

    return make
