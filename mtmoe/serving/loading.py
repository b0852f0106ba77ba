"""Loading: the runs of a server, and how the engine translates with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint import open_model
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.serving.directions import Directions, ServedDirection, directions_of_run
from mtmoe.serving.engine import Translate, Wanted

_WARM_UP = "1 2 3."


class ServedRun(NamedTuple):
    """A run that is served. most_alternatives: that its search finds beside the best translation."""

    name: str
    directions: Sequence[ServedDirection]
    translate: Translate
    most_alternatives: int


def directions_of(paths: Sequence[Path]) -> Directions:
    """Return the directions of runs, without their models.

    Raises:
        UserError: no run, a language model, or two runs of the same direction.
    """
    return Directions([direction for path in paths for direction in _directions_of(path)])


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
    translator = Translator(path, device=device, checkpoint=checkpoint, overrides=overrides)

    def translate(lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        return translator.translate(
            lines, wanted.num_best, with_alignment=wanted.with_alignment, with_scores=wanted.with_scores
        )

    translator.translate([f"{directions[0].token} {_WARM_UP}".strip()], with_alignment=True)
    return ServedRun(str(path), directions, translate, translator.decoding.beam_size - 1)
