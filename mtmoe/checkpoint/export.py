"""Weight export: one safetensors file with all parameters by name, whatever number of processes trained them."""

from __future__ import annotations

from pathlib import Path

from mtmoe.checkpoint.reading import find_checkpoints, mean_weights
from mtmoe.checkpoint.run_files import Checkpoint, open_run
from mtmoe.errors import UserError
from mtmoe.system.safetensors_files import save_tensors


def export_weights(directory: Path, checkpoint: str, file: Path) -> list[Checkpoint]:
    """Write the whole weights of a checkpoint, or the mean of several, by name, to one safetensors file, atomically.

    Raises:
        UserError: no such checkpoint, or the file cannot be written.
    """
    chosen = find_checkpoints(open_run(directory), checkpoint)
    weights = mean_weights(chosen)
    try:
        save_tensors(file, weights)
    except OSError as error:
        problem = f"{file}: could not be written: {error.strerror}"
        raise UserError(problem, fix="give another file, or make room") from None
    return chosen
