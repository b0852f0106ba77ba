"""Ensemble loading: from run directories to what translates and scores, one run or several together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import Checkpoint, LoadedRun, load_model, open_run
from mtmoe.config import Recipe
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.requests import Member


class LoadedEnsemble(NamedTuple):
    """Several runs as one: recipe, subwords and checkpoint are those of the first."""

    recipe: Recipe
    subwords: SubwordModel
    model: Ensemble
    checkpoint: Checkpoint


def load_together(
    run: str | Path, others: Sequence[Member], checkpoint: str = "best", device: str | torch.device = "cpu"
) -> LoadedRun | LoadedEnsemble:
    """Load a run as :func:`mtmoe.checkpoint.load_model` does; with others an ensemble.

    Args:
        checkpoint: of every run.

    Raises:
        UserError: as ``load_model``; two runs have different subwords (both are named); a weight is not above 0.
    """
    _check_members(Path(run), others)
    first = load_model(run, checkpoint, device)
    if not others:
        return first
    models = [first.model, *(load_model(other.run, checkpoint, device).model for other in others)]
    ensemble = Ensemble(models, [1.0, *(other.weight for other in others)]).eval()
    return LoadedEnsemble(first.recipe, first.subwords, ensemble, first.checkpoint)


def _check_members(run: Path, others: Sequence[Member]) -> None:
    for other in others:
        if open_run(run).subwords.read_bytes() != open_run(other.run).subwords.read_bytes():
            raise UserError(
                f"{other.run} has other subwords than {run}, so they cannot translate together",
                fix="train both on the same data directory: mtmoe train RECIPE RUN --data DATA",
            )
