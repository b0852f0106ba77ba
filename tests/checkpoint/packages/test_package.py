"""Packages: the same model as in the run, the same bytes each time; and whatever is wrong with one is told."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import load_model, open_model
from mtmoe.checkpoint.packages.package import Package, is_package
from mtmoe.checkpoint.packages.package_writing import tensors_as_bytes
from mtmoe.errors import UserError
from mtmoe.sharing.packaging import PackageOptions, package_run
from tests.inference.conftest import SENTENCES, untrained_run

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run."""
    return untrained_run(tmp_path_factory.mktemp("packaged"), SENTENCES)


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package, with all bits."""
    path = tmp_path_factory.mktemp("package") / "model.mtmoe"
    package_run(PackageOptions(run, "0.1.0", precision="fp32"), path)
    return path


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, *, manifest: bool = True) -> Path:
    """Write an archive; the manifest agrees with what the other members are unless told."""
    if manifest:
        told = json.loads(members["manifest.json"])
        told["members"] = {
            name: {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
            if name != "manifest.json"
        }
        members = members | {"manifest.json": json.dumps(told).encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_all(path: Path) -> None:
    """Read everything that a translation reads, but for the vocabulary, which takes a process."""
    model = open_model(path)
    model.recipe()
    model.read(model.vocabulary_name)
    model.weights(model.checkpoints("best"))


def refused(path: Path, read: Callable[[Path], Any] = read_all) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path)
    assert path.name in caught.value.problem
    assert caught.value.fix
    return caught.value


def test_a_package_holds_the_model_of_the_run(run, package):
    of_run, of_package = load_model(run), load_model(package)
    assert of_package.checkpoint.name == of_run.checkpoint.name
    assert of_package.checkpoint.step == of_run.checkpoint.step
    assert of_package.subwords.pieces == of_run.subwords.pieces
    theirs = dict(of_run.model.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in of_package.model.named_parameters())
    assert open_model(package).recipe(["decoding.beam_size=7"]).decoding.beam_size == 7


def test_a_package_is_known_by_its_ending_or_by_what_it_is(run, package, tmp_path):
    other = tmp_path / "copy.zip"
    other.write_bytes(package.read_bytes())
    assert is_package(package)
    assert is_package(other)
    assert is_package(tmp_path / "not-there-yet.mtmoe")
    assert not is_package(run)
    read_all(other)
    (tmp_path / "folder.mtmoe").mkdir()
    assert not is_package(tmp_path / "folder.mtmoe")


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32"])
def test_packages_of_a_run_have_the_same_bytes(run, tmp_path, precision):
    for name in ("one.mtmoe", "another.mtmoe"):
        package_run(PackageOptions(run, "0.1.0", precision=precision), tmp_path / name)
    assert (tmp_path / "one.mtmoe").read_bytes() == (tmp_path / "another.mtmoe").read_bytes()


def test_it_has_no_path_of_this_machine(run, package):
    own = str(run.parent).encode()
    assert all(own not in content for content in members_of(package).values())


def test_another_checkpoint_is_not_in_it(package):
    model = open_model(package)
    assert [checkpoint.name for checkpoint in model.checkpoints("step-00000001")] == ["step-00000001"]
    for name in ("last", "last:2", "step-00000009"):
        error = refused(package, lambda path, name=name: open_model(path).checkpoints(name))
        assert "a package holds one, step-00000001" in error.problem


def test_one_that_is_not_there(tmp_path):
    assert "does not exist" in refused(tmp_path / "no.mtmoe").problem


@pytest.mark.parametrize("content", [b"", b"PK", b"\x00" * 1000, b"PK\x05\x06" + b"\x00" * 18])
def test_a_file_that_is_none(tmp_path, content):
    path = tmp_path / "model.mtmoe"
    path.write_bytes(content)
    refused(path)


def test_one_that_was_cut_short_is_told(package, tmp_path):
    path = tmp_path / "model.mtmoe"
    content = package.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        refused(path)


def test_a_flipped_bit_is_told_or_changes_nothing(package, tmp_path):
    path, content, generator = tmp_path / "model.mtmoe", package.read_bytes(), random.Random(1)
    sound = members_of(package)
    told = []
    for _ in range(150):
        changed = bytearray(content)
        place = generator.randrange(len(content))
        changed[place] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        try:
            model = Package(path)
            assert all(model.read(name) == sound[name] for name in model.manifest.members)
        except UserError as error:
            told.append(error.problem)
    assert len(told) > 75
    assert all("model.mtmoe" in problem for problem in told)


@pytest.mark.parametrize("name", ["recipe.toml", "subwords.model", "model.safetensors", "README.md", "manifest.json"])
def test_a_missing_member_is_named(package, tmp_path, name):
    members = members_of(package)
    del members[name]
    assert name in refused(write(tmp_path / "model.mtmoe", members, manifest=False)).problem
    if name != "manifest.json":
        assert name in refused(write(tmp_path / "model.mtmoe", members)).problem


def test_a_member_that_the_manifest_does_not_know(package, tmp_path):
    members = members_of(package) | {"extra.bin": b"x"}
    error = refused(write(tmp_path / "model.mtmoe", members, manifest=False))
    assert "manifest.json knows nothing of extra.bin" in error.problem


def test_a_changed_member_of_the_same_size(package, tmp_path):
    members = members_of(package)
    content = bytearray(members["recipe.toml"])
    content[-5] ^= 1
    members["recipe.toml"] = bytes(content)
    error = refused(write(tmp_path / "model.mtmoe", members, manifest=False))
    assert "recipe.toml: damaged: its SHA-256 is" in error.problem


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..\\evil", ".hidden"])
def test_a_name_outside_of_the_package_is_refused_and_nothing_is_written(package, tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    error = refused(write(folder / "model.mtmoe", members_of(package) | {name: b"evil"}))
    assert "names a place outside of it" in error.problem
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "model.mtmoe"]


def test_a_bomb_is_not_unpacked(package, tmp_path):
    bomb = bytes(40 << 20)
    error = refused(write(tmp_path / "model.mtmoe", members_of(package) | {"model.safetensors": bomb}))
    assert "model.safetensors would be 41,943,040 bytes" in error.problem


def test_the_same_name_twice_and_too_many_names(package, tmp_path):
    members = members_of(package)
    path = write(tmp_path / "model.mtmoe", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("recipe.toml", b"name = 'evil'")
    assert "names of them different" in refused(path).problem
    many = {f"member{number}": b"" for number in range(40)}
    assert "members" in refused(write(tmp_path / "many.mtmoe", members | many)).problem


def test_an_encrypted_archive_and_another_compression(package, tmp_path):
    path = tmp_path / "model.mtmoe"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in members_of(package).items():
            archive.writestr(name, content)
    assert "other means than deflate" in refused(path).problem
    content = bytearray(package.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # the flag of encryption
    path.write_bytes(content)
    assert "encrypted" in refused(path).problem


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("format_version", 2, r"is a package of format 2, but this mtmoe reads format 1"),
        ("run_format_version", 99, r"its model is of a newer mtmoe \(0\.1\.0\): format 99"),
        ("run_format_version", 1, r"its model is of an older mtmoe"),
        ("format", "something else", r"damaged: format"),
        ("precision", "int4", r"damaged: precision"),
        ("members", {"../evil": {"num_bytes": 1, "sha256": "0" * 64}}, r"damaged: members"),
        ("checkpoints", [], r"damaged: checkpoints"),
    ],
)
def test_other_manifests_are_refused(package, tmp_path, key, value, what):
    members = members_of(package)
    told = json.loads(members["manifest.json"]) | {key: value}
    members["manifest.json"] = json.dumps(told).encode()
    with pytest.raises(UserError, match=what):
        read_all(write(tmp_path / "model.mtmoe", members, manifest=False))


def test_weights_that_are_not_the_recipes_are_refused_before_memory_is_asked_for(package, tmp_path):
    members = members_of(package)
    vast = members["recipe.toml"].decode().replace("width = 16", "width = 65536").encode()
    assert vast != members["recipe.toml"]
    error = refused(write(tmp_path / "model.mtmoe", members | {"recipe.toml": vast}), load_model)
    assert "the recipe wants" in error.problem
    other = tensors_as_bytes({"other": torch.zeros(2)})
    error = refused(write(tmp_path / "model.mtmoe", members | {"model.safetensors": other}), load_model)
    assert "does not fit the recipe: missing" in error.problem
    error = refused(write(tmp_path / "model.mtmoe", members | {"model.safetensors": b"\xff" * 100}), load_model)
    assert "model.safetensors: damaged" in error.problem


def test_a_vocabulary_from_elsewhere_is_tried_where_it_does_no_harm(package, tmp_path):
    members = members_of(package) | {"subwords.model": random.Random(1).randbytes(3000)}
    error = refused(write(tmp_path / "model.mtmoe", members), load_model)
    assert "subwords.model: not a sound SentencePiece model" in error.problem


def test_a_recipe_that_is_none(package, tmp_path):
    for content in (b"\xff\xfe", b"name = ", b"name = 'x'\nunknown = 1\n"):
        assert (
            "recipe.toml"
            in refused(write(tmp_path / "m.mtmoe", members_of(package) | {"recipe.toml": content})).problem
        )


def test_a_package_may_be_read_from_an_open_file(package):
    model = Package(Path("elsewhere.mtmoe"), io.BytesIO(package.read_bytes()))
    assert load_model(model).checkpoint.name == "step-00000001"
