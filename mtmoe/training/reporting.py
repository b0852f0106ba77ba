"""What training tells whoever started it. The library calls, the command line shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Reporter(Protocol):
    """Receives events of a training run; none of its methods may change the run."""

    def started(self, info: Mapping[str, Any]) -> None:
        """Once, before the first step: step, max_steps, task, parameters, device, threads, num_train_pairs, ..."""

    def advanced(self, step: int) -> None:
        """After every step; must be cheap."""

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Every ``log_every_steps``: what goes into metrics.jsonl, with the keys of ``window.Window.metrics``."""

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """After a validation: step, loss, perplexity, bleu (with its signature), best."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint is complete."""

    def warning(self, text: str) -> None:
        """Something that a user should look at; training goes on."""

    def finished(self, reason: str) -> None:
        """Once, at the end."""


class SilentReporter:
    """Tells nothing to nobody; a base for reporters that listen to some events."""

    def started(self, info: Mapping[str, Any]) -> None: ...

    def advanced(self, step: int) -> None: ...

    def step(self, metrics: Mapping[str, Any]) -> None: ...

    def validated(self, metrics: Mapping[str, Any]) -> None: ...

    def saved(self, step: int, path: Path) -> None: ...

    def warning(self, text: str) -> None: ...

    def finished(self, reason: str) -> None: ...
