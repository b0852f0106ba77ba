"""``mtmoe bench``."""

from __future__ import annotations

from pathlib import Path

import click

from .console import shown_progress, write_json, write_table
from .options import DIRECTORY, device_option, json_option, own_recipe, recipe_argument, set_option


@click.group()
def bench() -> None:
    """Measure speed."""


@bench.command()
@recipe_argument
@click.option("--data", "data_dir", type=DIRECTORY, required=True, help="DATA_DIR of `mtmoe preprocess`.")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="How long to measure.")
@set_option
@device_option
@json_option
def train(
    recipe_name: str, data_dir: Path, seconds: float, overrides: tuple[str, ...], device: str | None, as_json: bool
) -> None:
    """Measure how many tokens per second a recipe trains on."""
    from mtmoe.benchmark.training_speed import run_benchmark
    from mtmoe.device import choose_device

    recipe = own_recipe(recipe_name, overrides)
    with shown_progress() as progress:
        result = run_benchmark(recipe, data_dir, device=choose_device(device), seconds=seconds, progress=progress)
    if as_json:
        write_json(result._asdict())
    else:
        write_table(
            ("measured", "value"), [(name.replace("_", " "), _shown(v)) for name, v in result._asdict().items()]
        )


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
