"""What a sized recipe takes over from a run that its training begins with (`mtmoe init --from RUN`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtmoe.checkpoint import load_run_recipe, open_run
from mtmoe.checkpoint.run_data import run_data
from mtmoe.config import Recipe
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.subwords.vocabularies import settings_to_take
from mtmoe.errors import UserError
from mtmoe.languages import same_language

_NUM_DIGITS = 2
_SHARE_OF_LEARNING_RATE = 0.2
"""Of the start run's, for text in the same languages: three times as much, and the old text was forgotten
(docs/benchmarks/starting_from_a_run.md)."""


class StartChoice(NamedTuple):
    """A start run, and what the recipe has of it.

    languages: from which into which the run translates.
    vocabulary: `training.start.vocabulary`.
    replay_weight: `data.replay.weight`; 0 without a replay.
    num_old_pairs: of the run's training text; 0 where that is gone.
    model, decoding: the run's settings; those as by default are left out, but for the network's size.
    subwords: settings that take the run's vocabulary.
    learning_rate: a fifth of the run's where its text is to be kept in mind.
    """

    run: str
    languages: LanguagePair
    vocabulary: Literal["same", "extended"]
    replay_weight: float
    num_old_pairs: int
    model: dict[str, Any]
    decoding: dict[str, Any]
    subwords: dict[str, Any]
    learning_rate: float


def choose_start(run: Path, languages: LanguagePair, num_pairs: int) -> StartChoice:
    """Return what a recipe for text in these languages takes over from a run.

    Between the same languages the subwords are the run's, and of its text as much is replayed as there is of the new
    one. With one language in common they are kept, and
    those of the other language are added.

    Args:
        num_pairs: of the new training text.

    Raises:
        UserError: it is no run, no translation model of two languages, or has no language in common with the text.
    """
    recipe = load_run_recipe(open_run(run))
    if recipe.data.monolingual or recipe.data.multilingual is not None:
        kind = "a language model" if recipe.data.monolingual else "a model of several directions"
        raise UserError(
            f"{run}: is {kind}, and init writes recipes for two languages",
            fix="leave --from out, or write a recipe with [training.start] by hand (docs/howto/fine-tuning.md)",
        )
    found = LanguagePair(recipe.data.source_language, recipe.data.target_language)
    shared = [same_language(old, new) for old, new in zip(found, languages, strict=True)]
    if not any(shared):
        raise UserError(
            f"{run}: translates {found.source} to {found.target}, and the text is {languages.source} to "
            f"{languages.target}: neither side is in the same language",
            fix="name a run that has one language in common, on the same side, or leave --from out",
        )
    num_old = _num_pairs(run) if all(shared) else 0
    weight = min(1.0, _rounded(num_pairs / num_old)) if num_old else 0.0
    return StartChoice(
        run=str(run.absolute()),
        languages=found,
        vocabulary="same" if all(shared) else "extended",
        replay_weight=weight,
        num_old_pairs=num_old,
        model=_model(recipe),
        decoding=_changed(recipe, "decoding"),
        subwords=settings_to_take(run),
        learning_rate=recipe.training.learning_rate * (_SHARE_OF_LEARNING_RATE if all(shared) else 1.0),
    )


def _num_pairs(run: Path) -> int:
    """Return the pairs of a run's training text; 0 where it is gone, for the weights alone can be started from."""
    try:
        return len(open_prepared(run_data(run)).train)
    except UserError:
        return 0


def _model(recipe: Recipe) -> dict[str, Any]:
    """Return the network's settings: its size, and what is not as by default."""
    size = {key: getattr(recipe.model, key) for key in ("width", "encoder_layers", "decoder_layers")}
    return size | _changed(recipe, "model")


def _rounded(share: float) -> float:
    """Return a share with two digits that count."""
    return float(f"{share:.{_NUM_DIGITS}g}")


def _changed(recipe: Recipe, table: str) -> dict[str, Any]:
    settings: dict[str, Any] = getattr(recipe, table).model_dump(mode="json", exclude_defaults=True)
    return settings
