"""Parameter roles are what the modules say, for every gate."""

from __future__ import annotations

import pytest

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.parameter_roles import parameter_roles
from tests.gates import GATES

OF_GROUPS = {
    "noisy-top-k": {"gate.gate_GDL", "gate.noise_GDL"},
    "softmax": {"gate.gate_GDL"},
    "sigmoid": {"gate.gate_GDL"},
    "strictly-balanced": {"gate.gate_GDL", "gate.log_threshold_GL"},
}


@pytest.mark.parametrize(("gate", "two_levels"), GATES)
def test_experts_and_what_belongs_to_a_group_are_sharded_and_gates_are_gates(gate: str, two_levels: bool) -> None:
    levels = Hierarchy(groups=4) if two_levels else None
    layer = MixtureOfExperts(8, MixtureOfExpertsSettings(gate=gate, hierarchy=levels))  # type: ignore[arg-type]
    roles = parameter_roles(layer)
    stacks = {"experts.first_EDH", "experts.second_EHD"}
    assert roles.expert_stacks == stacks
    assert roles.sharded == stacks | (OF_GROUPS[gate] if two_levels else set())
    assert roles.gates == {name for name, _ in layer.named_parameters()} - stacks
