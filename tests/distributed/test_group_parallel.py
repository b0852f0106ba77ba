"""Groups of experts on the processes that have them, with their gates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from mtmoe.config import Recipe
from mtmoe.distributed.expert_parallel import ExpertParallelism
from mtmoe.distributed.group_parallel import GroupDispatch
from mtmoe.distributed.mesh import joined_processes
from mtmoe.model.building import build_model
from mtmoe.model.moe.layer_parallelism import LayerParallelism
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.parameter_roles import parameter_roles
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import TWO_LEVELS, small_recipe
from tests.distributed.processes.workers import CPU, VOCABULARY, doubles

GATES = ("noisy-top-k", "softmax", "strictly-balanced", "sigmoid")
NUM_TOKENS = (5, 0, 9, 2)  # of four processes


class Evaluated(NamedTuple):
    """A mixture's outputs and counts of this process's tokens. shapes: of its parameters.
    sharded: those that are spread."""

    outputs: np.ndarray
    counts: list[int]
    shapes: dict[str, tuple[int, ...]]
    sharded: frozenset[str]


def evaluate(recipe: Recipe, tokens: list[np.ndarray]) -> Evaluated:
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        torch.manual_seed(1)
        model = build_model(recipe, VOCABULARY, parallelism=ExpertParallelism(mesh)).eval()
        mixture = model.encoder.moe_layers["1"]  # type: ignore[union-attr]
        assert isinstance(mixture, MixtureOfExperts)
        assert isinstance(mixture.dispatch, GroupDispatch) == (mesh.expert_size > 1)
        with torch.no_grad():
            # The noisy gate starts from zeros; of four processes each has the part that it would have of the whole.
            for name, parameter in mixture.named_parameters():
                whole = torch.randn(4, *parameter.shape[1:], generator=torch.Generator().manual_seed(3))
                if "_GDL" in name:
                    parameter.copy_(whole[mixture.gate.group_shard])  # type: ignore[union-attr]
            y_ND, balance = mixture(torch.from_numpy(tokens[mesh.rank]))
        shapes = {name: tuple(p.shape) for name, p in mixture.named_parameters()}
        return Evaluated(y_ND.numpy(), balance.token_counts_E.tolist(), shapes, parameter_roles(mixture).sharded)


@pytest.mark.parametrize("gate", GATES)
def test_outputs_are_those_of_a_processs_tokens_alone_and_counts_add_up_to_those_of_all(gate):
    moe: dict[str, Any] = TWO_LEVELS | {"gate": gate}
    generator = np.random.default_rng(2)
    tokens = [generator.normal(size=(number, 8)) for number in NUM_TOKENS]
    processes = run_group(4, evaluate, small_recipe(4, moe), tokens)
    [alone] = run_group(1, evaluate, small_recipe(1, moe), [np.concatenate(tokens)])
    together = np.concatenate([process.outputs for process in processes])
    np.testing.assert_allclose(together, alone.outputs, rtol=0, atol=1e-12)
    counts = np.array([process.counts for process in processes])
    assert counts.sum(0).tolist() == alone.counts
    assert sum(alone.counts) == len(together) * 4 or gate == "strictly-balanced"
    for rank, of_process in enumerate(counts):  # a group's rows are where the group is
        assert not np.delete(of_process, slice(3 * rank, 3 * rank + 3)).any()
    for name, shape in processes[0].shapes.items():
        whole = alone.shapes[name]
        is_spread = name in processes[0].sharded
        assert whole == ((4 * shape[0], *shape[1:]) if is_spread else shape)
        assert is_spread == (name.startswith("experts.") or "_GDL" in name or name == "gate.log_threshold_GL")


@pytest.mark.parametrize("gate", GATES)
def test_some_groups_alone_have_the_weights_that_they_have_among_all(gate):
    recipe = small_recipe(1, TWO_LEVELS | {"gate": gate})
    torch.manual_seed(5)
    whole = build_model(recipe, VOCABULARY).state_dict()
    torch.manual_seed(5)
    second_quarter = LayerParallelism(shard=lambda number: slice(number // 4, number // 2))
    model = build_model(recipe, VOCABULARY, parallelism=lambda layer: second_quarter)
    part, sharded = model.state_dict(), parameter_roles(model).sharded
    assert part.keys() == whole.keys()
    for name, weights in part.items():
        number = len(whole[name])
        share = slice(number // 4, number // 2) if name in sharded else slice(None)
        assert torch.equal(weights, whole[name][share]), name
