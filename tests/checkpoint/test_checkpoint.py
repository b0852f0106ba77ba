"""The run directory: what is complete, what is refused, and what an average is."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from mtmoe.checkpoint import (
    CheckpointState,
    average_checkpoints,
    create_run,
    export_weights,
    find_checkpoint,
    find_checkpoints,
    last_checkpoint,
    list_checkpoints,
    list_steps,
    load_model,
    open_run,
    read_tensors,
    read_weights,
    remove_unfinished,
    retain,
    save_checkpoint,
    weights_digest,
)
from mtmoe.distributed.mesh import ONE_PROCESS
from mtmoe.distributed.sharded_checkpoint import save_shards
from mtmoe.errors import UserError
from mtmoe.model.translation import TranslationModel
from tests.toy import prepared_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return prepared_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def run(toy, tmp_path: Path):
    recipe, data = toy
    return create_run(tmp_path / "run", recipe, data / "subwords.model")


def _weights(recipe, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: p.detach() for name, p in TranslationModel(recipe.model, 300).named_parameters()}


def _save(run, recipe, step: int, best: list | None = None):
    state = CheckpointState(step=step, best=tuple(map(tuple, best or ())))
    return save_checkpoint(run, _weights(recipe, step), {"moment": torch.ones(2)}, state)


def test_a_saved_model_is_loaded_with_the_same_bits(toy, run):
    recipe, _ = toy
    _save(run, recipe, 5)
    loaded = load_model(run.directory)
    assert loaded.recipe == recipe
    assert not loaded.model.training
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, _weights(recipe, 5)[name])


def test_best_is_the_best_kept_checkpoint_and_last_the_newest(toy, run):
    recipe, _ = toy
    for step in (1, 2, 3):
        _save(run, recipe, step, best=[[9, 50.0], [2, 40.0], [1, 30.0]])
    assert find_checkpoint(run, "best").step == 2
    assert find_checkpoint(run, "last").step == 3
    assert find_checkpoint(run, "1").step == find_checkpoint(run, "step-00000001").step == 1


def test_a_checkpoint_that_is_not_there_names_those_that_are(toy, run):
    recipe, _ = toy
    _save(run, recipe, 5)
    with pytest.raises(UserError, match="no checkpoint '7'\nthere are: best, last, step-00000005"):
        find_checkpoint(run, "7")


def test_a_run_without_checkpoints_says_so(run):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        load_model(run.directory)


@pytest.mark.parametrize(("make", "message"), [(False, "does not exist"), (True, "is not a run directory")])
def test_a_directory_that_is_no_run_is_refused(tmp_path, make, message):
    if make:
        (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=message):
        open_run(tmp_path / "x")


def test_what_a_killed_save_or_removal_left_is_no_checkpoint_and_is_cleared_away(toy, run):
    recipe, _ = toy
    checkpoint = _save(run, recipe, 5)
    checkpoint.path.rename(run.checkpoints / ".unfinished-step-00000005")
    (run.checkpoints / "step-00000006").mkdir()  # no state.json: not written by save_checkpoint
    assert list_checkpoints(run) == []
    remove_unfinished(run.checkpoints)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000006"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_damaged_checkpoint_names_the_file_and_what_to_do(toy, run, name):
    recipe, _ = toy
    damaged = _save(run, recipe, 5).path / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"step-00000005/{name}: damaged: ") as error:
        load_model(run.directory)
    assert "to use an older checkpoint" in error.value.fix


def test_a_recipe_that_does_not_fit_the_weights_is_refused(toy, run):
    recipe, _ = toy
    _save(run, recipe, 5)
    text = run.recipe.read_text()
    run.recipe.write_text(text.replace("encoder_moe_after = [1]", "encoder_moe_after = []"))
    with pytest.raises(UserError, match=r"does not fit the recipe: missing \[\], unknown \['encoder.moe_layers"):
        load_model(run.directory)
    run.recipe.write_text(text.replace("expert_hidden = 32", "expert_hidden = 40"))
    with pytest.raises(UserError, match=r"has shape \[4, 32, 32\], the recipe wants \[4, 32, 40\]"):
        load_model(run.directory)


def test_a_checkpoint_of_another_format_is_refused(toy, run):
    recipe, _ = toy
    state = _save(run, recipe, 5).path / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99, but this mtmoe reads version 3"):
        load_model(run.directory)


@pytest.mark.parametrize(
    ("version", "age", "fix"), [(2, "older", "use the mtmoe"), (99, "newer", "update mtmoe, or use")]
)
def test_a_run_of_another_format_is_refused_before_its_recipe_is_read(run, version, age, fix):
    """A run of format 2 has settings of other names, of which `unknown key` would be no help."""
    manifest = json.loads(run.manifest.read_text()) | {"format_version": version}
    run.manifest.write_text(json.dumps(manifest))
    run.recipe.write_text(run.recipe.read_text().replace("gradient_accumulation", "accumulate_batches"))
    expected = f"is a run of an? {age} mtmoe: manifest.json says format {version}, this one reads format 3"
    for opened in (load_model, open_run, lambda directory: export_weights(directory, "best", directory / "weights")):
        with pytest.raises(UserError, match=expected) as error:
            opened(run.directory)
        assert error.value.fix.startswith(fix)
        assert error.value.fix.endswith("train it anew into a new directory")


def test_retention_removes_what_is_neither_new_nor_best(toy, run):
    recipe, _ = toy
    for step in (1, 2, 3, 4):
        _save(run, recipe, step)
    retain(run, keep_last=1, best_steps=[2])
    assert [c.step for c in list_checkpoints(run)] == [2, 4]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000002", "step-00000004"]


def test_only_what_has_the_name_of_a_checkpoint_of_ours_is_ever_removed(toy, run):
    recipe, _ = toy
    for step in (1, 2, 3):
        _save(run, recipe, step)
    users = ["step-00000001.backup", "step-00000002 (copy)", "step-1", "step-000000001", "averaged-mine", "best"]
    users += [".unfinished-mine", ".removed-step-00000001.old", ".unfinished-averaged-2-1-2"]
    for name in users:
        shutil.copytree(run.checkpoints / "step-00000001", run.checkpoints / name)
    (run.checkpoints / ".unfinished-step-00000009").write_text("a file")
    remove_unfinished(run.checkpoints)
    retain(run, keep_last=2, best_steps=[])
    average_checkpoints(run.directory, ["2", "3"])
    left = {path.name for path in run.checkpoints.iterdir()}
    steps = ["step-00000002", "step-00000003"]
    assert left == {*users, *steps, ".unfinished-step-00000009", "averaged-2-00000002-00000003"}
    assert [c.name for c in list_steps(run)] == steps
    assert last_checkpoint(run).name == "step-00000003"


def test_steps_of_more_than_eight_digits_are_checkpoints(toy, run):
    recipe, _ = toy
    for step in (99_999_999, 100_000_000, 1_234_567_890):
        _save(run, recipe, step)
    retain(run, keep_last=1, best_steps=[100_000_000])
    assert [c.step for c in list_steps(run)] == [100_000_000, 1_234_567_890]


def test_a_checkpoint_that_is_a_link_is_let_go_and_what_it_points_to_stays(toy, run, tmp_path):
    recipe, _ = toy
    for step in (1, 2):
        _save(run, recipe, step)
    shutil.move(run.checkpoints / "step-00000001", tmp_path / "far")
    (run.checkpoints / "step-00000001").symlink_to(tmp_path / "far")
    retain(run, keep_last=1, best_steps=[])
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000002"]
    assert (tmp_path / "far" / "state.json").exists()


def test_what_another_process_is_writing_is_no_leftover(toy, run):
    recipe, _ = toy
    for step in (1, 2):
        _save(run, recipe, step)
    busy = run.checkpoints / ".unfinished-averaged-2-00000001-00000002"
    busy.mkdir()
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        remove_unfinished(run.checkpoints)
        assert busy.exists()
        with pytest.raises(UserError, match="another process is writing it"):
            average_checkpoints(run.directory, ["1", "2"])
    finally:
        os.close(lock)
    average_checkpoints(run.directory, ["1", "2"])
    assert not busy.exists()


def test_exported_weights_go_through_a_link_and_into_a_pipe(toy, run, tmp_path):
    recipe, _ = toy
    _save(run, recipe, 1)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "weights").touch(0o640)
    (tmp_path / "link").symlink_to("far/weights")
    export_weights(run.directory, "last", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "weights").stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    export_weights(run.directory, "last", tmp_path / "pipe")
    reader.join(30)
    assert read == [(tmp_path / "link").read_bytes()]
    assert read[0] == safetensors_bytes(read_weights(last_checkpoint(run).path))


def test_an_average_is_the_mean_of_the_weights(toy, run):
    recipe, _ = toy
    for step in (1, 2, 4):
        _save(run, recipe, step)
    averaged = average_checkpoints(run.directory, ["1", "2", "last"])
    mean = read_tensors(averaged.path / "model.safetensors")
    parts = [_weights(recipe, step) for step in (1, 2, 4)]
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, sum(part[name] for part in parts) / 3)
    assert load_model(run.directory, averaged.name).checkpoint == averaged
    assert find_checkpoint(run, "4").name == "step-00000004"
    assert find_checkpoint(run, "last").name == "step-00000004"


def test_a_mean_of_checkpoints_is_loaded_as_the_average_that_was_written_would_be(toy, run):
    recipe, _ = toy
    for step in (1, 2, 3, 4):
        _save(run, recipe, step, best=[[9, 50.0], [3, 40.0], [1, 30.0], [2, 20.0]])
    for name, steps in (("last:3", [2, 3, 4]), ("best:2", [1, 3]), ("last:1", [4])):
        assert [part.step for part in find_checkpoints(run, name)] == steps
        parts = [_weights(recipe, step) for step in steps]
        for parameter_name, parameter in load_model(run.directory, name).model.named_parameters():
            torch.testing.assert_close(parameter.data, sum(part[parameter_name] for part in parts) / len(parts))
    assert len(list(run.checkpoints.iterdir())) == 4  # nothing was written
    written = average_checkpoints(run.directory, ["2", "3", "4"])
    exact = dict(load_model(run.directory, written.name).model.named_parameters())
    for name, parameter in load_model(run.directory, "last:3").model.named_parameters():
        assert torch.equal(parameter, exact[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("last:9", "has 2 checkpoints for the mean of last:9\nask for fewer, .* --set training.keep_last=9"),
        ("best:2", "has 1 checkpoints for the mean of best:2\nask for fewer, .* --set training.keep_best=2"),
        ("last:x", "checkpoint 'last:x': 'x' is no number of checkpoints\nfor example last:3"),
        ("best:0", "checkpoint 'best:0': '0' is no number of checkpoints\nfor example best:3"),
    ],
)
def test_a_mean_of_checkpoints_that_are_not_there_is_an_error(toy, run, name, message):
    recipe, _ = toy
    for step in (1, 2):
        _save(run, recipe, step, best=[[2, 50.0]])
    with pytest.raises(UserError, match=message):
        load_model(run.directory, name)


def test_an_average_of_one_checkpoint_is_refused(toy, run):
    recipe, _ = toy
    _save(run, recipe, 1)
    with pytest.raises(UserError, match="an average needs at least 2 checkpoints, found 1"):
        average_checkpoints(run.directory, ["last", "1"])


def test_a_flipped_bit_is_noticed_before_training_goes_on(toy, run):
    recipe, _ = toy
    checkpoint = _save(run, recipe, 5)
    weights = checkpoint.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model.safetensors: damaged: its digest is \w+, state.json says \w+"):
        read_weights(checkpoint.path)


def test_the_digest_tells_one_bit_of_difference():
    a = {"x": torch.zeros(3)}
    b = {"x": torch.tensor([0.0, 0.0, -0.0])}
    assert weights_digest(a) == weights_digest({"x": torch.zeros(3)})
    assert weights_digest(a) != weights_digest(b)


def test_an_export_is_one_file_with_the_weights_of_the_checkpoint(toy, run, tmp_path):
    recipe, _ = toy
    _save(run, recipe, 5)
    file = tmp_path / "weights.safetensors"
    assert [part.step for part in export_weights(run.directory, "last", file)] == [5]
    exported, saved = read_tensors(file), read_tensors(run.checkpoints / "step-00000005" / "model.safetensors")
    assert exported.keys() == saved.keys()
    assert all(torch.equal(exported[name], saved[name]) for name in saved)
    assert not list(tmp_path.glob(".*unfinished"))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_all_files_have_the_access_of_any_new_file(toy, run, tmp_path):
    recipe, _ = toy
    before = os.umask(0o027)
    try:
        _save(run, recipe, 5)
        export_weights(run.directory, "last", tmp_path / "weights.safetensors")
        save_shards(tmp_path / "shards", {"x": torch.ones(2)}, ONE_PROCESS, {})
    finally:
        os.umask(before)
    files = [tmp_path / "weights.safetensors", *(tmp_path / "shards").iterdir()]
    files += (run.checkpoints / "step-00000005").iterdir()
    assert len(files) >= 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def test_an_export_into_no_directory_is_an_error_that_names_the_file(toy, run, tmp_path):
    recipe, _ = toy
    _save(run, recipe, 5)
    with pytest.raises(UserError, match=r"nowhere/weights.safetensors: could not be written"):
        export_weights(run.directory, "last", tmp_path / "nowhere" / "weights.safetensors")
