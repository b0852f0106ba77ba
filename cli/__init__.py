"""The command line, installed as ``mtmoe.cli``: one file per command.

Commands parse and show; the library works. They import torch and its like inside the command, so that
``mtmoe --help`` is instant. Standard output is data, standard error is talk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .entry import run

if TYPE_CHECKING:
    from .group import main

__all__ = ["main", "run"]


def __getattr__(name: str) -> Any:
    """Return ``main``, the group of all commands; it is imported here, so that signals have their handlers first."""
    if name == "main":
        from .group import main

        return main
    raise AttributeError(name)
