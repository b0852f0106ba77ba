"""Kill workers of a training again and again, at random moments; to be run by hand, for it takes minutes.

``python -m tests.distributed.processes.kill_many PLACE [NUM_KILLS]``, PLACE a new directory; at least three kills,
which last for an epoch. The workers are started anew as torchrun does it, but forked from a process that has imported
torch already. Every third kill waits for a save to be under way. In the end the weights must have the bits of an
undisturbed run, and the epoch each sentence once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from mtmoe.config import Recipe
from tests.distributed.processes.elastic import (
    assert_same_bits,
    num_batches,
    prepared_place,
    sentences_of_corpus,
    sentences_of_epoch,
    train,
)
from tests.distributed.processes.elastic_worker import Note, read_notes
from tests.distributed.processes.group import run_group, start_group

MOST_STEPS = 8  # of an incarnation
STEPS_PER_KILL = 10
GRACE_SECONDS = 30.0  # as torchrun's


def kill_many(place: Path, num_kills: int) -> None:
    place.mkdir(parents=True)
    num_steps = STEPS_PER_KILL * num_kills
    validation = {"every_steps": num_steps}
    recipe = prepared_place(place, max_steps=num_steps, batch_tokens=512, save_every_steps=2, validation=validation)
    generator, in_saves, by_force = random.Random(1), 0, 0
    for number in range(num_kills):
        _, processes = start_group(2, train_in_job, recipe, place, number)
        workers = _workers(processes, place, number)
        victim = generator.choice(sorted(workers))
        _wait(processes, place, number, generator.randint(1, MOST_STEPS), for_save=number % 3 == 2)
        time.sleep(generator.uniform(0.0, 0.05))
        os.kill(victim, signal.SIGKILL)
        in_save = _is_saving(place)
        in_saves += in_save
        by_force += _ended(processes)
        step = max(note.step for note in read_notes(place / "notes", number))
        print(
            f"kill {number + 1}: process {workers[victim]}, step {step}{', in a save' if in_save else ''}", flush=True
        )
    run_group(2, train_in_job, recipe, place, num_kills, timeout=3000)
    notes = read_notes(place / "notes")
    assert_same_bits(place / "whole", place / "run", num_steps)
    corpus, batches = sentences_of_corpus(place / "data"), num_batches(recipe, place / "data")
    assert sentences_of_epoch(read_notes(place / "whole-notes"), batches) == corpus
    assert sentences_of_epoch(notes, batches) == corpus
    print(
        f"{num_kills} kills, {in_saves} of them in a save; at most {_most_lost(notes)} steps were done again after "
        f"one, and {by_force} survivors had to be killed, too. The same bits after {num_steps} steps, and each of the "
        f"{sum(corpus.values())} sentences of the epoch once"
    )


def train_in_job(recipe: Recipe, place: Path, restarts: int) -> None:
    """What a worker does. The command is the same after every restart."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "kill-many", "TORCHELASTIC_RESTART_COUNT": str(restarts)}
    train(recipe, place / "run", place / "data", place / "notes", False)


def _workers(processes: list[ForkServerProcess], place: Path, restarts: int) -> dict[int, int]:
    """Ranks by pid, when both train."""
    while True:
        assert all(process.is_alive() for process in processes), "a worker has ended by itself"
        if len(found := {note.pid: note.rank for note in read_notes(place / "notes", restarts)}) == 2:
            return found
        time.sleep(0.05)


def _wait(processes: list[ForkServerProcess], place: Path, restarts: int, num_steps: int, *, for_save: bool) -> None:
    """Until so many steps are done or, ``for_save``, the next save is under way."""
    while True:
        assert all(process.is_alive() for process in processes), "a worker has ended by itself"
        if for_save and _is_saving(place):
            return
        if not for_save and len({note.step for note in read_notes(place / "notes", restarts)}) >= num_steps:
            return


def _is_saving(place: Path) -> bool:
    return any((place / "run" / "checkpoints").glob(".unfinished-*"))


def _ended(processes: list[ForkServerProcess]) -> int:
    """End the workers of a group of which one has died, as torchrun does. How many had to be killed for it."""
    for process in processes:
        process.terminate()
    num_killed = 0
    for process in processes:
        process.join(GRACE_SECONDS)
        num_killed += process.is_alive()
        process.kill()
        process.join()
    return num_killed


def _most_lost(notes: list[Note]) -> int:
    lost = 0
    for restarts in range(1, max(note.restarts for note in notes) + 1):
        first = min(note.step for note in notes if note.restarts == restarts)
        lost = max(lost, max(note.step for note in notes if note.restarts == restarts - 1) - first + 1)
    return lost


if __name__ == "__main__":
    kill_many(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30)
