"""Data of a run: RUN/data is its prepared text, or a link to it, so that later commands find its test sets."""

from __future__ import annotations

import os
from pathlib import Path

from mtmoe.checkpoint.run_files import RunFiles, open_run
from mtmoe.errors import UserError
from mtmoe.system.atomic_files import link_atomically, make_directory


def place_of_data(run_dir: Path) -> Path:
    """Return the directory where the run's prepared text is, or is to be made.

    Raises:
        UserError: it is a link to a directory that is gone.
    """
    place = RunFiles(run_dir).data
    if place.is_symlink() and not place.exists():
        raise UserError(
            f"{place}: is a link to {os.readlink(place)}, which is gone",
            fix="give the DATA_DIR of `mtmoe preprocess` with --data",
        )
    return place


def earlier_data(run_dir: Path) -> Path:
    """Return the path of the prepared text that the run had so far; it may be gone."""
    return RunFiles(run_dir).data


def run_data(run_dir: Path) -> Path:
    """Return the directory of the run's prepared text, for commands that need its test sets.

    Raises:
        UserError: it is not there, or ``run_dir`` is no run.
    """
    place = place_of_data(run_dir)
    if not place.exists():
        if not run_dir.is_file():  # to a package, the data are given
            open_run(run_dir)  # a run of another name is the likelier mistake
        raise UserError(
            f"{place}: there is no such directory", fix="give the DATA_DIR of `mtmoe preprocess` with --data"
        )
    return place


def link_data(run_dir: Path, data_dir: Path) -> None:
    """Make RUN/data a link to ``data_dir``, relative, so that both can be moved together.

    Raises:
        UserError: ``data_dir`` does not exist, or RUN/data is another directory.
    """
    if not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such directory", fix="make it with `mtmoe preprocess`")
    link = RunFiles(run_dir).data
    if link.exists() and link.samefile(data_dir):
        return
    if link.exists() and not link.is_symlink():
        raise UserError(
            f"{link}: is this run's own data, and --data gives {data_dir}", fix=f"leave --data out, or remove {link}"
        )
    make_directory(run_dir)
    link_atomically(link, Path(os.path.relpath(data_dir.resolve(), run_dir.resolve())))
