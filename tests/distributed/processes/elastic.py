"""Jobs of torchrun on the toy recipe, and what became of them."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from mtmoe.checkpoint import RunFiles, last_checkpoint, load_training
from mtmoe.config import Recipe, recipe_to_toml
from mtmoe.data.prepared.preparation import open_prepared
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import batch_stream, run_training
from mtmoe.vocabulary import EOS
from tests.distributed.processes.elastic_worker import Note, note_sentences
from tests.distributed.processes.group import run_group
from tests.paths import ROOT
from tests.toy import prepared_toy

Sentences = Counter[tuple[tuple[int, ...], ...]]


def prepared_place(place: Path, **training: object) -> Recipe:
    """Write PLACE/toy.toml, PLACE/data, and in PLACE/whole what two processes train undisturbed."""
    recipe, data = prepared_toy(place, precision="fp32", **training)
    (place / "toy.toml").write_text(recipe_to_toml(recipe), encoding="utf-8")
    for notes in ("notes", "whole-notes"):
        (place / notes).mkdir()
    run_group(2, train, recipe, place / "whole", data, place / "whole-notes", False, timeout=3000)
    return recipe


def train(recipe: Recipe, run: Path, data: Path, notes: Path, resume: bool, last_step: int = 0) -> None:
    """What each process of a group does."""
    note_sentences(notes)
    steps = {"max_steps": last_step or recipe.training.max_steps}
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=steps)})
    run_training(recipe, run, data, resume=resume, reporter=SilentReporter())


def train_in_another_job(recipe: Recipe, place: Path, resume: bool) -> str:
    """What each process of a second job does with PLACE/run; return the error that it gets."""
    os.environ["TORCHELASTIC_RUN_ID"] = "another"
    try:
        train(recipe, place / "run", place / "data", place / "notes", resume)
    except UserError as error:
        return str(error)
    return ""


def job(place: Path, fates: Sequence[Sequence[object]]) -> list[str]:
    """The command of a job of two processes that trains PLACE/toy.toml into PLACE/run."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = ["-m", "tests.distributed.processes.elastic_worker", str(place / "notes"), json.dumps(fates)]
    files = [str(place / "toy.toml"), str(place / "run"), "--data", str(place / "data")]
    return [*launcher, "--max-restarts", "3", *worker, "train", *files, "--device", "cpu"]


def environment() -> dict[str, str]:
    """Of a job."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def sentences_of_epoch(notes: Sequence[Note], num_batches: int) -> Sentences:
    """Those of the first epoch, of each step as it was taken last: a step before was undone by its death."""
    last: dict[int, int] = {}
    for note in notes:
        last[note.step] = max(note.restarts, last.get(note.step, 0))
    taken = [note for note in notes if note.step <= num_batches and note.restarts == last[note.step]]
    return Counter(tuple(map(tuple, pair)) for note in taken for pair in note.sentences)


def sentences_of_corpus(data: Path) -> Sentences:
    """All training pairs."""
    corpus = open_prepared(data).train
    sides = (corpus.source, corpus.target)
    return Counter(tuple((*side(i).tolist(), EOS) for side in sides) for i in range(len(corpus)))


def num_batches(recipe: Recipe, data: Path) -> int:
    """Of the first epoch."""
    prepared = open_prepared(data)
    return batch_stream(recipe, prepared, load_vocabulary(prepared.subwords_path)).num_batches(0)


def assert_same_bits(one: Path, other: Path, step: int) -> None:
    """The last checkpoints are of that step, and equal."""
    checkpoints = [last_checkpoint(RunFiles(run)) for run in (one, other)]
    assert [checkpoint.step for checkpoint in checkpoints if checkpoint] == [step] * 2
    (weights, training, _), (other_weights, other_training, _) = (load_training(c.path) for c in checkpoints if c)
    for expected, found in ((weights, other_weights), (training, other_training)):
        assert expected.keys() == found.keys()
        for name in expected:
            assert torch.equal(expected[name], found[name]), name
