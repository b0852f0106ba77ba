"""Model loading: a run's recipe, vocabulary and weights as a model for inference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.checkpoint.reading import find_checkpoints, mean_weights
from mtmoe.checkpoint.run_files import Checkpoint, check_file, load_run_recipe, open_run
from mtmoe.config import Recipe
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.errors import UserError
from mtmoe.model.building import Network, build_model
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel


class LoadedRun(NamedTuple):
    """A trained model ready for inference: float32, in evaluation mode, on its device.

    ``checkpoint``: of the mean of several, the newest.
    """

    recipe: Recipe
    subwords: SubwordModel
    model: TranslationModel
    checkpoint: Checkpoint


class LoadedLanguageModel(NamedTuple):
    """A trained language model ready for inference: float32, in evaluation mode, on its device."""

    recipe: Recipe
    vocabulary: Vocabulary
    model: LanguageModel
    checkpoint: Checkpoint


def load_model(directory: str | Path, checkpoint: str = "best", device: str | torch.device = "cpu") -> LoadedRun:
    """Load a run's translation model for inference.

    Raises:
        UserError: not a run, a language model's run, no such checkpoint, or a damaged one.
    """
    recipe, vocabulary, model, chosen = _loaded(directory, checkpoint, device)
    if not isinstance(model, TranslationModel) or not isinstance(vocabulary, SubwordModel):
        raise UserError(
            f'{directory}: is a run of task = "{recipe.task}", which translates nothing',
            fix=f"score text with it: mtmoe score {shlex.quote(str(directory))} TEXT",
        )
    return LoadedRun(recipe, vocabulary, model, chosen)


def load_language_model(
    directory: str | Path, checkpoint: str = "best", device: str | torch.device = "cpu"
) -> LoadedLanguageModel:
    """Load a run's language model for inference.

    Raises:
        UserError: as :func:`load_model`, and for the run of a translation model.
    """
    recipe, vocabulary, model, chosen = _loaded(directory, checkpoint, device)
    if not isinstance(model, LanguageModel):
        raise UserError(f'{directory}: is a run of task = "{recipe.task}", not a language model')
    return LoadedLanguageModel(recipe, vocabulary, model, chosen)


def _loaded(
    directory: str | Path, checkpoint: str, device: str | torch.device
) -> tuple[Recipe, Vocabulary, Network, Checkpoint]:
    run = open_run(Path(directory))
    recipe = load_run_recipe(run)
    chosen = find_checkpoints(run, checkpoint)
    vocabulary = load_vocabulary(check_file(run, run.subwords))
    model = build_model(recipe, vocabulary.size)
    load_weights(model, mean_weights(chosen), chosen[-1].path)
    return recipe, vocabulary, model.to(device).eval(), chosen[-1]


def load_weights(model: Network, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into the model by name; names and shapes must agree exactly."""
    own = dict(model.named_parameters())
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or unknown:
        raise UserError(
            f"{where}: does not fit the recipe: missing {missing[:3]}, unknown {unknown[:3]}",
            fix="the checkpoint and recipe.toml of a run belong together",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise UserError(
                    f"{where}: {name} has shape {list(weights[name].shape)}, the recipe wants {list(parameter.shape)}"
                )
            parameter.copy_(weights[name])
