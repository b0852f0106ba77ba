"""The run directory: the only module that knows its file names.

::

    RUN/recipe.toml                      the fully resolved recipe
    RUN/subwords.model                   the vocabulary, frozen with the weights (words.txt: one of words)
    RUN/lexicon.safetensors              likely target subwords of each source subword, for decoding.shortlist
    RUN/metrics.jsonl                    one JSON object a line
    RUN/.launch                          the torchrun job that has begun or resumed it (distributed/launch.py)
    RUN/checkpoints/step-00001000/       model.safetensors   weights to translate with (the average if there is one)
                                         training.safetensors  raw weights, moments and the LSTMs' state, to resume with
                                         state.json          step, data position, best values, digest of the weights
    RUN/checkpoints/step-00001000/       of several processes: model/ and training/ with the shards of each, state.json
    RUN/checkpoints/averaged-.../        model.safetensors and state.json, made by ``mtmoe average``

A checkpoint is written into a hidden directory, synced, and renamed: one that has its name is complete, and
what a crash leaves behind has another name and is removed at the next save. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtmoe.config import Recipe, recipe_from_dict, recipe_to_toml
from mtmoe.data.lexicon import LEXICON_NAME
from mtmoe.data.subwords import SubwordModel
from mtmoe.data.vocabularies import Vocabulary, load_vocabulary, vocabulary_file, vocabulary_name
from mtmoe.distributed.expert_parallel import is_expert_parameter
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError
from mtmoe.model.building import Network, build_model
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel

FORMAT_VERSION = 1
_STEP = "step-"
_UNFINISHED, _DOOMED = ".unfinished-", ".removed-"
_WEIGHTS, _TRAINING, _STATE = "model.safetensors", "training.safetensors", "state.json"
_WEIGHT_SHARDS, _TRAINING_SHARDS = "model", "training"


class RunFiles(NamedTuple):
    """Paths inside a run directory."""

    directory: Path

    @property
    def recipe(self) -> Path:
        return self.directory / "recipe.toml"

    @property
    def subwords(self) -> Path:
        return vocabulary_file(self.directory)

    @property
    def lexicon(self) -> Path:
        return self.directory / LEXICON_NAME

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def launch(self) -> Path:
        return self.directory / ".launch"

    @property
    def tensorboard(self) -> Path:
        return self.directory / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"


class Checkpoint(NamedTuple):
    """A complete checkpoint; averaged ones have the step of their newest part."""

    name: str
    step: int
    path: Path


class LoadedRun(NamedTuple):
    """A trained model ready for inference: float32, in evaluation mode, on its device.

    ``checkpoint``: of the mean of several, the newest.
    """

    recipe: Recipe
    subwords: SubwordModel
    model: TranslationModel
    checkpoint: Checkpoint


class LoadedLanguageModel(NamedTuple):
    """The same of a language model."""

    recipe: Recipe
    vocabulary: Vocabulary
    model: LanguageModel
    checkpoint: Checkpoint


# ------------------------------------------------------------------------------------------------- the run


def create_run(
    directory: Path, recipe: Recipe, subwords_model: Path, lexicon: Path | None = None, *, launch: str = ""
) -> RunFiles:
    """Begin a run. The recipe is written last: a directory without it is not a run.

    Args:
        lexicon: of the data directory; copied if it is there.
        launch: the torchrun job that begins it.

    Raises:
        UserError: the directory holds a run already, or something else.
    """
    run = RunFiles(directory)
    if run.recipe.exists():
        raise UserError(
            f"{directory}: holds a run already", fix="add --resume to go on with it, or give another directory"
        )
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    _write_atomically(directory / vocabulary_name(subwords_model), subwords_model.read_bytes())
    if lexicon is not None and lexicon.exists():
        _write_atomically(run.lexicon, lexicon.read_bytes())
    save_launch(run, launch)
    save_recipe(run, recipe)
    return run


def save_launch(run: RunFiles, launch: str) -> None:
    """Note which torchrun job trains the run: workers that it starts anew go on with it."""
    _write_atomically(run.launch, launch.encode())


def belongs_to_launch(directory: Path, launch: str) -> bool:
    """Whether that torchrun job has begun or resumed the run, so that its workers need no ``--resume``."""
    run = RunFiles(directory)
    known = run.recipe.is_file() and run.launch.is_file()
    return known and bool(launch) and run.launch.read_text(encoding="utf-8") == launch


@contextlib.contextmanager
def locked_run(directory: Path) -> Iterator[None]:
    """Keep a second training process out of the run for as long as the context lasts.

    Raises:
        UserError: another process is training it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{directory}: another process is training this run", fix="wait for it, or stop it first"
            ) from None
        yield


def open_run(directory: Path) -> RunFiles:
    """Raises UserError when the directory is not a run."""
    run = RunFiles(Path(directory))
    if not run.recipe.is_file():
        found = "does not exist" if not run.directory.exists() else "is not a run directory (it has no recipe.toml)"
        raise UserError(f"{directory}: {found}", fix="give the RUN_DIR of `mtmoe train`")
    return run


def save_recipe(run: RunFiles, recipe: Recipe) -> None:
    _write_atomically(run.recipe, recipe_to_toml(recipe).encode())


def load_run_recipe(run: RunFiles) -> Recipe:
    """The resolved recipe that the run was trained with."""
    try:
        settings = tomllib.loads(run.recipe.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{run.recipe}: damaged: {error}", fix="restore it from a backup") from None
    return recipe_from_dict(settings, run.recipe)


# ------------------------------------------------------------------------------------------------- writing


def save_checkpoint(
    run: RunFiles,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Checkpoint:
    """Write atomically; an existing checkpoint of the same step is left as it is, for it is the same."""
    path = run.checkpoints / f"{_STEP}{step:08d}"
    if not path.exists():
        _save_directory(path, {_WEIGHTS: weights, _TRAINING: training}, {"step": step, **state})
    return Checkpoint(path.name, step, path)


def save_sharded_checkpoint(
    run: RunFiles,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
    mesh: Mesh,
    num_experts: int,
) -> Checkpoint:
    """The same from all processes of the mesh, which must call it together; each writes its own part.

    Its collectives are those of ``mesh.writers``: a thread may call it.
    """
    # Here and not above: torch.distributed.checkpoint takes most of a second to import, which translating need not.
    from mtmoe.distributed.shards import CheckpointException, save_shards

    path = run.checkpoints / f"{_STEP}{step:08d}"
    unfinished = path.parent / f"{_UNFINISHED}{path.name}"

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def finish() -> None:
        content = {"format_version": FORMAT_VERSION, "step": step, **state}
        (unfinished / _STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in (unfinished / _STATE, unfinished / _WEIGHT_SHARDS, unfinished / _TRAINING_SHARDS, unfinished):
            _sync(file)
        if path.exists():
            _remove(path)
        os.replace(unfinished, path)
        _sync(path.parent)

    try:
        mesh.main_alone(begin)
        for name, tensors in ((_WEIGHT_SHARDS, weights), (_TRAINING_SHARDS, training)):
            save_shards(unfinished / name, tensors, mesh, num_experts)
        mesh.main_alone(finish)
    except (CheckpointException, OSError) as error:  # on all processes when one of them fails
        raise _not_written(path, error) from None
    return Checkpoint(path.name, step, path)


def _not_written(path: Path, error: BaseException) -> UserError:
    return UserError(
        f"{path}: could not be written: {error}", fix="make room on the disk; the checkpoint before it is intact"
    )


def _save_directory(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    unfinished = path.parent / f"{_UNFINISHED}{path.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write_files(unfinished, tensors, state)
    except (OSError, SafetensorError) as error:  # safetensors has an exception of its own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _not_written(path, error) from None
    if path.exists():  # an average that is made anew
        _remove(path)
    os.replace(unfinished, path)
    _sync(path.parent)


def _write_files(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True)
    for name, group in tensors.items():
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in group.items()}, directory / name)
    content = {"format_version": FORMAT_VERSION, "weights_digest": weights_digest(tensors[_WEIGHTS]), **state}
    (directory / _STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
    for file in directory.iterdir():
        _sync(file)
    _sync(directory)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """A hash of names and bytes: two runs with the same digest have the same weights to the bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what a killed save left behind; for the process that holds the run's lock."""
    for prefix in (_UNFINISHED, _DOOMED):
        for leftover in checkpoints.glob(f"{prefix}*"):
            shutil.rmtree(leftover)


def retain(run: RunFiles, keep_last: int, best_steps: Sequence[int]) -> None:
    """Remove step checkpoints that are neither among the newest nor among the best."""
    steps = [c for c in list_checkpoints(run) if c.name.startswith(_STEP)]
    wanted = {c.step for c in steps[-keep_last:]} | set(best_steps)
    for checkpoint in steps:
        if checkpoint.step not in wanted:
            _remove(checkpoint.path)


def _remove(checkpoint: Path) -> None:
    """Renamed first: a removal that is cut short must not leave half a checkpoint under its name."""
    doomed = checkpoint.with_name(f"{_DOOMED}{checkpoint.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unfinished")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- reading


def list_checkpoints(run: RunFiles) -> list[Checkpoint]:
    """Complete checkpoints, oldest first."""
    found = []
    for path in run.checkpoints.glob("*"):
        if path.name.startswith(".") or not (path / _STATE).is_file():
            continue
        found.append(Checkpoint(path.name, int(load_state(path)["step"]), path))
    return sorted(found, key=lambda c: (c.step, c.name))


def load_state(path: Path) -> dict[str, Any]:
    """The state.json of a checkpoint."""
    file = path / _STATE
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: damaged: {error}", fix=f"remove {path} to use an older checkpoint") from None
    version = state.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{file}: format version {version}, this mtmoe reads version {FORMAT_VERSION}")
    return state


def last_checkpoint(run: RunFiles) -> Checkpoint | None:
    """The newest checkpoint that training can go on from."""
    steps = [c for c in list_checkpoints(run) if c.name.startswith(_STEP)]
    return steps[-1] if steps else None


def find_checkpoint(run: RunFiles, name: str) -> Checkpoint:
    """``best`` (of those kept, else last), ``last``, a step number, or a directory's name.

    Raises:
        UserError: naming what there is.
    """
    available = list_checkpoints(run)
    steps = [c for c in available if c.name.startswith(_STEP)]
    if not available:
        raise UserError(f"{run.directory}: has no checkpoint yet", fix="wait for the first save of `mtmoe train`")
    if name == "last" and steps:
        return steps[-1]
    if name == "best" and steps:
        best = [entry[0] for entry in load_state(steps[-1].path).get("best", [])]
        by_step = {c.step: c for c in steps}
        return next((by_step[step] for step in best if step in by_step), steps[-1])
    for checkpoint in available:
        if name == checkpoint.name or (name == str(checkpoint.step) and checkpoint.name.startswith(_STEP)):
            return checkpoint
    names = ", ".join(c.name for c in available)
    raise UserError(f"{run.directory}: no checkpoint {name!r}", fix=f"there are: best, last, {names}")


def find_checkpoints(run: RunFiles, name: str) -> list[Checkpoint]:
    """Those whose mean is meant, oldest first: of ``last:N`` the newest N, of ``best:N`` the N best that are kept; of
    any other name the one that :func:`find_checkpoint` finds.

    Raises:
        UserError: there are not so many, or N is no number above 0.
    """
    kind, colon, number = name.partition(":")
    if not colon or kind not in ("best", "last"):
        return [find_checkpoint(run, name)]
    if not number.isdecimal() or int(number) < 1:
        raise UserError(f"checkpoint {name!r}: {number!r} is no number of checkpoints", fix=f"for example {kind}:3")
    steps = [c for c in list_checkpoints(run) if c.name.startswith(_STEP)]
    if kind == "best" and steps:
        by_step = {c.step: c for c in steps}
        kept = [entry[0] for entry in load_state(steps[-1].path).get("best", []) if entry[0] in by_step]
        steps = [by_step[step] for step in sorted(kept[: int(number)])]
    if len(steps) < int(number):
        raise UserError(
            f"{run.directory}: has {len(steps)} checkpoints for the mean of {name}",
            fix=f"ask for fewer, or train with more: --set training.keep_{kind}={number}",
        )
    return steps[-int(number) :]


def mean_weights(checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """The mean of the weights, summed in float64; of one checkpoint its weights as they are."""
    if len(checkpoints) == 1:
        return read_weights(checkpoints[0].path)
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        for name, tensor in read_weights(checkpoint.path).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(checkpoints)).float() for name, tensor in total.items()}


def stored_digest(checkpoint: Checkpoint) -> str:
    """The digest of its weights; of a sharded checkpoint, which does not store it, it is computed."""
    stored = load_state(checkpoint.path).get("weights_digest")
    return str(stored) if stored else weights_digest(read_weights(checkpoint.path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a damaged one is a UserError."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged: {error}", fix=f"remove {path.parent} to use an older checkpoint") from None


def load_weights(model: Network, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into the model by name; names and shapes must agree exactly."""
    own = dict(model.named_parameters())
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or unknown:
        raise UserError(
            f"{where}: does not fit the recipe: missing {missing[:3]}, unknown {unknown[:3]}",
            fix="the checkpoint and recipe.toml of a run belong together",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise UserError(
                    f"{where}: {name} has shape {list(weights[name].shape)}, the recipe wants {list(parameter.shape)}"
                )
            parameter.copy_(weights[name])


def load_training(path: Path, mesh: Mesh = ONE_PROCESS) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(model weights, training tensors, state) of a step checkpoint; of several processes each gets its part.

    Raises:
        UserError: a file is damaged, or the weights are not those that were saved.
    """
    state = load_state(path)
    if _is_sharded(path):
        return _read_shards(path / _WEIGHT_SHARDS, mesh), _read_shards(path / _TRAINING_SHARDS, mesh), state
    weights = read_tensors(path / _WEIGHTS)
    found = weights_digest(weights)
    if found != state["weights_digest"]:
        raise UserError(
            f"{path / _WEIGHTS}: damaged: its digest is {found}, {_STATE} says {state['weights_digest']}",
            fix=f"remove {path} to use an older checkpoint",
        )
    return _own_part(weights, mesh), _own_part(read_tensors(path / _TRAINING), mesh), state


def _is_sharded(path: Path) -> bool:
    return (path / _WEIGHT_SHARDS).is_dir()


def _read_shards(directory: Path, mesh: Mesh = ONE_PROCESS) -> dict[str, Tensor]:
    from mtmoe.distributed.shards import CheckpointException, load_shards

    try:
        return load_shards(directory, mesh)
    except (SafetensorError, OSError, CheckpointException) as error:
        raise UserError(
            f"{directory}: damaged: {error}", fix=f"remove {directory.parent} to use an older checkpoint"
        ) from None


def _own_part(tensors: Mapping[str, Tensor], mesh: Mesh) -> dict[str, Tensor]:
    return {
        name: t[mesh.share_of_experts(t.shape[0])] if is_expert_parameter(name) else t for name, t in tensors.items()
    }


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The whole weights of a checkpoint, whatever has written it."""
    return _read_shards(checkpoint / _WEIGHT_SHARDS) if _is_sharded(checkpoint) else read_tensors(checkpoint / _WEIGHTS)


def load_model(directory: str | Path, checkpoint: str = "best", device: str | torch.device = "cpu") -> LoadedRun:
    """A run's model for inference.

    Raises:
        UserError: not a run, a language model's run, no such checkpoint, or a damaged one.
    """
    recipe, vocabulary, model, chosen = _loaded(directory, checkpoint, device)
    if not isinstance(model, TranslationModel) or not isinstance(vocabulary, SubwordModel):
        raise UserError(
            f'{directory}: is a run of task = "{recipe.task}", which translates nothing',
            fix=f"score text with it: mtmoe score {directory} TEXT",
        )
    return LoadedRun(recipe, vocabulary, model, chosen)


def load_language_model(
    directory: str | Path, checkpoint: str = "best", device: str | torch.device = "cpu"
) -> LoadedLanguageModel:
    """A run's language model for inference.

    Raises:
        UserError: as :func:`load_model`, and for the run of a translation model.
    """
    recipe, vocabulary, model, chosen = _loaded(directory, checkpoint, device)
    if not isinstance(model, LanguageModel):
        raise UserError(f'{directory}: is a run of task = "{recipe.task}", not a language model')
    return LoadedLanguageModel(recipe, vocabulary, model, chosen)


def _loaded(
    directory: str | Path, checkpoint: str, device: str | torch.device
) -> tuple[Recipe, Vocabulary, Network, Checkpoint]:
    run = open_run(Path(directory))
    recipe = load_run_recipe(run)
    chosen = find_checkpoints(run, checkpoint)
    vocabulary = load_vocabulary(run.subwords)
    model = build_model(recipe, vocabulary.size)
    load_weights(model, mean_weights(chosen), chosen[-1].path)
    return recipe, vocabulary, model.to(device).eval(), chosen[-1]


# ------------------------------------------------------------------------------------- averaging and export


def export_weights(directory: Path, checkpoint: str, file: Path) -> list[Checkpoint]:
    """Write the whole weights of a checkpoint, or the mean of several, by name, to one safetensors file, atomically.

    Raises:
        UserError: no such checkpoint, or the file cannot be written.
    """
    chosen = find_checkpoints(open_run(directory), checkpoint)
    weights = mean_weights(chosen)
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, unfinished)
        _sync(unfinished)
        os.replace(unfinished, file)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{file}: could not be written: {error}", fix="give another file, or make room") from None
    return chosen


def average_checkpoints(directory: Path, names: Iterable[str]) -> Checkpoint:
    """Write the mean of the named checkpoints' weights as a checkpoint of its own.

    Raises:
        UserError: fewer than two checkpoints.
    """
    run = open_run(directory)
    parts = sorted({find_checkpoint(run, name) for name in names}, key=lambda c: c.step)
    if len(parts) < 2:
        raise UserError(
            f"{directory}: an average needs at least 2 checkpoints, found {len(parts)}",
            fix="keep more of them: --set training.keep_last=5",
        )
    weights = mean_weights(parts)
    path = run.checkpoints / f"averaged-{len(parts)}-{parts[0].step:08d}-{parts[-1].step:08d}"
    _save_directory(path, {_WEIGHTS: weights}, {"step": parts[-1].step, "averaged": [p.name for p in parts]})
    return Checkpoint(path.name, parts[-1].step, path)
