"""Runs with random weights and experts on both sides, one for each kind of gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inference.conftest import SENTENCES, untrained_run

GATES = ("softmax", "strictly-balanced", "two-levels")


@pytest.fixture(scope="session")
def gated_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a run with a kind of gate, once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            moe = {"num_experts": 6, "experts_per_token": 2, "expert_hidden": 16, "gate": kind, "sigmoid_output": False}
            if kind == "two-levels":
                moe |= {"gate": "softmax", "hierarchy": {"groups": 3, "groups_per_token": 2}}
            sides = {"encoder_moe_after": [1], "decoder_moe_after": [1]}
            model = {"width": 16, "tied_embeddings": "none", **sides, "moe": moe}
            made[kind] = untrained_run(tmp_path_factory.mktemp("explained"), SENTENCES, model=model)
        return made[kind]

    return make
