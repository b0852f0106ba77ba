"""Benchmark of the expert layer behind ``mtmoe bench moe``: its time for more and more experts, at equal operations per
token.

Every case runs in a process of its own. So its peak memory is its own, and no case finds memory that another one has
warmed. Within a case the dense layer and the mixture are timed in turn, and the ratios are medians over the rounds. So
a slow spell of the machine meets both alike.

Shape letters: N tokens, D width, E experts, H hidden units of an expert, M pairs of a token and an expert, R pairs of
one expert.

Letters: M pairs of a token and one of its experts, R rows of one expert.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mtmoe.benchmark.machine import measure_copy, measure_gemm, peak_bytes, timed
from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings, Training
from mtmoe.device import select_cuda_device
from mtmoe.model.moe.moe_layer import DenseFeedForward, MixtureOfExperts
from mtmoe.model.moe.routing import Routing
from mtmoe.model.parameter_roles import parameter_roles
from mtmoe.precision import DTYPES
from mtmoe.progress import Progress, silent
from mtmoe.system.process_settings import prepare_for_training, use_threads
from mtmoe.training.optimizers.adam import Adam
from mtmoe.training.optimizers.stochastic_rounding import keep_experts_in_bf16

_WARMUP_ROUNDS = 2
_LEAST_ROUNDS = 3


class LayerShape(NamedTuple):
    """Sizes that all cases share.

    experts_per_token is K. Each expert has ``expert_hidden`` units; a single expert has K x expert_hidden, the dense
    layer those of the shared experts beside them. gate, shared_experts, choice_bias_rate: as in ``model.moe``; a layer
    whose tokens have all experts has no bias.
    """

    width: int
    expert_hidden: int
    experts_per_token: int
    num_tokens: int
    precision: str
    expert_optimizer: str
    expert_weights: str
    num_threads: int
    device: str
    gate: str = "noisy-top-k"
    shared_experts: int = 0
    choice_bias_rate: float = 0.0

    @property
    def has_two_levels(self) -> bool:
        """Return whether the gate can have two levels, too."""
        return self.gate != "expert-choice" and not self.choice_bias_rate


class LayerCase(NamedTuple):
    """One mixture to measure. groups is 0 for one level of gating."""

    num_experts: int
    groups: int


class MachineRates(NamedTuple):
    """Rates of the machine itself: square products in the precision of the benchmark, and copies."""

    gemm_gflops: float
    copy_gigabytes_per_second: float


class LayerSpeed(NamedTuple):
    """Medians in milliseconds, and ratios to the dense layer that was timed in turn with it.

    experts: dispatch, experts and combine, with a routing that is given. layer: the gate and both losses, too.
    loop_over_experts: time of :func:`one_expert_after_another` over that of the experts, or None where it was not
    timed.
    floor_share: max(operations / rate of products, bytes / rate of copies) over the time, for the experts.
    peak_bytes: memory of the whole process (on a GPU: of all tensors) after forward, backward and optimizer steps of
    this
    case, those of the loop included.
    """

    num_experts: int
    groups: int
    num_expert_parameters: int
    gate_ms: float
    forward_ms: float
    backward_ms: float
    optimizer_ms: float
    dense_ms: float
    experts_over_dense: float
    layer_over_dense: float
    loop_over_experts: float | None
    forward_floor_share: float
    backward_floor_share: float
    peak_bytes: int


def default_cases(
    num_experts: Sequence[int], experts_per_token: int, *, has_two_levels: bool = True
) -> list[LayerCase]:
    """Return the cases for these numbers of experts.

    All have one level. Those with 32 or more have two levels, too, if the gate can and K is 4, with 8 to 64 groups as
    in the paper.
    """
    cases = []
    for number in num_experts:
        cases.append(LayerCase(number, 0))
        groups = 64 if number >= 4096 else 32 if number >= 256 else 8
        if number >= 32 and experts_per_token == 4 and has_two_levels:
            cases.append(LayerCase(number, groups))
    return cases


def run_layer_benchmark(
    shape: LayerShape, cases: Sequence[LayerCase], *, seconds: float, loop: bool = False, progress: Progress = silent
) -> tuple[MachineRates, list[LayerSpeed]]:
    """Measure every case for about ``seconds``; with ``loop`` also :func:`one_expert_after_another`."""
    context = multiprocessing.get_context("spawn")
    results = []
    with context.Pool(1, maxtasksperchild=1) as pool:
        machine_rates = pool.apply(_measure_machine, (shape,))
        for number, case in enumerate(cases):
            progress("measure", number, len(cases), "layers")
            results.append(pool.apply(_measure_case, (shape, case, machine_rates, seconds, loop)))
        progress("measure", len(cases), len(cases), "layers")
    return machine_rates, results


def _measure_machine(shape: LayerShape) -> MachineRates:
    """Measure the machine's rates, in a process of its own."""
    device = _prepared(shape)
    return MachineRates(measure_gemm(DTYPES[shape.precision], device), measure_copy(device))


def _prepared(shape: LayerShape) -> torch.device:
    """Set up this process for the benchmark and return its device."""
    device = torch.device(shape.device)
    prepare_for_training(device)
    select_cuda_device(device)
    use_threads(shape.num_threads)
    torch.manual_seed(0)
    return device


def layer_settings(shape: LayerShape, case: LayerCase) -> MixtureOfExpertsSettings:
    """Return the settings of a case's mixture.

    Each token has K experts; sqrt(K) groups and sqrt(K) experts in each at two levels. With fewer experts than K, each
    token has all of them, and they have K x expert_hidden units together.
    """
    k, hidden = shape.experts_per_token, shape.expert_hidden
    if case.num_experts < k:
        k, hidden = case.num_experts, hidden * k // case.num_experts
    hierarchy = Hierarchy(groups=case.groups, groups_per_token=round(k**0.5)) if case.groups else None
    return MixtureOfExpertsSettings(
        num_experts=case.num_experts,
        experts_per_token=k,
        expert_hidden=hidden,
        hierarchy=hierarchy,
        gate=shape.gate,  # type: ignore[arg-type]
        shared_experts=shape.shared_experts,
        choice_bias_rate=shape.choice_bias_rate if k < case.num_experts else 0.0,
    )


def one_expert_after_another(
    x_ND: Tensor, routing: Routing, first_EDH: Tensor, second_EHD: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return what the experts compute, by a plain loop over them.

    For each expert that has tokens: two products in ``dtype`` with its rows, whose results are added where they belong.
    The
    loop waits for the device to learn the counts. The gate values get no gradient.
    """
    order_M = routing.experts_M.argsort(stable=True)
    parts = order_M.split(routing.token_counts_E.tolist())
    # Taken apart at once: one by one, each would have a gradient of the whole stack's size.
    firsts, seconds = first_EDH.unbind(), second_EHD.unbind()
    x_ND, y_ND = x_ND.to(dtype), x_ND.new_zeros(x_ND.shape, dtype=dtype)
    for expert, pairs_R in enumerate(parts):
        if pairs_R.shape[0] == 0:
            continue
        tokens_R, gates_R1 = routing.tokens_M[pairs_R], routing.gates_M[pairs_R].to(dtype)[:, None]
        hidden_RH = (x_ND[tokens_R] @ firsts[expert].to(dtype)).relu()
        y_ND.index_add_(0, tokens_R, hidden_RH @ seconds[expert].to(dtype) * gates_R1)
    return y_ND


def _measure_case(
    shape: LayerShape, case: LayerCase, machine_rates: MachineRates, seconds: float, loop: bool
) -> LayerSpeed:
    """Measure one case in this process: rounds of gate, forward passes, backward passes and an optimizer step."""
    device = _prepared(shape)
    settings = layer_settings(shape, case)
    dense_settings = MixtureOfExpertsSettings(
        kind="dense",
        num_experts=shape.experts_per_token,
        experts_per_token=shape.experts_per_token,
        expert_hidden=shape.expert_hidden,
        shared_experts=shape.shared_experts,
    )
    mixture = MixtureOfExperts(shape.width, settings).to(device)
    dense = DenseFeedForward(shape.width, dense_settings).to(device)
    if shape.expert_weights == "bf16":
        keep_experts_in_bf16(mixture)
    optimizer = Adam(
        {name: parameter for name, parameter in mixture.named_parameters() if parameter.requires_grad},
        Training(max_steps=1, expert_optimizer=shape.expert_optimizer, expert_weights=shape.expert_weights),  # type: ignore[arg-type]
        roles=parameter_roles(mixture),
    )
    dtype = DTYPES[shape.precision]
    x_ND = torch.randn(shape.num_tokens, shape.width, device=device).to(dtype).requires_grad_()
    grad_ND = torch.randn_like(x_ND)

    def clock(work: Callable[[], Any]) -> tuple[Any, float]:
        """Return the result of ``work`` and its time in milliseconds."""
        result, seconds_taken = timed(work, device)
        return result, seconds_taken * 1e3

    def layer() -> tuple[Tensor, list[Tensor]]:
        """Compute the whole layer; return its output and the losses that have a gradient."""
        y_ND, balance = mixture(x_ND)
        return y_ND, [loss for loss in balance.auxiliary_losses.values() if loss.requires_grad]

    def experts() -> tuple[Tensor, list[Tensor]]:
        """Compute the experts alone, with the routing of this round."""
        return mixture.experts(x_ND, routing), []

    def in_precision(forward: Callable[[], Any]) -> Callable[[], Any]:
        """Return ``forward`` under autocast in the precision of the benchmark."""

        def under_autocast() -> Any:
            """Run ``forward`` under autocast."""
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return forward()

        return under_autocast

    with torch.no_grad():  # a gate that has learned something: random logits, as uneven as they come
        for parameter in mixture.gate.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=shape.width**-0.5)
    stacks = mixture.experts.first_EDH, mixture.experts.second_EHD
    forwards: dict[str, Callable[[], tuple[Tensor, list[Tensor]]]] = {
        **({"loop": lambda: (one_expert_after_another(x_ND, routing, *stacks, dtype), [])} if loop else {}),
        "dense": lambda: (dense(x_ND)[0], []),
        "experts": experts,
        "layer": layer,
    }
    rounds: list[dict[str, float]] = []
    until: float | None = None
    while until is None or len(rounds) < _LEAST_ROUNDS or time.monotonic() < until:
        times: dict[str, float] = {}
        with torch.no_grad():
            routing, times["gate"] = clock(in_precision(lambda: mixture.gate(x_ND)))
        for name, forward in forwards.items():
            for tensor in (x_ND, *mixture.parameters(), *dense.parameters()):
                tensor.grad = None
            (y_ND, losses), times[f"{name}_forward"] = clock(in_precision(forward))
            gradients = [grad_ND.to(y_ND.dtype), *(torch.ones_like(loss) for loss in losses)]
            _, times[f"{name}_backward"] = clock(partial(torch.autograd.backward, [y_ND, *losses], gradients))
            del y_ND, losses
        _, times["optimizer"] = clock(optimizer.step)
        rounds.append(times)
        if until is None and len(rounds) == _WARMUP_ROUNDS:
            rounds, until = [], time.monotonic() + seconds
    return _summary(shape, case, settings, machine_rates, rounds, mixture, device)


def _summary(
    shape: LayerShape,
    case: LayerCase,
    settings: MixtureOfExpertsSettings,
    machine_rates: MachineRates,
    rounds: list[dict[str, float]],
    mixture: MixtureOfExperts,
    device: torch.device,
) -> LayerSpeed:
    """Return the medians of the rounds, and their ratios."""

    def median(key: str) -> float:
        """Return the median time of one part, in milliseconds."""
        return statistics.median(times[key] for times in rounds)

    def ratio(name: str, other: str) -> float:
        """Return the median ratio of forward and backward time of one layer to another's."""
        return statistics.median(
            (times[f"{name}_forward"] + times[f"{name}_backward"])
            / (times[f"{other}_forward"] + times[f"{other}_backward"])
            for times in rounds
        )

    forward_floor, backward_floor = floor_milliseconds(shape, settings, machine_rates)
    return LayerSpeed(
        num_experts=case.num_experts,
        groups=case.groups,
        num_expert_parameters=sum(p.numel() for p in mixture.experts.parameters()),
        gate_ms=median("gate"),
        forward_ms=median("experts_forward"),
        backward_ms=median("experts_backward"),
        optimizer_ms=median("optimizer"),
        dense_ms=median("dense_forward") + median("dense_backward"),
        experts_over_dense=ratio("experts", "dense"),
        layer_over_dense=ratio("layer", "dense"),
        loop_over_experts=ratio("loop", "experts") if "loop_forward" in rounds[0] else None,
        forward_floor_share=forward_floor / median("experts_forward"),
        backward_floor_share=backward_floor / median("experts_backward"),
        peak_bytes=peak_bytes(device),
    )


def floor_milliseconds(
    shape: LayerShape, settings: MixtureOfExpertsSettings, machine_rates: MachineRates
) -> tuple[float, float]:
    """Return the least time of the experts' forward and backward pass, in milliseconds.

    It is the longer of two times. One is that of the products at the rate of large products. The other is that of
    moving
    every byte once at the rate of copies: gathering and activations count as fused, weights and their gradients as in
    the
    precision of the products.
    """
    item = 4 if shape.precision == "fp32" else 2
    d, h, tokens = shape.width, settings.expert_hidden, shape.num_tokens
    pairs = tokens * settings.experts_per_token
    weights = 2 * settings.num_experts * d * h
    operations = 4 * pairs * d * h
    forward_bytes = item * (3 * pairs * d + 2 * pairs * h + tokens * d + weights)
    backward_bytes = item * (5 * pairs * d + 5 * pairs * h + tokens * d + 2 * weights)
    flops, bandwidth = machine_rates.gemm_gflops * 1e6, machine_rates.copy_gigabytes_per_second * 1e6  # a millisecond
    return max(operations / flops, forward_bytes / bandwidth), max(2 * operations / flops, backward_bytes / bandwidth)
