"""Decoding tuning: which faster ways to translate with a run lose nothing that its dev set shows.

The ways are tried in order, from the recipe's own to the fastest. Taken is the fastest whose BLEU is at most
:data:`MOST_BLEU_LOST` below that of the recipe's own. What is taken does not depend on how busy the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint import load_model, open_model, open_run
from mtmoe.evaluation.quality import measure_quality
from mtmoe.inference.fast_decoding import (
    FastDecoding,
    FastSettings,
    TriedSettings,
    is_searched_plainly,
    save_fast_decoding,
    usable,
)
from mtmoe.inference.models.search_models import is_compiled
from mtmoe.inference.translator import Translator, decoding_settings
from mtmoe.languages import chosen_tokeniser
from mtmoe.progress import Progress, silent

FEWEST_LINES, MOST_LINES = 200, 500
"""Of a dev set: with fewer a tenth of BLEU says nothing; more tell hardly more."""
MOST_BLEU_LOST = 0.1
WAYS = (
    FastSettings(precision="int8"),
    FastSettings(precision="int8", early_stopping="best"),
    FastSettings(precision="int8", early_stopping="best", beam_margin=2.0),
    FastSettings(precision="int8", early_stopping="best", beam_margin=1.5),
)
"""From the slowest to the fastest."""


class Measured(NamedTuple):
    """A way to translate, the BLEU of the dev set, and sentences a second of wall-clock time here."""

    settings: FastSettings
    bleu: float
    sentences_per_second: float


class Tuning(NamedTuple):
    """What was measured, the recipe's own settings first, and what is kept in the run."""

    measured: tuple[Measured, ...]
    kept: FastDecoding


def tune_decoding(
    run: str | Path,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    checkpoint: str = "best",
    progress: Progress = silent,
) -> Tuning | None:
    """Try the ways on a dev set, and keep what is chosen in the run.

    Args:
        run: a run directory.
        sources: lines of the dev set, of which :data:`MOST_LINES` from all over it are translated.
        references: their translations.
        checkpoint: that translates it.

    Returns:
        None, and nothing is kept, where there is nothing to choose: the dev set is too small, the recipe has no plain
        beam search, or has all of these settings itself.

    Raises:
        UserError: as a translator does.
    """
    source = open_model(run)
    own = decoding_settings(source)
    places = _spread(len(sources), MOST_LINES)
    lines, references = [sources[place] for place in places], [references[place] for place in places]
    if len(lines) < FEWEST_LINES or not is_searched_plainly(own):
        return None
    compiles = is_compiled(load_model(source, checkpoint, "cpu").model, own.precision)
    ways = list(dict.fromkeys(usable(way, own, is_compiled=compiles) for way in WAYS))
    ways = [way for way in ways if way.chosen()]
    if not ways:
        return None
    recipe = source.recipe()
    tokeniser = chosen_tokeniser(recipe.training.validation.bleu_tokeniser, recipe.data.target_language)
    measured: list[Measured] = []
    name = ""
    for way in (FastSettings(), *ways):
        overrides = ["decoding.mode=exact", *(f"decoding.{key}={value}" for key, value in way.chosen().items())]
        translator = Translator(source, device="cpu", checkpoint=checkpoint, overrides=overrides)
        name = translator.loaded.checkpoint.name
        began = time.perf_counter()
        translations = translator.translate(lines, with_scores=False, progress=progress)
        seconds = time.perf_counter() - began
        quality = measure_quality([one.text for one in translations], [references], tokeniser=tokeniser)
        measured.append(Measured(way, quality.bleu, len(lines) / seconds))
    kept = FastDecoding(
        checkpoint=name,
        num_lines=len(lines),
        tried=tuple(TriedSettings(settings=one.settings, bleu=round(one.bleu, 2)) for one in measured),
        settings=_chosen(measured),
    )
    save_fast_decoding(open_run(Path(run)), kept)
    return Tuning(tuple(measured), kept)


def _chosen(measured: Sequence[Measured]) -> FastSettings:
    enough = measured[0].bleu - MOST_BLEU_LOST
    return next(one.settings for one in reversed(measured) if one.bleu >= enough)


def _spread(num_lines: int, most: int) -> list[int]:
    """Return places all over a text, ascending."""
    return [place * num_lines // most for place in range(most)] if num_lines > most else list(range(num_lines))
