"""Loading: the runs of a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint import open_model
from mtmoe.inference.continuous_translation import LoadedModel
from mtmoe.inference.engine import Model
from mtmoe.inference.translator import Translator
from mtmoe.serving.directions import Directions, ServedDirection, directions_of_run

_WARM_UP = "1 2 3."
_SHARE_OF_GLOSSARY_TERMS = 0.5
"""How likely a term is copied where all of the attention is on it, if the run does not say: of the shares in
docs/benchmarks/search_features.md the one with the most terms that costs no BLEU."""


class ServedRun(NamedTuple):
    """A run that is served. most_alternatives: that its search finds beside the best translation. is_on_cpu: whether it
    computes on the processor."""

    name: str
    directions: Sequence[ServedDirection]
    model: Model
    most_alternatives: int
    is_on_cpu: bool = True


def directions_of(paths: Sequence[Path], pivot: str | None = None) -> Directions:
    """Return the directions of runs, without their models; ``pivot``: as for :class:`Directions`.

    Raises:
        UserError: no run, a language model, two runs of the same direction, or a pivot that serves nothing.
    """
    return Directions([direction for path in paths for direction in _directions_of(path)], pivot)


def _directions_of(path: Path) -> list[ServedDirection]:
    return list(directions_of_run(str(path), open_model(path).recipe().data))


def load_run(
    path: Path, *, device: str | None = None, checkpoint: str = "best", overrides: Iterable[str] = ()
) -> ServedRun:
    """Load a run, and translate something, so that the first request finds everything in memory.

    Raises:
        UserError: as :class:`mtmoe.Translator`; or a language model.
    """
    directions = _directions_of(path)
    translator = Translator(
        path, device=device, checkpoint=checkpoint, overrides=overrides, soft_terms=_SHARE_OF_GLOSSARY_TERMS
    )
    translator.translate([f"{directions[0].token} {_WARM_UP}".strip()], with_alignment=True)
    return ServedRun(
        str(path), directions, LoadedModel(translator), translator.decoding.beam_size - 1, translator.is_on_cpu
    )
