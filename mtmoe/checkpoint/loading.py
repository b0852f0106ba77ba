"""Model loading: recipe, vocabulary and weights of a run or package as a model for inference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.checkpoint.model_source import ModelSource, open_model
from mtmoe.checkpoint.run_files import Checkpoint
from mtmoe.config import Recipe
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary
from mtmoe.errors import UserError
from mtmoe.model.building import Network, build_model, meta_model
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


def load_model(
    place: str | Path | ModelSource, checkpoint: str = "best", device: str | torch.device = "cpu"
) -> LoadedRun:
    """Load the translation model of a run directory or package for inference.

    Raises:
        UserError: neither of them, a language model's run, no such checkpoint, or a damaged one.
    """
    recipe, vocabulary, model, chosen = _loaded(open_model(place), checkpoint, device)
    if not isinstance(model, TranslationModel) or not isinstance(vocabulary, SubwordModel):
        raise UserError(
            f'{_named(place)}: is a run of task = "{recipe.task}", which translates nothing',
            fix=f"score text with it: mtmoe score {shlex.quote(str(_named(place)))} TEXT",
        )
    return LoadedRun(recipe, vocabulary, model, chosen)


def load_language_model(
    place: str | Path | ModelSource, checkpoint: str = "best", device: str | torch.device = "cpu"
) -> LoadedLanguageModel:
    """Load the language model of a run directory or package for inference.

    Raises:
        UserError: as :func:`load_model`, and for the run of a translation model.
    """
    recipe, vocabulary, model, chosen = _loaded(open_model(place), checkpoint, device)
    if not isinstance(model, LanguageModel):
        raise UserError(f'{_named(place)}: is a run of task = "{recipe.task}", not a language model')
    return LoadedLanguageModel(recipe, vocabulary, model, chosen)


def _named(place: str | Path | ModelSource) -> Path:
    return Path(place) if isinstance(place, str | Path) else place.path


def _loaded(
    source: ModelSource, checkpoint: str, device: str | torch.device
) -> tuple[Recipe, Vocabulary, Network, Checkpoint]:
    recipe = source.recipe()
    chosen = source.checkpoints(checkpoint)
    vocabulary = source.vocabulary()
    weights = source.weights(chosen)
    # Before memory is asked for as the recipe says, which may be of a package from anywhere.
    check_fits(meta_model(recipe, vocabulary.size), weights, chosen[-1].path)
    model = build_model(recipe, vocabulary.size)
    load_weights(model, weights, chosen[-1].path)
    return recipe, vocabulary, model.to(device).eval(), chosen[-1]


def load_weights(model: Network, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into the model by name.

    Raises:
        UserError: as :func:`check_fits`.
    """
    check_fits(model, weights, where)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def check_fits(model: Network, weights: Mapping[str, Tensor], where: Path) -> None:
    """Check that weights are those of a model, which may have shapes alone.

    Raises:
        UserError: names or shapes do not agree exactly.
    """
    own = dict(model.named_parameters())
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    fix = "weights and recipe.toml belong together: restore both from the same run or package"
    if missing or unknown:
        raise UserError(f"{where}: does not fit the recipe: missing {missing[:3]}, unknown {unknown[:3]}", fix=fix)
    for name, parameter in own.items():
        if parameter.shape != weights[name].shape:
            raise UserError(
                f"{where}: {name} has shape {list(weights[name].shape)}, the recipe wants {list(parameter.shape)}",
                fix=fix,
            )
