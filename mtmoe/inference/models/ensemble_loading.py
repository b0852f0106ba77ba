"""Ensemble loading: from run directories and packages to what translates and scores, one run or several together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import Checkpoint, LoadedRun, ModelSource, load_model, open_model
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
    run: str | Path | ModelSource,
    others: Sequence[Member],
    checkpoint: str = "best",
    device: str | torch.device = "cpu",
) -> LoadedRun | LoadedEnsemble:
    """Load a run as :func:`mtmoe.checkpoint.load_model` does; with others an ensemble.

    Args:
        checkpoint: of every run.

    Raises:
        UserError: as ``load_model``; two runs have different subwords (both are named); a weight is not above 0.
    """
    source, sources = open_model(run), [open_model(other.run) for other in others]
    _check_members(source, sources)
    first = load_model(source, checkpoint, device)
    if not others:
        return first
    models = [first.model, *(load_model(other, checkpoint, device).model for other in sources)]
    ensemble = Ensemble(models, [1.0, *(other.weight for other in others)]).eval()
    return LoadedEnsemble(first.recipe, first.subwords, ensemble, first.checkpoint)


def _check_members(first: ModelSource, others: Sequence[ModelSource]) -> None:
    subwords = first.read(first.vocabulary_name) if others else None
    for other in others:
        if other.read(other.vocabulary_name) != subwords:
            raise UserError(
                f"{other.path} has other subwords than {first.path}, so they cannot translate together",
                fix="train both on the same data directory: mtmoe train RECIPE RUN --data DATA",
            )
