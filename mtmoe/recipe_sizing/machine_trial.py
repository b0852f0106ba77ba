"""A trial of a recipe on this machine: a sample of the text is prepared and trained on for some seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtmoe.benchmark.machine import peak_bytes
from mtmoe.benchmark.training_speed import run_benchmark
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.cleaning.held_out_split import split_by_components
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.data.subwords.sentencepiece_model import VocabularySizeError
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.recipe_sizing.recipe_settings import Choice, trial_settings
from mtmoe.recipe_sizing.sizing_rules import LEAST_HELD_OUT, smaller_vocabulary
from mtmoe.system.cpu_cores import num_cores

_MOST_TRIES = 5


class Speed(NamedTuple):
    """What a trial measured.

    memory_bytes: the most that the process has had so far; on a GPU, tensors there.
    """

    seconds_per_step: float
    tokens_per_step: float
    tokens_per_second: float
    memory_bytes: int
    precision: str
    num_threads: int
    hardware: str
    num_parameters: int


class Trial:
    """A sample of the text in a folder of its own, prepared once, for several recipes of one vocabulary."""

    def __init__(self, sample: Sequence[Pair], languages: Sequence[str], folder: Path) -> None:
        """Write the sample into the folder."""
        self.num_pairs = len(sample)
        self.preparation_seconds = 0.0
        self.tokens_per_pair = 0.0
        self._data_dir = folder / "data"
        self._languages = languages
        self._files = []
        for side, name in enumerate(("source", "target")):
            path = folder / name
            path.write_text("".join(f"{pair[side]}\n" for pair in sample), encoding="utf-8", newline="\n")
            self._files.append(path)

    def prepare(self, choice: Choice, progress: Progress = silent) -> Choice:
        """Prepare the sample; return the choice with a vocabulary that can be learned from it.

        Raises:
            UserError: none can.
        """
        for _ in range(_MOST_TRIES):
            began = time.monotonic()
            try:
                prepared = prepare(
                    self._recipe(choice), self._data_dir, Path(), num_workers=num_cores(), progress=progress
                ).prepared
            except VocabularySizeError as error:
                is_too_large = error.nearest < choice.vocabulary_size
                size = smaller_vocabulary(error.nearest) if is_too_large else error.nearest + 100
                choice = choice._replace(vocabulary_size=size)
                continue
            self.preparation_seconds = time.monotonic() - began
            self.tokens_per_pair = prepared.train.num_target_tokens / len(prepared.train)
            return choice
        raise UserError(
            f"no vocabulary can be learned from {self.num_pairs:,} pairs of this text", fix="name a file with more text"
        )

    def measure(self, choice: Choice, device: torch.device, seconds: float, progress: Progress = silent) -> Speed:
        """Train on the sample for so many seconds, after some steps of warming up."""
        result = run_benchmark(self._recipe(choice), self._data_dir, device=device, seconds=seconds, progress=progress)
        return Speed(
            seconds_per_step=result.seconds / result.num_steps,
            tokens_per_step=result.target_tokens_per_step,
            tokens_per_second=result.target_tokens_per_second,
            memory_bytes=peak_bytes(device),
            precision=result.precision,
            num_threads=result.num_threads,
            hardware=result.hardware,
            num_parameters=result.num_parameters,
        )

    def _recipe(self, choice: Choice) -> Recipe:
        files = {
            f"{side}_file": {"path": str(path)} for side, path in zip(("source", "target"), self._files, strict=True)
        }
        data: dict[str, Any] = {
            "source_language": self._languages[0],
            "target_language": self._languages[1],
            "train": [{"name": "sample", "format": "text", **files}],
            "valid": "split",
            "test": "split",
        }
        return recipe_from_dict(trial_settings(data, choice), Path("trial"))


def possible_held_out(sample: Sequence[Pair], num_valid: int, num_test: int) -> tuple[int, int]:
    """Return how many pairs can be held out of these, at most as many as wanted.

    Where many sentences stand in several pairs, whole groups stay in the training text.

    Raises:
        UserError: not even ten of each.
    """
    while True:
        try:
            split_by_components(list(sample), num_valid, num_test, seed=1)
        except UserError:
            if max(num_valid, num_test) <= LEAST_HELD_OUT:
                raise UserError(
                    f"of {len(sample):,} pairs not even {LEAST_HELD_OUT} could be held out as a test set: nearly "
                    "all share a sentence with many others",
                    fix="name a file with more different sentences",
                ) from None
            num_valid, num_test = (max(number // 2, LEAST_HELD_OUT) for number in (num_valid, num_test))
        else:
            return num_valid, num_test
