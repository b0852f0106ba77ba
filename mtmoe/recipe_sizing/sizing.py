"""Sizing of a recipe: the rules are asked, the machine is tried, and what is expected is reckoned."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.corpus_survey.survey import Survey
from mtmoe.errors import UserError
from mtmoe.evaluation.bleu_tokenisers import check_tokeniser
from mtmoe.languages import tokeniser_of
from mtmoe.progress import Progress, silent
from mtmoe.recipe_sizing import sizing_rules as rules
from mtmoe.recipe_sizing.machine_trial import Speed, Trial, possible_held_out
from mtmoe.recipe_sizing.recipe_settings import Choice
from mtmoe.recipe_sizing.start_choice import StartChoice

_PAIR_BYTES = 200
"""Of a pair while the text is divided: the tuple, its places in lists, its keys."""
_TRIAL_PAIRS_HELD_OUT = 100
_MINUTES_FOR_MEDIUM = 1.5
"""From here on the trial begins with a network of medium width, and if the rules then want another, tries that too."""
_MOST_MEASURED_SECONDS, _MEASURED_SHARE = 5.0, 0.01


class Expectation(NamedTuple):
    """What a training is expected to take. Seconds of preparing the text and of training; bytes of main memory, and
    of tensors on a GPU (0 without one)."""

    preparation_seconds: float
    training_seconds: float
    memory_bytes: int
    gpu_bytes: int


class Sizing(NamedTuple):
    """A sized recipe, and what was measured and is expected."""

    choice: Choice
    speed: Speed
    expected: Expectation


def size_recipe(
    survey: Survey,
    minutes: float,
    device: torch.device,
    folder: Path | None = None,
    *,
    start: StartChoice | None = None,
    progress: Progress = silent,
) -> Sizing:
    """Choose the settings for the surveyed text and so many minutes of training on this machine.

    Args:
        folder: where the trial may write; by default a temporary directory.
        start: the run that the training begins with, whose network is kept.

    Raises:
        UserError: the text is too small or too uniform to hold anything out of it.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="mtmoe-init-") as name:
        return _Sizer(survey, minutes, device, Path(name), start, progress).size()


class _Sizer:
    """The steps of one sizing."""

    def __init__(
        self,
        survey: Survey,
        minutes: float,
        device: torch.device,
        folder: Path,
        start: StartChoice | None,
        progress: Progress,
    ) -> None:
        self.survey, self.device, self.progress = survey, device, progress
        self.minutes, self.start = minutes, start
        self.kind: rules.Device = "cuda" if device.type == "cuda" else "cpu"
        self.trial = Trial(survey.sample, survey.languages, folder)
        self.is_whole_text = len(survey.sample) == survey.num_usable

    def size(self) -> Sizing:
        """Choose before the trial what the text decides, and after it what the speed decides."""
        held_out = self._held_out()
        choice = self._first_choice(*self._trial_held_out(*held_out))
        choice = self.trial.prepare(choice, self.progress)
        own_sets = self.survey.corpus.own_sets
        valid, test = (
            0 if part in own_sets else number for part, number in zip(("valid", "test"), held_out, strict=True)
        )
        num_pairs = float(self.survey.num_usable - valid - test)
        if self.start is not None:
            num_pairs += self.start.replay_weight * self.start.num_old_pairs
        text_tokens = num_pairs * self.trial.tokens_per_pair
        choice = choice._replace(batch_tokens=rules.batch_tokens(text_tokens, self.kind))
        speed = self._measured(choice)
        shape = rules.choose_shape(text_tokens, speed.tokens_per_second * 60 * self.minutes)
        if shape != choice.shape and self.start is None:
            choice = choice._replace(shape=shape)
            speed = self._measured(choice)
        steps = rules.choose_steps(60 * self.minutes, speed.seconds_per_step, text_tokens / speed.tokens_per_step)
        choice = choice._replace(valid_pairs=valid, test_pairs=test, steps=steps, dropout=rules.dropout(steps.epochs))
        return Sizing(choice, speed, self._expected(steps.seconds, speed))

    def _measured(self, choice: Choice) -> Speed:
        seconds = min(_MOST_MEASURED_SECONDS, _MEASURED_SHARE * 60 * self.minutes)
        return self.trial.measure(choice, self.device, seconds, self.progress)

    def _held_out(self) -> tuple[int, int]:
        wanted = rules.held_out_pairs(self.survey.num_usable)
        # Of more text than is at hand, a larger part can be held out than of the sample.
        return possible_held_out(self.survey.sample, *wanted) if self.is_whole_text else wanted

    def _trial_held_out(self, valid: int, test: int) -> tuple[int, int]:
        """Return what is held out of the sample: where that is the whole text, what will be held out of it."""
        if self.is_whole_text:
            return valid, test
        return possible_held_out(self.survey.sample, _TRIAL_PAIRS_HELD_OUT, _TRIAL_PAIRS_HELD_OUT)

    def _first_choice(self, valid: int, test: int) -> Choice:
        survey = self.survey
        usual_size = rules.vocabulary_size(survey.num_usable, 0, self.minutes, self.kind)
        coverage = rules.character_coverage(survey.alphabet.size, usual_size, is_whole_text=self.is_whole_text)
        num_characters = survey.alphabet.size if coverage == 1.0 else survey.alphabet.size_of_usual
        return Choice(
            valid_pairs=valid,
            test_pairs=test,
            vocabulary_size=rules.vocabulary_size(survey.num_usable, num_characters, self.minutes, self.kind),
            character_coverage=coverage,
            shape=rules.NARROW if self.minutes < _MINUTES_FOR_MEDIUM else rules.MEDIUM,
            dropout=rules.dropout(1.0),
            batch_tokens=0,
            steps=rules.choose_steps(60.0, 1.0, 60.0),
            max_characters=rules.longest_sentence(max(side.most for side in survey.lengths)),
            max_length_ratio=rules.largest_length_ratio(survey.length_ratio),
            bleu_tokeniser=installed_tokeniser(survey.languages.target),
            start=self.start,
        )._replace(batch_tokens=rules.batch_tokens(0.0, self.kind))

    def _expected(self, training_seconds: float, speed: Speed) -> Expectation:
        survey, on_gpu = self.survey, self.device.type == "cuda"
        sample = survey.sample[:1000]
        text = sum(sys.getsizeof(side) for pair in sample for side in pair) / len(sample)
        whole_text = int(survey.num_usable * (text + _PAIR_BYTES))
        return Expectation(
            preparation_seconds=self.trial.preparation_seconds * survey.num_usable / self.trial.num_pairs,
            training_seconds=training_seconds,
            memory_bytes=max(whole_text, 0 if on_gpu else speed.memory_bytes),
            gpu_bytes=speed.memory_bytes if on_gpu else 0,
        )


def installed_tokeniser(target_language: str) -> str:
    """Return ``char`` where the tokeniser that measures BLEU of a language is not installed, else nothing."""
    try:
        check_tokeniser(tokeniser_of(target_language))
    except UserError:
        return "char"
    return ""
