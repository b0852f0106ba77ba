"""A run of a server whose model waits until it is told to go on."""

from __future__ import annotations

from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.loading import ServedRun
from tests.inference.held_models import HeldModel


class HeldRun(HeldModel):
    """A model whose translations are the lines in capitals, and which waits for ``go`` in each step."""

    def served(self) -> ServedRun:
        """Return it as a run from English to French."""
        return ServedRun("held", [ServedDirection("en", "fr", "held")], self, 4)
