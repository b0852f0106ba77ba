"""mtmoe: machine translation with LSTM and sparsely-gated mixture-of-experts models.

The whole public Python interface::

    recipe = mtmoe.load_recipe("demo")
    translator = mtmoe.Translator("runs/demo")
    translator.translate(["Where is the station?"])

Importing this package imports neither torch nor any other heavy package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtmoe.config import Recipe, load_recipe
    from mtmoe.errors import UserError
    from mtmoe.inference.requests import Request
    from mtmoe.inference.scoring.rescoring import OtherRuns
    from mtmoe.inference.translator import Translation, Translator

__version__ = "0.1.0"
__all__ = ["OtherRuns", "Recipe", "Request", "Translation", "Translator", "UserError", "__version__", "load_recipe"]

_HOMES = {
    "Recipe": "mtmoe.config",
    "load_recipe": "mtmoe.config",
    "OtherRuns": "mtmoe.inference.scoring.rescoring",
    "Request": "mtmoe.inference.requests",
    "UserError": "mtmoe.errors",
    "Translation": "mtmoe.inference.translator",
    "Translator": "mtmoe.inference.translator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mtmoe' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
