"""``mtmoe bench``: speed and memory of training, and of the mixture-of-experts layer."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ...console import number, number_of_bytes, shown_progress, write_data, write_json, write_table
from ...options import (
    DAY,
    DIRECTORY,
    MOST_EXPERTS,
    MOST_SHARED_EXPERTS,
    TOKENS,
    WIDTH,
    RealRange,
    device_option,
    json_option,
    own_recipe,
    recipe_argument,
    set_option,
    threads_option,
)
from .bench_translate import translate


@click.group()
def bench() -> None:
    """Measure speed."""


bench.add_command(translate)


@bench.command()
@recipe_argument
@click.option("--data", "data_dir", type=DIRECTORY, required=True, help="DATA_DIR of `mtmoe preprocess`.")
@click.option("--seconds", type=RealRange(1, DAY), default=60.0, show_default=True, help="How long to measure.")
@set_option
@device_option
@json_option
def train(
    recipe_name: str, data_dir: Path, seconds: float, overrides: tuple[str, ...], device: str | None, as_json: bool
) -> None:
    """Measure how many tokens per second a recipe trains on.

    With several processes, `torchrun --nproc-per-node N -m mtmoe bench train ...`: what they do together, told by the
    main one; training.batch_tokens is divided among them.
    """
    from mtmoe.benchmark.training_speed import run_benchmark
    from mtmoe.device import choose_device
    from mtmoe.distributed.mesh import rank_and_size
    from mtmoe.progress import silent
    from mtmoe.system.process_settings import prepare_for_training

    recipe = own_recipe(recipe_name, overrides)
    chosen = choose_device(device)
    prepare_for_training(chosen)
    is_main = rank_and_size()[0] == 0
    with shown_progress() if is_main else contextlib.nullcontext(silent) as progress:
        result = run_benchmark(recipe, data_dir, device=chosen, seconds=seconds, progress=progress)
    if not is_main:
        return
    if as_json:
        write_json(result._asdict())
    else:
        write_table(
            ("measured", "value"), [(name.replace("_", " "), number(v)) for name, v in result._asdict().items()]
        )


@bench.command()
@click.option(
    "--experts",
    "num_experts",
    default="1,4,32,256,1024,4096",
    show_default=True,
    callback=lambda _context, _option, text: _numbers(text),
    metavar="E,E,...",
    help="Numbers of experts; from 32 on with two levels, too.",
)
@click.option("--width", type=WIDTH, default=256, show_default=True, help="D: width of the layer.")
@click.option("--hidden", type=WIDTH, default=512, show_default=True, help="H: units of one expert.")
@click.option(
    "--per-token", type=click.IntRange(1, MOST_EXPERTS), default=4, show_default=True, help="k: experts of each token."
)
@click.option(
    "--gate",
    type=click.Choice(["noisy-top-k", "softmax", "strictly-balanced", "sigmoid", "expert-choice"]),
    default="noisy-top-k",
    show_default=True,
    help="As model.moe.gate; expert-choice has one level.",
)
@click.option(
    "--shared-experts",
    type=click.IntRange(0, MOST_SHARED_EXPERTS),
    default=0,
    show_default=True,
    help="As model.moe.shared_experts; the dense layer has their units, too.",
)
@click.option(
    "--choice-bias-rate",
    type=RealRange(0, 1),
    default=0.0,
    show_default=True,
    help="As model.moe.choice_bias_rate, for softmax and sigmoid; one level.",
)
@click.option("--tokens", type=TOKENS, default=4096, show_default=True, help="N: tokens at a time.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp16", "fp32"]),
    default="auto",
    show_default=True,
    help="Arithmetic, as training.precision.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "factored-adam"]),
    default="factored-adam",
    show_default=True,
    help="Optimizer of the experts.",
)
@click.option(
    "--expert-weights",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="How the experts' matrices are kept, as training.expert_weights.",
)
@click.option("--loop", is_flag=True, help="Time a plain loop over the experts, too.")
@threads_option
@click.option("--seconds", type=RealRange(0, DAY), default=10.0, show_default=True, help="Time for each layer.")
@device_option
@json_option
def moe(
    num_experts: tuple[int, ...],
    width: int,
    hidden: int,
    per_token: int,
    gate: str,
    shared_experts: int,
    choice_bias_rate: float,
    tokens: int,
    precision: str,
    optimizer: str,
    expert_weights: str,
    loop: bool,
    threads: int | None,
    seconds: float,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure the mixture-of-experts layer against a dense one."""
    import torch

    from mtmoe.benchmark.expert_layer import LayerShape, default_cases, run_layer_benchmark
    from mtmoe.benchmark.machine import hardware_name
    from mtmoe.device import choose_device
    from mtmoe.precision import choose_precision

    chosen = choose_device(device)
    precision = choose_precision(chosen, precision)
    if expert_weights == "bf16" and optimizer == "adam":
        raise click.UsageError("--expert-weights bf16 needs --optimizer factored-adam, which rounds at random")
    if choice_bias_rate and gate not in ("softmax", "sigmoid"):
        raise click.UsageError(f"--choice-bias-rate is for --gate softmax and sigmoid, not {gate}")
    if shared_experts and min(num_experts) < per_token:
        raise click.UsageError(
            f"--shared-experts is for layers of at least --per-token {per_token} experts: those of fewer are larger"
        )
    threads = threads or torch.get_num_threads()
    shape = LayerShape(
        width,
        hidden,
        per_token,
        tokens,
        precision,
        optimizer,
        expert_weights,
        threads,
        str(chosen),
        gate,
        shared_experts,
        choice_bias_rate,
    )
    cases = default_cases(num_experts, per_token, has_two_levels=shape.has_two_levels)
    with shown_progress() as progress:
        machine, results = run_layer_benchmark(shape, cases, seconds=seconds, loop=loop, progress=progress)
    facts = {"hardware": hardware_name(chosen), **shape._asdict(), **machine._asdict()}
    if as_json:
        write_json(facts | {"layers": [result._asdict() for result in results]})
        return
    write_table(("setting", "value"), [(name.replace("_", " "), number(value)) for name, value in facts.items()])
    write_data("\n")
    columns = {
        "experts": "num_experts",
        "groups": "groups",
        "parameters": "num_expert_parameters",
        "gate ms": "gate_ms",
        "forward ms": "forward_ms",
        "backward ms": "backward_ms",
        "optimizer ms": "optimizer_ms",
        "dense ms": "dense_ms",
        "experts / dense": "experts_over_dense",
        "layer / dense": "layer_over_dense",
        **({"loop / experts": "loop_over_experts"} if loop else {}),
        "floor / forward": "forward_floor_share",
        "floor / backward": "backward_floor_share",
    }
    write_table(
        (*columns, "peak"),
        [
            (*(number(getattr(result, key)) for key in columns.values()), number_of_bytes(result.peak_bytes))
            for result in results
        ],
    )


@bench.command()
@recipe_argument
@click.option(
    "--rows", type=click.IntRange(1, 1_000_000), default=32, show_default=True, help="Sentences of a made-up batch."
)
@click.option(
    "--length", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Tokens of each side of each."
)
@set_option
@device_option
@json_option
def memory(
    recipe_name: str, rows: int, length: int, overrides: tuple[str, ...], device: str | None, as_json: bool
) -> None:
    """Measure the memory of a training step against its plan."""
    from mtmoe.benchmark.training_memory import measure_memory
    from mtmoe.device import choose_device

    recipe = own_recipe(recipe_name, overrides)
    result = measure_memory(recipe, rows=rows, length=length, device=str(choose_device(device)))
    if as_json:
        write_json(result._asdict())
        return
    shown = {
        name: number_of_bytes(value) if name.endswith("_bytes") else number(value)
        for name, value in result._asdict().items()
    }
    write_table(("measured", "value"), [(name.replace("_", " "), value) for name, value in shown.items()])


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or max(numbers) > MOST_EXPERTS:
        raise click.BadParameter(
            f"{text!r} is not a list of whole numbers from 1, such as 4,32,256 (to {MOST_EXPERTS})"
        )
    return numbers
