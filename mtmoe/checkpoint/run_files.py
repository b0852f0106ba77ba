"""Run files: the names of what lies in a run directory; runs created, opened, locked.

Other packages ask :class:`RunFiles` for a path. The names of the vocabulary and of the lexicon are those of the data
directory that they are copied from.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint.run_state import RunManifest, RunVersion, StartRecord, SurgeryRecord, TeacherRecord
from mtmoe.config import Recipe, recipe_from_toml, recipe_to_toml
from mtmoe.data.prepared.lexicon import LEXICON_NAME
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME
from mtmoe.data.subwords.vocabularies import vocabulary_file, vocabulary_name
from mtmoe.errors import UserError
from mtmoe.system.atomic_files import make_directory, write_atomically
from mtmoe.system.json_files import parse_json, read_json
from mtmoe.system.locks import try_lock
from mtmoe.system.readable_files import read_bytes

FORMAT_VERSION = 3
STEP = "step-"
UNFINISHED, DOOMED = ".unfinished-", ".removed-"
WEIGHTS, TRAINING, STATE = "model.safetensors", "training.safetensors", "state.json"
_MOST_SEEN, _MOST_NAMED = 1000, 5
WEIGHT_SHARDS, TRAINING_SHARDS = "model", "training"


_NUMBER = r"(?:\d{8}|[1-9]\d{8,})"
_STEP_NAME = re.compile(rf"{STEP}{_NUMBER}")
_AVERAGE_NAME = re.compile(rf"averaged-[1-9]\d*-{_NUMBER}-{_NUMBER}")


def is_step(name: str) -> bool:
    """Return whether training gives a checkpoint this name. Others, such as a user's copies, are not ours to remove."""
    return _STEP_NAME.fullmatch(name) is not None


def is_average(name: str) -> bool:
    """Return whether ``mtmoe average`` gives a checkpoint this name."""
    return _AVERAGE_NAME.fullmatch(name) is not None


class RunFiles(NamedTuple):
    """Paths inside a run directory."""

    directory: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe: its existence makes a directory a run."""
        return self.directory / "recipe.toml"

    @property
    def subwords(self) -> Path:
        """The vocabulary, of subwords or of words."""
        return vocabulary_file(self.directory)

    @property
    def lexicon(self) -> Path:
        """Likely target subwords of each source subword; not every run has it."""
        return self.directory / LEXICON_NAME

    @property
    def source_words(self) -> Path:
        """Words of the training text's source side, with their numbers; not every run has them."""
        return self.directory / SOURCE_WORDS_NAME

    @property
    def manifest(self) -> Path:
        """SHA-256 of the vocabulary, the lexicon and the source words, and the format version."""
        return self.directory / "manifest.json"

    @property
    def confidence(self) -> Path:
        """How the numbers of a translation tell whether it is good; ``mtmoe calibrate`` makes it."""
        return self.directory / "confidence.json"

    @property
    def fast_decoding(self) -> Path:
        """Settings that translate faster and lose nothing that the dev set shows; ``mtmoe tune-decoding`` makes it."""
        return self.directory / "fast_decoding.json"

    @property
    def metrics(self) -> Path:
        """Measurements, one JSON object a line."""
        return self.directory / "metrics.jsonl"

    @property
    def launch(self) -> Path:
        """The torchrun job that has begun or resumed the run."""
        return self.directory / ".launch"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains the run."""
        return self.directory / ".lock"

    @property
    def data(self) -> Path:
        """The prepared text, or a link to it."""
        return self.directory / "data"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's files, where it is installed."""
        return self.directory / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """One directory for each checkpoint."""
        return self.directory / "checkpoints"


class Checkpoint(NamedTuple):
    """A complete checkpoint; averaged ones have the step of their newest part."""

    name: str
    step: int
    path: Path


def create_run(
    directory: Path,
    recipe: Recipe,
    subwords_model: Path,
    lexicon: Path | None = None,
    *,
    source_words: Path | None = None,
    launch: str = "",
    start: StartRecord | None = None,
    teachers: tuple[TeacherRecord, ...] = (),
    surgery: SurgeryRecord | None = None,
) -> RunFiles:
    """Create a run. The recipe is written last: a directory without it is not a run.

    Args:
        lexicon, source_words: of the data directory; copied if they are there.
        launch: the torchrun job that begins it.
        start: the run whose weights it begins with.
        teachers: the runs that teach it.
        surgery: what its weights were made of, where they are not to be trained.

    Raises:
        UserError: the directory holds a run already, or something else.
    """
    run = RunFiles(directory)
    if run.recipe.exists():
        raise UserError(
            f"{directory}: holds a run already", fix="add --resume to go on with it, or give another directory"
        )
    make_directory(run.checkpoints)
    contents = {vocabulary_name(subwords_model): subwords_model.read_bytes()}
    for path, place in ((lexicon, run.lexicon), (source_words, run.source_words)):
        if path is not None and path.exists():
            contents[place.name] = path.read_bytes()
    for name, content in contents.items():
        write_atomically(directory / name, content)
    files = {name: _sha256(content) for name, content in contents.items()}
    manifest = RunManifest(files=files, start=start, teachers=teachers, surgery=surgery)
    _save_manifest(run, manifest)
    save_launch(run, launch)
    save_recipe(run, recipe)
    return run


def _save_manifest(run: RunFiles, manifest: RunManifest) -> None:
    content = {"format_version": FORMAT_VERSION, **manifest.model_dump(exclude_none=True)}
    write_atomically(run.manifest, (json.dumps(content, indent=1) + "\n").encode())


def load_manifest(run: RunFiles) -> RunManifest:
    """Read the run's manifest.

    Raises:
        UserError: it is missing or damaged, or of another format.
    """
    return read_json(
        run.manifest, RunManifest, fix="restore it from a backup, or train anew", format_version=FORMAT_VERSION
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_file(run: RunFiles, path: Path) -> Path:
    """Return the path of a file of the run when it holds what the run began with, or is none of those files, or is
    missing, of which whoever reads it knows more.

    Libraries read these files in C++, where a flipped bit can end the process.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    read_checked(run, path)
    return path


def read_checked(run: RunFiles, path: Path) -> bytes | None:
    """Return the content of a file as :func:`check_file` checks it; None where it is missing.

    Raises:
        UserError: as that.
    """
    expected = load_manifest(run).files.get(path.name)
    if not path.exists():
        return None
    content = read_bytes(path)
    found = _sha256(content)
    if expected is not None and found != expected:
        raise UserError(
            f"{path}: damaged: its SHA-256 is {found}, {run.manifest.name} says {expected}",
            fix=f"restore it from a backup, or copy {path.name} of the data directory that the run was trained on",
        )
    return content


def save_launch(run: RunFiles, launch: str) -> None:
    """Note which torchrun job trains the run: workers that it starts anew go on with it."""
    write_atomically(run.launch, launch.encode())


def belongs_to_launch(directory: Path, launch: str) -> bool:
    """Return whether that torchrun job has begun or resumed the run, so that its workers need no ``--resume``."""
    run = RunFiles(directory)
    known = run.recipe.is_file() and run.launch.is_file()
    return known and bool(launch) and run.launch.read_bytes() == launch.encode()


@contextlib.contextmanager
def locked_run(directory: Path) -> Iterator[None]:
    """Keep a second training process out of the run for as long as the context lasts.

    Raises:
        UserError: another process is training it.
    """
    make_directory(directory)
    lock = os.open(RunFiles(directory).lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if not try_lock(lock, directory):
            raise UserError(f"{directory}: another process is training this run", fix="wait for it, or stop it first")
        yield
    finally:
        os.close(lock)


def open_run(directory: Path) -> RunFiles:
    """Return the files of a run.

    Raises:
        UserError: the directory is not one, where the nearest name of a run is told; or a run of another format.
    """
    run = RunFiles(Path(directory))
    if not run.recipe.is_file():
        raise _no_run(run.directory)
    _check_version(run)
    return run


def _check_version(run: RunFiles) -> None:
    """Raise UserError for a run of another format, before its recipe is read, whose settings may have other names."""
    try:
        found = parse_json(read_bytes(run.manifest), run.manifest, RunVersion, fix="").format_version
    except UserError:
        return  # missing or damaged: check_file says so
    if found != FORMAT_VERSION:
        age, update = ("an older", "") if found < FORMAT_VERSION else ("a newer", "update mtmoe, or ")
        raise UserError(
            f"{run.directory}: is a run of {age} mtmoe: {run.manifest.name} says format {found}, this one reads "
            f"format {FORMAT_VERSION}",
            fix=f"{update}use the mtmoe that trained it, or train it anew into a new directory",
        )


def _no_run(directory: Path) -> UserError:
    fix = "give the RUN_DIR of `mtmoe train`"
    if not directory.exists():
        problem = f"no run {directory}: it does not exist"
        runs = list(_runs_in(directory.parent))
        near = difflib.get_close_matches(directory.name, [run.name for run in runs], n=1, cutoff=0.5)
        meant = [run for run in runs if run.name in near]
    elif directory.is_file():
        problem = f"{directory}: is a file, not a run directory"
        fix = "a package translates and scores, but this needs the run that it was made of"
        runs, meant = [], []
    else:
        problem = f"{directory}: is not a run directory (it has no recipe.toml)"
        if (directory / "manifest.json").is_file():
            fix = f"it is the DATA_DIR of `mtmoe preprocess`; {fix}"
        runs = list(_runs_in(directory))
        above = [parent for parent in directory.parents[:2] if RunFiles(parent).recipe.is_file()]
        meant = above[:1] or runs[: len(runs) == 1]
    if meant:
        fix = f"did you mean {meant[0]}?"
    elif runs:
        others = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        fix = f"{fix}; there are {', '.join(map(str, runs[:_MOST_NAMED]))}{others}"
    return UserError(problem, fix=fix)


def _runs_in(directory: Path) -> Iterator[Path]:
    """Yield the runs in a directory and in those that it has, as far as they can be seen quickly."""
    with contextlib.suppress(OSError):
        level = sorted(itertools.islice(directory.iterdir(), _MOST_SEEN))
        below = [path for inner in level if inner.is_dir() for path in sorted(inner.glob("*/recipe.toml"))[:_MOST_SEEN]]
        yield from (path for path in level if RunFiles(path).recipe.is_file())
        yield from (path.parent for path in below)


def save_recipe(run: RunFiles, recipe: Recipe) -> None:
    """Write the recipe that the run is trained with from now on."""
    write_atomically(run.recipe, recipe_to_toml(recipe).encode())


def load_run_recipe(run: RunFiles) -> Recipe:
    """Read the resolved recipe that the run is trained with.

    Raises:
        UserError: it is damaged.
    """
    return recipe_from_toml(read_bytes(run.recipe), run.recipe)
