"""Back pointers: how active hypotheses came from those of the step before, to read off finished ones.

Letters: X active hypotheses, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.inference.search.finished_hypotheses import FinishedHypothesis


class Step(NamedTuple):
    """The hypotheses that go on after a step: which row each extends, by which word, at which log-probability; and what
    the rows before attended to. Lists, which are read element by element in a tenth of the time of arrays."""

    parents_X: list[int]
    tokens_X: list[int]
    log_probabilities_X: list[float]
    attention_XS: Tensor | None


class Path(NamedTuple):
    """A finished hypothesis word by word. rows: where it stood at each step, the last step first."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    """Of each word, then of EOS."""
    rows: list[int]


class BackPointers:
    """The steps that active hypotheses still need."""

    def __init__(self) -> None:
        self._steps: dict[int, Step] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def record(self, number: int, step: Step) -> None:
        """Keep a step; numbers ascend."""
        self._steps[number] = step

    def forget_before(self, first: int) -> None:
        """Drop the steps that no active sentence needs any more."""
        while (oldest := next(iter(self._steps), first)) < first:
            del self._steps[oldest]

    def path(self, finished: FinishedHypothesis) -> Path:
        """Follow a finished hypothesis back to its beginning."""
        ids: list[int] = []
        log_probabilities = [finished.eos_log_probability]
        rows = [finished.row]
        for number in range(finished.step - 1, finished.step - finished.num_tokens, -1):
            step, row = self._steps[number], rows[-1]
            ids.append(step.tokens_X[row])
            log_probabilities.append(step.log_probabilities_X[row])
            rows.append(step.parents_X[row])
        return Path(tuple(reversed(ids)), tuple(reversed(log_probabilities)), rows)

    def attention(self, last_step: int, rows: Sequence[int], source_length: int) -> Tensor:
        """Return the attention [T, S] of a path, float32 on the CPU.

        Args:
            rows: of the path, the last step first.
            source_length: S, EOS counted.
        """
        parts = []
        for number, row in enumerate(reversed(rows), start=last_step - len(rows) + 1):
            attention_XS = self._steps[number].attention_XS
            assert attention_XS is not None
            parts.append(attention_XS[row, :source_length])
        return torch.stack(parts).float().cpu()
