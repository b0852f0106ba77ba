"""COMET, a learned metric that is a package of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mtmoe.errors import UserError


def load_comet(model_name: str) -> Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], float]:
    """Return COMET, if it is installed: from source, translation and references to a score of the whole.

    Of several references each is taken by itself, and the mean over them is the score.

    Args:
        model_name: such as ``Unbabel/wmt22-comet-da``, or the path of a checkpoint; it is fetched if need be.

    Raises:
        UserError: the package unbabel-comet is not installed, or there is no such model.
    """
    try:
        import comet
        import torch
    except ImportError as error:
        raise UserError(
            f"COMET cannot be imported: {error}", fix="it is a package of its own: pip install unbabel-comet"
        ) from None
    try:
        path = model_name if Path(model_name).is_file() else comet.download_model(model_name)
        model = comet.load_from_checkpoint(path)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"the COMET model {model_name} cannot be loaded: {error}",
            fix="give a name such as Unbabel/wmt22-comet-da, or the path of a checkpoint",
        ) from None

    def score(source: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        scores = []
        for reference in references:
            rows = zip(source, hypotheses, reference, strict=True)
            data = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in rows]
            scores.append(float(model.predict(data, gpus=int(torch.cuda.is_available())).system_score))
        return sum(scores) / len(scores)

    return score
