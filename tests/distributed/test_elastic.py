"""torchrun starts workers anew, and the job goes on as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mtmoe.checkpoint import RunFiles, belongs_to_launch, list_checkpoints, save_launch
from mtmoe.config import Recipe
from mtmoe.distributed.launch import launch_name
from tests.distributed.processes.elastic import (
    assert_same_bits,
    environment,
    job,
    num_batches,
    prepared_place,
    sentences_of_corpus,
    sentences_of_epoch,
    train,
    train_in_another_job,
)
from tests.distributed.processes.elastic_worker import KILLED, KILLED_IN_SAVE, STOPPED, read_notes
from tests.distributed.processes.group import run_group

NUM_STEPS = 26  # a little more than an epoch


def torchrun(place: Path, fates: Sequence[Sequence[object]]) -> subprocess.CompletedProcess[str]:
    """Run a job to its end, and what befalls its workers on the way."""
    command = job(place, fates)
    return subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment(), check=False)


def steps_saved(run: Path) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(RunFiles(run))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """A place with a recipe, its data, and in PLACE/whole what two processes have trained undisturbed."""
    place = tmp_path_factory.mktemp("elastic")
    return place, prepared_place(place, max_steps=NUM_STEPS, batch_tokens=512, keep_last=20)


def test_workers_that_are_killed_also_in_a_save_or_stopped_lose_nothing_of_the_run(whole):
    place, recipe = whole
    fates = [[0, 1, 7, KILLED], [1, 0, 9, KILLED_IN_SAVE], [2, 1, 15, STOPPED]]
    stopped = torchrun(place, fates)
    assert stopped.stderr.count("which this torchrun job trains") == 2, stopped.stderr
    assert "stopped after step 15, which is saved" in stopped.stderr
    assert steps_saved(place / "run")[-1] == 15
    notes = read_notes(place / "notes")
    # One was killed in step 7, when 6 may have been saved, for it was measured. The other was killed in the first save
    # that was being written at step 9 or later: mostly that of 12, that of 8 where the disk is slow.
    first = [min(note.step for note in notes if note.restarts == restarts) for restarts in (0, 1, 2)]
    assert first[:2] in ([1, 5], [1, 7])
    assert first[2] in (7, 9)

    refused = run_group(2, train_in_another_job, recipe, place, False)
    assert "holds a run already" in refused[0], "another job must not go on with it by itself"
    assert steps_saved(place / "run")[-1] == 15

    assert run_group(2, train_in_another_job, recipe, place, True) == ["", ""]
    assert_same_bits(place / "whole", place / "run", NUM_STEPS)
    batches = num_batches(recipe, place / "data")
    assert 15 < batches < NUM_STEPS
    assert sentences_of_epoch(read_notes(place / "whole-notes"), batches) == sentences_of_corpus(place / "data")


def test_with_other_numbers_of_processes_an_epoch_has_every_sentence_once(whole, tmp_path):
    place, recipe = whole
    data, run = place / "data", tmp_path / "run"
    run_group(2, train, recipe, run, data, tmp_path, False, 9)
    run_group(3, train, recipe, run, data, tmp_path, True, 15)
    run_group(1, train, recipe, run, data, tmp_path, True)
    notes = read_notes(tmp_path)
    ranks = {step: {note.rank for note in notes if note.step == step} for step in (9, 10, 15, 16)}
    assert ranks == {9: {0, 1}, 10: {0, 1, 2}, 15: {0, 1, 2}, 16: {0}}
    assert sentences_of_epoch(notes, num_batches(recipe, data)) == sentences_of_corpus(data)


def test_a_job_is_known_by_its_id_and_without_one_by_its_torchrun(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launch_name() == ""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-17")
    assert launch_name() == "job-17"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert f" {os.getppid()} " in launch_name()
    assert launch_name() == launch_name()


def test_a_run_belongs_to_the_job_that_has_trained_it_last(tmp_path):
    run = RunFiles(tmp_path)
    save_launch(run, "job-17")
    assert not belongs_to_launch(tmp_path, "job-17"), "it was killed before the run began"
    run.recipe.touch()
    assert belongs_to_launch(tmp_path, "job-17")
    assert not belongs_to_launch(tmp_path, "job-18")
    save_launch(run, "")
    assert not belongs_to_launch(tmp_path, ""), "a run that was begun without torchrun"
