"""Models for the engine: functions that translate lines, and one that waits until it is told to go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation

Translate = Callable[[Sequence[Request], Wanted], list[Translation]]


class AtOnce:
    """A model whose searches are done with all of their lines in one step, by a function."""

    def __init__(self, function: Translate) -> None:
        self.function = function

    def open(self, wanted: Wanted) -> _Running:
        return _Running(self)

    def translate(self, lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        return self.function(lines, wanted)


class _Running:
    def __init__(self, model: AtOnce) -> None:
        self._model = model
        self._lines: dict[int, tuple[Request, Wanted]] = {}

    @property
    def num_lines(self) -> int:
        return len(self._lines)

    def add(self, number: int, request: Request, wanted: Wanted) -> None:
        self._lines[number] = request, wanted

    def drop(self, number: int) -> None:
        del self._lines[number]

    def step(self) -> list[tuple[int, Translation]]:
        lines, self._lines = self._lines, {}
        _, wanted = next(iter(lines.values()))
        found = self._model.translate([request for request, _ in lines.values()], wanted)
        return list(zip(lines, found, strict=True))


class HeldModel(AtOnce):
    """A model whose translations are the lines in capitals, and which waits for ``go`` in each step."""

    def __init__(self) -> None:
        super().__init__(self._translated)
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def _translated(self, lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        self.batches.append([line.text for line in lines])
        self.begun.release()
        assert self.go.acquire(timeout=20)
        return [Translation(line.text.upper()) for line in lines]
