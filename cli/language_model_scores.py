"""Scores of a language model, for ``mtmoe score``: of a text, with what is learned or remembered of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.errors import UserError

from .console import note, number_or_null, shown_progress, write_data, write_json
from .lines import read_lines

if TYPE_CHECKING:
    from mtmoe.checkpoint import LoadedLanguageModel
    from mtmoe.config.settings import Scoring
    from mtmoe.inference.scoring.dynamic_evaluation import RootMeanSquares


def score_language_model(
    run: Path,
    text: Path,
    overrides: tuple[str, ...],
    dev_text: Path | None,
    data_dir: Path | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Write the scores of the lines of a text, and tell its perplexity.

    Raises:
        UserError: the model, the text or a setting cannot be used.
        click.UsageError: an option does nothing.
    """
    from mtmoe.checkpoint import load_language_model, open_model
    from mtmoe.device import choose_device
    from mtmoe.inference.scoring.language_model_scoring import score_text, total

    _check_scoring(overrides)
    recipe = open_model(run).recipe(overrides)
    if dev_text is not None and recipe.scoring == type(recipe.scoring)():
        recipe = open_model(run).recipe((*overrides, "scoring.dynamic={}", "scoring.cache={}"))
    if data_dir is not None and recipe.scoring.dynamic is None:
        raise click.UsageError(f"--data {data_dir} does nothing: scoring.dynamic is not set")
    lines = read_lines(text)
    dev_lines = read_lines(dev_text) if dev_text is not None else []
    loaded = load_language_model(run, checkpoint, choose_device(device))._replace(recipe=recipe)
    usual = _usual_gradients(loaded, run, data_dir)
    if dev_text is not None:
        loaded = _tuned(loaded, dev_lines, usual)
    scores = []
    with shown_progress(beside_output=not as_json) as progress:
        for scored in score_text(loaded, lines, progress, usual):
            scores.append(scored)
            if not as_json:
                write_data(f"{scored.log_probability:.6f}\n")
    if not scores:
        raise UserError(f"{text}: has no line to score", fix="give a text of at least one line")
    sums = total(scores)
    if math.isnan(sums.log_probability) and recipe.scoring.dynamic is not None:
        raise UserError(
            f"{text}: the weights are not finite any more: scoring.dynamic.learning_rate = "
            f"{recipe.scoring.dynamic.learning_rate:g} is too high",
            fix="lower it, or let --tune-on choose it on a dev text",
        )
    if as_json:
        totals: dict[str, Any] = sums._asdict()
        perplexities = {
            "perplexity_per_word": number_or_null(sums.per_word),
            "perplexity_per_token": number_or_null(sums.per_token),
        }
        memory = loaded.recipe.scoring.model_dump(exclude_none=True)
        write_json({**totals, **perplexities, "scoring": memory, "lines": [scored._asdict() for scored in scores]})
        return
    note(
        f"log-probability {sums.log_probability:.3f}; "
        f"{sums.num_words:,} words, perplexity {sums.per_word:.4f} per word; "
        f"{sums.num_tokens:,} tokens, perplexity {sums.per_token:.4f} per token; {sums.num_unknown:,} unknown"
    )


def _check_scoring(overrides: tuple[str, ...]) -> None:
    for override in overrides:
        if not override.strip().startswith("scoring."):
            raise click.UsageError(
                f"--set {override}: the model is trained, so that only its scoring can change, such as "
                "--set scoring.cache.weight=0.2"
            )


def _usual_gradients(loaded: LoadedLanguageModel, run: Path, data_dir: Path | None) -> RootMeanSquares | None:
    """Return how large the gradients on the training text are, if scoring needs it."""
    settings = loaded.recipe.scoring.dynamic
    if settings is None:
        return None
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.inference.scoring.dynamic_evaluation import root_mean_squares, training_text

    corpus = training_text(loaded, data_dir or run_data(run))
    with shown_progress() as progress:
        return root_mean_squares(loaded.model, corpus, settings, progress)


def _tuned(loaded: LoadedLanguageModel, dev_lines: list[str], usual: RootMeanSquares | None) -> LoadedLanguageModel:
    """Return the model with the settings of scoring that suit the dev text best; tell all that are tried."""
    from mtmoe.inference.scoring.memory_tuning import Trial, tuned_scoring

    def shown(settings: Scoring) -> str:
        tables = settings.model_dump(exclude_none=True)
        keys = {"dynamic": ("learning_rate", "decay"), "cache": ("theta", "weight")}
        return " ".join(f"scoring.{table}.{key}={tables[table][key]:g}" for table in tables for key in keys[table])

    def tried(trial: Trial) -> None:
        note(f"dev text: perplexity {trial.perplexity:.4f} per token  {shown(trial.scoring)}".rstrip())

    scoring = tuned_scoring(loaded, dev_lines, loaded.recipe.scoring, usual, tried)
    note(f"chosen: {' '.join(f'--set {setting}' for setting in shown(scoring).split())}")
    return loaded._replace(recipe=loaded.recipe.model_copy(update={"scoring": scoring}))
