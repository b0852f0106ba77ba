"""Search models: a loaded model as the search computes with it, in ``decoding.precision``."""

from __future__ import annotations

from typing import Any

from mtmoe.errors import UserError
from mtmoe.inference.compiled.compiled_model import CompiledModel, can_compile
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.models.inference_precision import prepare_for_search
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.model.translation import TranslationModel


def is_compiled(model: TranslationModel | Ensemble, precision: str) -> bool:
    """Return whether :func:`search_model_of` gives the compiled form of a model."""
    members = model.models if isinstance(model, Ensemble) else [model]
    return precision in ("fp32", "int8") and all(map(can_compile, members))


def search_model_of(
    model: TranslationModel | Ensemble, precision: str, *, with_shortlist: bool = False
) -> SearchModel[Any, Any]:
    """Return what to search with: the compiled form of a model, in fp32 and int8, where the library can compute it;
    else the model, whose weights are then converted in place.

    Args:
        with_shortlist: no product with the whole vocabulary will be asked for.

    Raises:
        UserError: int8, and the model is not on a CPU; or it has nothing to multiply in int8.
    """
    if is_compiled(model, precision):
        members = model.models if isinstance(model, Ensemble) else [model]
        compiled = [CompiledModel(one, in_int8=precision == "int8") for one in members if can_compile(one)]
        return Ensemble(compiled, model.weights) if isinstance(model, Ensemble) else compiled[0]
    if precision == "int8" and with_shortlist:
        raise UserError(
            "decoding.precision = int8 with a shortlist needs the compiled search, which cannot compute this model or "
            "is not installed; without it int8 is of products with the whole vocabulary, which there are none of",
            fix="--set decoding.shortlist=false, or decoding.precision=bf16-int8",
        )
    prepare_for_search(model, precision, with_shortlist=with_shortlist)
    return model
