"""``mtmoe`` as torchrun starts it, noting which sentences it takes, and dying where a test wants it to.

``python -m tests.distributed.processes.elastic_worker NOTES FATES train ...``. NOTES: a directory. FATES: JSON, a list
of [restarts so far, rank, step, what befalls it].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.data.batches.padding import Batch
from mtmoe.distributed import sharded_checkpoint as shards
from mtmoe.distributed.mesh import Mesh
from mtmoe.training import step as step_module

KILLED, KILLED_IN_SAVE, STOPPED = "killed", "killed in a save", "stopped"


class Note(NamedTuple):
    """The sentences of one process in one step: (source, target) without padding."""

    restarts: int
    pid: int
    rank: int
    step: int
    sentences: list[tuple[list[int], list[int]]]


def restarts_so_far() -> int:
    """Of this process's job."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def read_notes(notes: Path, restarts: int | None = None) -> list[Note]:
    """Of all processes, or those after so many restarts. The last line of one that was killed may be cut off."""
    found = []
    for file in sorted(notes.glob("*.jsonl" if restarts is None else f"{restarts:03d}-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                found.append(Note(*json.loads(line)))
    return found


def sentences_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    lengths = zip(batch.source_lengths_B.tolist(), batch.target_lengths_B.tolist(), strict=True)
    return [
        (batch.source_BS[row, :source].tolist(), batch.target_BT[row, 1 : 1 + target].tolist())
        for row, (source, target) in enumerate(lengths)
    ]


def note_sentences(notes: Path, at_step: Any = lambda rank, step: None) -> None:
    """Note what every step of this process takes, and then call ``at_step``."""
    original = step_module.own_sentences

    def noted(batch: Batch, mesh: Mesh) -> Any:
        own, numbers = original(batch, mesh)
        note = Note(restarts_so_far(), os.getpid(), mesh.rank, mesh.collective_log.now.step, sentences_of(own))
        with open(notes / f"{note.restarts:03d}-{note.pid}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
        at_step(mesh.rank, note.step)
        return own, numbers

    step_module.own_sentences = noted


def _main(notes: str, fates: str, *arguments: str) -> None:
    from mtmoe.cli import main

    mine = [fate[2:] for fate in json.loads(fates) if fate[:2] == [restarts_so_far(), int(os.environ["RANK"])]]

    def at_step(_rank: int, step: int) -> None:
        for wanted, what in mine:
            if step == wanted and what == KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
            elif step == wanted and what == STOPPED:
                os.kill(os.getppid(), signal.SIGTERM)
                while not signal.getsignal(signal.SIGTERM).__self__.received:  # type: ignore[union-attr]
                    time.sleep(0.01)
            elif step == wanted:
                shards.save_shards = killed

    def killed(directory: Path, *rest: Any) -> None:
        save(directory, *rest)
        os.kill(os.getpid(), signal.SIGKILL)

    save = shards.save_shards
    note_sentences(Path(notes), at_step)
    sys.argv = ["mtmoe", *arguments]
    main()


if __name__ == "__main__":
    _main(*sys.argv[1:])
