"""The command line, installed as ``mtmoe.cli``: one file per command.

Commands parse and show; the library works. They import torch and its like inside the command, so that
``mtmoe --help`` is instant. Standard output is data, standard error is talk.
"""

from .group import main

__all__ = ["main"]
