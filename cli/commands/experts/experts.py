"""``mtmoe experts``: runs with fewer or more experts, made of another run without training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...console import command_line, note, number_or_null, shown_progress, write_json, write_table
from ...options import (
    DIRECTORY,
    MOST_EXPERTS,
    Decorator,
    RealRange,
    checkpoint_option,
    device_option,
    json_option,
    run_argument,
)

if TYPE_CHECKING:
    from mtmoe.config.settings import MixtureOfExpertsSettings
    from mtmoe.expert_surgery.surgery import Operate, Outcome

_EXPERTS = click.IntRange(1, MOST_EXPERTS)
_new_argument = click.argument("new", metavar="NEW", type=DIRECTORY)
_keep_option = click.option("--keep", type=_EXPERTS, metavar="N", help="Experts of each layer that are left.")
_keep_share_option = click.option(
    "--keep-share", type=RealRange(0, 1, min_open=True), metavar="SHARE", help="The same as a share of them, 0 to 1."
)
_experts_per_token_option = click.option(
    "--experts-per-token", type=_EXPERTS, metavar="K", help="Experts of a token in NEW.  [default: as in RUN]"
)


def _measuring_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options: list[Decorator] = [
        click.option(
            "--language",
            metavar="CODE",
            help="Measure the use of experts on dev sets into this language, or of this direction (en-de).",
        ),
        click.option(
            "--sentences",
            "num_sentences",
            type=click.IntRange(0, 1_000_000),
            metavar="N",
            help="Dev sentences to translate for BLEU; 0: none.  [default: the recipe's]",
        ),
        click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with the dev set.  [default: the run's]"),
        checkpoint_option,
        device_option,
        json_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group()
def experts() -> None:
    """Leave experts of a run out, merge them, or add some.

    NEW becomes a run with all that RUN has but other experts: translate and score with it, or train on with
    `mtmoe train NEW/recipe.toml NEWER --from NEW`. Its manifest.json says what each expert was made of, and why. What
    it costs is measured: perplexity and BLEU of the dev set, before and after.
    """


@experts.command()
@run_argument
@_new_argument
@_keep_option
@_keep_share_option
@click.option(
    "--by",
    type=click.Choice(["importance", "share"]),
    default="importance",
    show_default=True,
    help="What an expert is kept for: the sum of its gates on the dev text, or the number of its tokens.",
)
@_measuring_options
def prune(run: Path, new: Path, keep: int | None, keep_share: float | None, by: str, **measuring: Any) -> None:
    """Leave out the experts that matter least.

    They are those that the dev text uses least; with --language, what is translated into that language, so that NEW is
    a smaller model for it. A token whose experts are gone has its next best ones.
    """
    from mtmoe.expert_surgery import pruning

    _check_one_number(keep, keep_share)

    def operation(weights: Any, moe: Any, use: Any) -> Any:
        return pruning.prune(weights, moe, use, _number_kept(moe, keep, keep_share), by)  # type: ignore[arg-type]

    _operate(run, new, operation, **measuring)


@experts.command()
@run_argument
@_new_argument
@_keep_option
@_keep_share_option
@_experts_per_token_option
@_measuring_options
def merge(
    run: Path, new: Path, keep: int | None, keep_share: float | None, experts_per_token: int | None, **measuring: Any
) -> None:
    """Merge the experts that are most alike.

    Experts are alike that compute nearly the same of the same input. The mean of them, weighted by their tokens, takes
    their place, after their hidden units are put into the same order.
    """
    from mtmoe.expert_surgery import merging

    _check_one_number(keep, keep_share)

    def operation(weights: Any, moe: Any, use: Any) -> Any:
        kept = _number_kept(moe, keep, keep_share)
        return merging.merge(weights, moe, use, kept, experts_per_token or moe.experts_per_token)

    _operate(run, new, operation, **measuring)


@experts.command()
@run_argument
@_new_argument
@click.option(
    "--experts", "num_experts", type=_EXPERTS, required=True, metavar="N", help="Experts of each layer: a multiple."
)
@_experts_per_token_option
@click.option(
    "--noise",
    type=RealRange(0, 10),
    default=0.01,
    show_default=True,
    help="Noise in the weights of copies, as a share of the standard deviation of each matrix.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=1, show_default=True, help="Of what is drawn.")
@_measuring_options
def grow(
    run: Path, new: Path, num_experts: int, experts_per_token: int | None, noise: float, seed: int, **measuring: Any
) -> None:
    """Begin each expert as several, to be trained further.

    Without noise NEW computes what RUN does: all of it where --experts-per-token grows as the number of experts does,
    and else for 99 % of the tokens of the dev text, which the gate divides among the copies.
    """
    from mtmoe.expert_surgery import growing

    def operation(weights: Any, moe: Any, use: Any) -> Any:
        k = experts_per_token or moe.experts_per_token
        return growing.grow(weights, moe, use, num_experts, k, noise=noise, seed=seed)

    _operate(run, new, operation, **measuring)


def _check_one_number(keep: int | None, keep_share: float | None) -> None:
    if (keep is None) == (keep_share is None):
        raise click.UsageError("give either --keep N or --keep-share SHARE")


def _number_kept(moe: MixtureOfExpertsSettings, keep: int | None, keep_share: float | None) -> int:
    """Return how many experts are kept, of a share the next multiple of the groups."""
    if keep is not None:
        return keep
    groups = moe.hierarchy.groups if moe.hierarchy is not None else 1
    return groups * max(1, math.ceil(round((keep_share or 0.0) * (moe.num_experts // groups), 9)))


def _operate(
    run: Path, new: Path, operation: Operate, *, as_json: bool, language: str | None, **measuring: Any
) -> None:
    from mtmoe.expert_surgery.surgery import operate
    from mtmoe.system.process_settings import prepare_for_translation

    prepare_for_translation()
    with shown_progress() as progress:
        outcome = operate(run, new, operation, language=language, progress=progress, **measuring)
    if as_json:
        write_json(_as_json(outcome))
    else:
        _show(outcome)
    note(f"{new}: {outcome.operation.why}")
    recipe, newer = outcome.run.recipe, new.with_name(f"{new.name}-trained")
    note(f"next: {command_line('bleu', new)}, or {command_line('train', recipe, newer, '--from', new)}")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    measured = {
        name: {
            "before": {"perplexity": number_or_null(before.perplexity), "bleu": before.bleu},
            "after": {
                "perplexity": number_or_null(outcome.after[name].perplexity),
                "bleu": outcome.after[name].bleu,
            },
        }
        for name, before in outcome.before.items()
    }
    return {
        "operation": outcome.operation.name,
        "why": outcome.operation.why,
        "num_experts": outcome.num_experts,
        "num_parameters": outcome.num_parameters,
        "dev_sets": measured,
        "layers": outcome.operation.origins,
    }


def _show(outcome: Outcome) -> None:
    (experts_before, experts_after), (parameters_before, parameters_after) = (
        outcome.num_experts,
        outcome.num_parameters,
    )
    rows = [
        ("experts of each layer", f"{experts_before:,}", f"{experts_after:,}"),
        ("parameters", f"{parameters_before:,}", f"{parameters_after:,}"),
    ]
    for name, before in outcome.before.items():
        after = outcome.after[name]
        rows.append((f"perplexity, {name}", f"{before.perplexity:.3f}", f"{after.perplexity:.3f}"))
        if before.bleu is not None and after.bleu is not None:
            rows.append((f"BLEU, {name}", f"{before.bleu:.2f}", f"{after.bleu:.2f}"))
    write_table(("", "before", "after"), rows)
