"""Parameter roles: which parameters of a model belong to experts and gates, as their modules declare it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from mtmoe.model.moe.experts import Experts
from mtmoe.model.moe.gating import Gate
from mtmoe.model.moe.shared_experts import SharedExperts


class ParameterRoles(NamedTuple):
    """Names of parameters by what they are.

    expert_stacks: weights of experts, stacked along their first dimension.
    sharded: what expert parallelism spreads over processes along its first dimension: the stacks of experts, and what
        a gate of two levels has for each group.
    gates: all parameters of gates.
    choice_biases: those of them that no gradient changes.
    shared_experts: weights of experts that every token has.
    """

    expert_stacks: frozenset[str] = frozenset()
    sharded: frozenset[str] = frozenset()
    gates: frozenset[str] = frozenset()
    choice_biases: frozenset[str] = frozenset()
    shared_experts: frozenset[str] = frozenset()


NO_ROLES = ParameterRoles()


def parameter_roles(model: nn.Module) -> ParameterRoles:
    """Collect the roles of a model's parameters from the modules that declare them."""
    experts: set[str] = set()
    sharded: set[str] = set()
    gates: set[str] = set()
    biases: set[str] = set()
    shared: set[str] = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, Experts):
            experts.update(prefix + name for name in module.expert_parameters())
        elif isinstance(module, Gate):
            gates.update(prefix + name for name, _ in module.named_parameters())
            sharded.update(prefix + name for name in module.expert_parameters())
            biases.update(prefix + name for name in module.choice_biases())
        elif isinstance(module, SharedExperts):
            shared.update(prefix + name for name, _ in module.named_parameters())
    return ParameterRoles(*map(frozenset, (experts, experts | sharded, gates, biases, shared)))
