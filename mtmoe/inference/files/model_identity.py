"""Identity of what translates: weights, decoding settings, terms, and the runs that help."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtmoe.inference.files.line_formats import JsonFormat

if TYPE_CHECKING:
    from mtmoe.inference.files.translation_options import TranslationOptions


def model_identity(options: TranslationOptions) -> dict[str, Any]:
    """Return everything that the lines written depend on besides their sources, as JSON can say it.

    Raises:
        UserError: no run, checkpoint or setting of that name; the settings do not suit the number of translations.
    """
    from mtmoe.inference.fast_decoding import FAST_DECODING_NAME
    from mtmoe.inference.scoring.confidence import CONFIDENCE_NAME
    from mtmoe.inference.search.search_options import SearchOptions
    from mtmoe.inference.translator import decoding_settings

    settings = decoding_settings(options.run, options.overrides)
    SearchOptions.from_settings(settings, num_best=options.num_best)  # an error now, before any output is touched
    decoding = settings.model_dump(mode="json")
    del decoding["batch_tokens"]  # the only one that no translation depends on
    identity = {**weights_identity(options.run, options.checkpoint), "decoding": decoding}
    if isinstance(options.format, JsonFormat) and (calibration := _digest(options.run, CONFIDENCE_NAME)):
        identity["confidence"] = calibration
    if settings.mode == "fast" and (fast := _digest(options.run, FAST_DECODING_NAME)):
        identity["fast decoding"] = fast
    if options.terms:
        identity["terms"] = options.terms.digest
    for name, run in (options.rescoring._asdict() if options.rescoring else {}).items():
        if run:
            identity[name] = weights_identity(Path(run), "best")
    for number, other in enumerate(options.ensemble, start=1):
        identity[f"with {number}"] = {**weights_identity(other.run, options.checkpoint), "weight": other.weight}
    return identity


def _digest(run: str | Path, name: str) -> str:
    """Return the SHA-256 of a file of a run or package; empty where it has none."""
    from mtmoe.checkpoint import open_model

    content = open_model(run).read(name)
    return "" if content is None else hashlib.sha256(content).hexdigest()


def weights_identity(run: str | Path, name: str) -> dict[str, Any]:
    """Return the names of the checkpoints that a name (``best``, ``last:2``) stands for, and the digests of their
    weights.

    Raises:
        UserError: no run or no checkpoint of that name.
    """
    from mtmoe.checkpoint import open_model

    source = open_model(run)
    found = source.checkpoints(name)
    return {
        "checkpoint": " ".join(checkpoint.name for checkpoint in found),
        "weights": " ".join(map(source.digest, found)),
    }
