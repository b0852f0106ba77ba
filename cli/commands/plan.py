"""``mtmoe plan``: memory and time of training on GPUs, before there are any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mtmoe.errors import UserError

from ..console import duration, note, number_of_bytes, warn, write_data, write_json, write_table, write_text
from ..options import RealRange, json_option, own_recipe, recipe_argument, set_option

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.planning.devices import Gpu
    from mtmoe.planning.plan import Plan, Shortage


_MOST = 1e9  # of any figure of a machine: a million times what there is, and all sums stay finite


@click.command()
@recipe_argument
@click.option(
    "--gpus", "num_gpus", type=click.IntRange(1, 1_000_000), required=True, help="GPUs in all, one process on each."
)
@click.option(
    "--gpu",
    "gpu_name",
    required=True,
    metavar="KIND",
    help="h200, h100, a100, a100-40gb, v100, l40s, t4 or k40; the options below replace what its data sheet says.",
)
@click.option("--gpu-memory", type=RealRange(0.1, _MOST), metavar="GIB", help="Memory of one GPU.")
@click.option("--peak", type=RealRange(0.001, _MOST), metavar="TFLOPS", help="Rate of products of one GPU.")
@click.option("--memory-bandwidth", type=RealRange(0.001, _MOST), metavar="GB/S", help="Of a GPU's own memory.")
@click.option("--node-bandwidth", type=RealRange(0.001, _MOST), metavar="GB/S", help="Of one GPU to those of its node.")
@click.option("--network-bandwidth", type=RealRange(0.001, _MOST), metavar="GB/S", help="Of one GPU to other nodes.")
@click.option("--gpus-per-node", type=click.IntRange(1, 1_000_000), help="GPUs of a node.  [default: 8]")
@click.option("--node-memory", type=RealRange(0.1, _MOST), metavar="GB", help="Main memory of a node.")
@click.option(
    "--reserved",
    type=RealRange(0, _MOST),
    metavar="GB",
    help="Memory of each GPU that CUDA, its libraries and NCCL take (assumed, not measured).  [default: 1; of a k40 "
    "0.3]",
)
@click.option(
    "--efficiency",
    type=RealRange(0.01, 1),
    help="Share of the floor's speed that is reached; 1 tells the floor itself, which no program reaches.  [default: "
    "what was measured with a batch of such a size]",
)
@set_option
@json_option
def plan(
    recipe_name: str,
    num_gpus: int,
    gpu_name: str,
    efficiency: float | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **replaced: Any,
) -> None:
    """Predict what a recipe needs on so many GPUs: memory and time.

    Memory of the fullest GPU at the worst moment of a step; bytes that travel; the least time of a step, and where it
    goes: of each kind of layer max(operations / peak, bytes / bandwidth), divided by the efficiency. It takes no memory
    and no GPU. Exit status 1 if the training does not fit, with what there is too little of and what to change.
    """
    recipe = own_recipe(recipe_name, overrides)
    from mtmoe.planning.devices import gpu_named
    from mtmoe.planning.plan import Cluster, make_plan

    gpu = _with_own_figures(gpu_named(gpu_name), **replaced)
    planned = make_plan(recipe, Cluster(gpu, num_gpus, efficiency))
    if as_json:
        write_json(_as_json(planned))
    else:
        _write(recipe, planned)
    for text in planned.notes:
        warn(text)
    if planned.shortages:
        first, *others = planned.shortages
        for shortage in others:
            note(f"error: {_problem(planned, shortage)}\n{shortage.fix}")
        raise UserError(_problem(planned, first), fix=first.fix)


def _with_own_figures(
    gpu: Gpu,
    gpu_memory: float | None,
    peak: float | None,
    memory_bandwidth: float | None,
    node_bandwidth: float | None,
    network_bandwidth: float | None,
    gpus_per_node: int | None,
    node_memory: float | None,
    reserved: float | None,
) -> Gpu:
    given: dict[str, Any] = {
        "memory": gpu_memory and gpu_memory * (1 << 30),
        "flops": peak and dict.fromkeys(gpu.flops, peak * 1e12),
        "memory_bandwidth": memory_bandwidth and memory_bandwidth * 1e9,
        "node_bandwidth": node_bandwidth and node_bandwidth * 1e9,
        "network_bandwidth": network_bandwidth and network_bandwidth * 1e9,
        "gpus_per_node": gpus_per_node,
        "node_memory": node_memory and node_memory * 1e9,
        "reserved": None if reserved is None else reserved * 1e9,
    }
    gpu = gpu._replace(**{key: value for key, value in given.items() if value is not None})
    if gpu.reserved >= gpu.memory:
        raise UserError(
            f"--reserved {gpu.reserved / 1e9:g}: leaves nothing of the {number_of_bytes(gpu.memory)} of a {gpu.name}",
            fix="it is in GB; leave it out for what CUDA usually takes",
        )
    return gpu


def _problem(planned: Plan, shortage: Shortage) -> str:
    cluster = planned.cluster
    return (
        f"{planned.recipe} does not fit on {cluster.num_gpus} x {cluster.gpu.name}: {shortage.resource}: "
        f"{number_of_bytes(shortage.needed)} of {number_of_bytes(shortage.available)}, "
        f"{number_of_bytes(shortage.needed - shortage.available)} too much ({shortage.why})"
    )


# ------------------------------------------------------------------------------------------------- output


def _as_json(planned: Plan) -> dict[str, Any]:
    values = planned._asdict()
    cluster = values.pop("cluster")
    del values["efficiency"]
    named = {
        "gpu": cluster.gpu._asdict(),
        "num_gpus": cluster.num_gpus,
        "reserved_bytes": cluster.gpu.reserved,
        "efficiency": planned.efficiency.share,
        "efficiency_basis": planned.efficiency.basis,
    }
    for key in ("layout", "parameters", "traffic"):
        values[key] = values[key]._asdict()
    values["peak"] = planned.peak._asdict() | {"total": planned.peak.total}
    for key in ("stage_times", "shortages"):
        values[key] = [part._asdict() for part in values[key]]
    times = {"tflops_per_gpu": planned.tflops_per_gpu, "days": planned.days, "gpu_hours": planned.gpu_hours}
    return named | values | times | {"fits": planned.fits}


def _write(recipe: Recipe, planned: Plan) -> None:
    cluster, layout = planned.cluster, planned.layout
    copies = f", {layout.data_processes} copies of them" if layout.data_processes > 1 else ""
    spread = f"; experts spread over {layout.expert_processes}{copies}" if recipe.has_experts else ""
    write_text(
        f"{planned.recipe} on {cluster.num_gpus} x {cluster.gpu.name} ({planned.precision}): a prediction, "
        f"not a measurement{spread}\n\n"
    )
    write_table(("memory of the fullest GPU", "bytes", ""), _memory_rows(planned))
    write_data("\n")
    write_table(("time of a step", "seconds", "share", "bound by"), _time_rows(planned))
    write_data("\n")
    write_table(("training", "", ""), _training_rows(recipe, planned))


def _memory_rows(planned: Plan) -> Iterator[tuple[str, str, str]]:
    held, peak, usable = planned.parameters, planned.peak, planned.cluster.usable_memory
    gates = f", {held.group_gates:,} of gates of groups" if held.group_gates else ""
    whose = f"{held.replicated:,} replicated{gates} and {held.experts:,} of experts"
    whose += f", of {planned.num_parameters:,} parameters"
    for name, value, remark in (
        ("weights", peak.weights, whose),
        ("moments of the optimizers", peak.moments, f"of experts {number_of_bytes(held.expert_moments)}"),
        ("averaged weights", peak.averaged, ""),
        ("gradients at the peak", peak.gradients, ""),
        ("activations kept at the peak", peak.activations, ""),
        ("needed for a moment", peak.passing, ""),
        ("peak", peak.total, peak.moment),
        ("usable", usable, f"a training step {'fits' if peak.total <= usable else 'does not fit'}"),
        ("main memory of a node", planned.start_bytes, "at the start, where processes make their weights"),
    ):
        yield name, number_of_bytes(value), remark


def _time_rows(planned: Plan) -> Iterator[tuple[str, str, str, str]]:
    for part in planned.stage_times:
        yield part.kind, f"{part.seconds:.4g}", f"{part.seconds / planned.step_seconds:.1%}", part.bound
    yield "step", f"{planned.step_seconds:.4g}", "", f"{planned.tflops_per_gpu:.3g} TFLOP/s a GPU"


def _training_rows(recipe: Recipe, planned: Plan) -> Iterator[tuple[str, str, str]]:
    training, hours = recipe.training, planned.days * 24
    batch = f"{training.batch_tokens:,}, {training.gradient_accumulation} batches a step"
    yield "tokens of a batch", batch, f"at most {planned.largest_batch_tokens:,} in a batch fit"
    if recipe.has_experts:
        yield "tokens per expert", f"{planned.tokens_per_expert:,.1f}", "of a batch"
    sent = number_of_bytes(planned.traffic.all_to_all)
    yield "all-to-all", sent, "sent by each GPU in a step"
    yield "efficiency", f"{planned.efficiency.share:.2g}", planned.efficiency.basis
    rate, both = planned.target_tokens_per_second, planned.tokens_per_second
    yield "target tokens/s", f"{rate:,.0f}", f"{both:,.0f} of both sides"
    budget = f"{planned.budget_tokens:,} tokens in {training.max_steps:,} steps"
    took = f"{planned.days:.2f} days, {planned.gpu_hours:,.0f} GPU-hours"
    yield "whole training", duration(hours * 3600), f"{took}; {budget}"
