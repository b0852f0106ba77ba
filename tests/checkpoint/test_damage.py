"""Damaged runs and data directories: every key and every file, and only errors that name them."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtmoe.checkpoint import (
    RunFiles,
    last_checkpoint,
    load_model,
    load_run_recipe,
    load_training,
)
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.subwords.trial_process import check_in_child_process
from mtmoe.errors import UserError
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training
from tests.toy import prepared_toy

ODD_VALUES = (None, "text", -1, 1.5, 1 << 70, [], {}, [[[]]], True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A directory with ``run`` and ``data``."""
    place = tmp_path_factory.mktemp("trained")
    recipe, data = prepared_toy(
        place, max_steps=2, validation={"every_steps": 2, "metric": "loss", "translate_sentences": 0}
    )
    run_training(recipe, place / "run", data, resume=False, reporter=SilentReporter())
    return place


@pytest.fixture
def place(trained, tmp_path) -> Path:
    for name in ("run", "data"):
        shutil.copytree(trained / name, tmp_path / name)
    return tmp_path


def _checkpoint(place: Path) -> Path:
    checkpoint = last_checkpoint(RunFiles(place / "run"))
    assert checkpoint is not None
    return checkpoint.path


def _read_run(place: Path) -> None:
    load_model(place / "run")
    load_training(_checkpoint(place))


def _read_data(place: Path) -> None:
    prepared = open_prepared(place / "data")
    recipe = load_run_recipe(RunFiles(place / "run"))
    prepared.check_suits(recipe)
    assert prepared.report is not None
    assert len(prepared.train) + len(prepared.valid) > 0
    assert isinstance(prepared.test_sets, dict)
    assert isinstance(prepared.test_digests, dict)


FILES: dict[str, Callable[[Path], None]] = {
    "run/checkpoints/step-00000002/state.json": _read_run,
    "run/manifest.json": _read_run,
    "data/manifest.json": _read_data,
    "data/origin.json": _read_data,
    "data/report.json": _read_data,
    "data/train/corpus.json": _read_data,
}


def _damaged(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(key path, the whole with another value there or without it)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for odd in ODD_VALUES:
            changed = copy.copy(value)
            changed[key] = odd
            yield (*path, key), changed
        without = copy.copy(value)
        del without[key]
        yield (*path, key), without
        for where, changed_inner in _damaged(inner, (*path, key)):
            changed = copy.copy(value)
            changed[key] = changed_inner
            yield where, changed


@pytest.mark.parametrize("name", FILES)
def test_every_key_of_every_file_may_be_damaged(place, name):
    file, read = place / name, FILES[name]
    cases = list(_damaged(json.loads(file.read_text(encoding="utf-8"))))
    random.Random(1).shuffle(cases)
    num_refused = 0
    for key, content in cases[:150]:
        file.write_text(json.dumps(content), encoding="utf-8")
        try:
            read(place)
        except UserError:
            num_refused += 1
        except Exception as error:
            pytest.fail(f"{key}: {type(error).__name__}: {error}")
    assert num_refused > 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b"[" * 5000, b'{"format_version": 2}', b'{"format_version": 3}']
)
def test_a_whole_file_may_be_damaged(place, name, content):
    (place / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        FILES[name](place)
    assert Path(name).name in caught.value.problem
    assert caught.value.fix


def test_ids_are_never_taken_for_pointers(place):
    path = place / "data" / "train" / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id_type": "O"}))
    with pytest.raises(UserError, match=r"corpus\.json: damaged: id_type: .*found 'O'"):
        _read_data(place)


@pytest.mark.parametrize("name", ["source.ids.bin", "target.ids.bin", "source.offsets.npy", "target.offsets.npy"])
def test_a_flipped_bit_in_the_corpus_is_found_before_training(place, name):
    path = place / "data" / "train" / name
    content = bytearray(path.read_bytes())
    content[-9] ^= 0x80  # the high byte of an id, or of an offset
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged"):
        _read_data(place)


@pytest.mark.parametrize("name", ["run/subwords.model", "data/subwords.model"])
def test_a_flipped_bit_in_the_vocabulary_is_found_before_it_is_loaded(place, name):
    content = bytearray((place / name).read_bytes())
    content[len(content) // 2] ^= 1
    (place / name).write_bytes(content)
    with pytest.raises(UserError, match=r"subwords\.model: damaged: its SHA-256 is"):
        load_model(place / "run") if name.startswith("run") else open_prepared(place / "data").subwords_path


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_flipped_bit_in_the_tensors_is_found(place, name):
    path = _checkpoint(place) / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged: its digest is"):
        load_training(path.parent)


def test_weights_with_a_flipped_bit_do_not_translate(place):
    path = _checkpoint(place) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: damaged: its digest is"):
        load_model(place / "run")


@pytest.mark.parametrize("content", [b"", b"\xff" * 8 + b"{}", (1 << 60).to_bytes(8, "little") + b"{}"])
def test_a_tensor_file_that_is_none_is_told(place, content):
    path = _checkpoint(place) / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        load_model(place / "run")


def test_a_model_from_elsewhere_is_tried_in_a_child_process(trained, tmp_path):
    sound = (trained / "run" / "subwords.model").read_bytes()
    generator = np.random.default_rng(1)
    (tmp_path / "sound.model").write_bytes(sound)
    check_in_child_process(tmp_path / "sound.model")
    (tmp_path / "empty.model").write_bytes(b"")
    (tmp_path / "noise.model").write_bytes(generator.bytes(1000))
    for name in ("empty.model", "noise.model"):
        with pytest.raises(UserError, match=rf"{name}: not a sound SentencePiece model"):
            check_in_child_process(tmp_path / name)


def test_damaged_lines_of_the_metrics_do_not_stop_a_resume(place):
    metrics = place / "run" / "metrics.jsonl"
    sound = metrics.read_bytes()
    metrics.write_bytes(b"\xff\x00\n" + b'["step"]\n' + sound + b'{"event": "train", "st')
    recipe = load_run_recipe(RunFiles(place / "run"))
    told: list[str] = []

    class Listening(SilentReporter):
        def warning(self, text: str) -> None:
            told.append(text)

    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_steps": 3})})
    run_training(longer, place / "run", place / "data", resume=True, reporter=Listening())
    assert metrics.read_bytes().startswith(sound)
    assert [text for text in told if "metrics.jsonl: 2 lines are damaged" in text]
    assert (place / "run" / "metrics.jsonl.damaged").read_bytes() == b'\xff\x00\n["step"]\n'


@pytest.mark.parametrize(
    "name",
    [
        "run/checkpoints/step-00000002/model.safetensors",
        "run/checkpoints/step-00000002/training.safetensors",
        "data/train/source.offsets.npy",
        "data/train/target.ids.bin",
    ],
)
def test_nothing_waits_at_a_named_pipe_in_place_of_a_file(place, name):
    (place / name).unlink()
    os.mkfifo(place / name)
    with pytest.raises(UserError, match=rf"{Path(name).name}: is a pipe or device, not a file"):
        _read_run(place) if name.startswith("run") else _read_data(place)
