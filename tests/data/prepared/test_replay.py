"""Old text beside new: what is read of another data directory, and what is kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.prepared.replay import open_replay
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from tests.toy import prepared_toy, toy_settings


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's data directory."""
    return prepared_toy(tmp_path_factory.mktemp("old"))[1]


def write(directory: Path, name: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    for suffix, side in (("en", 0), ("fr", 1)):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        (directory / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    files = {"source_file": {"path": f"{directory}/{name}.en"}, "target_file": {"path": f"{directory}/{name}.fr"}}
    return {"name": name, "format": "text", **files}


def recipe_of(directory: Path, old: Path, **data: Any) -> Recipe:
    """Sixty new pairs, of which the first is a test sentence of the old text, beside the old text."""
    pairs = [(f"the file {n} is open", f"le fichier {n} est ouvert") for n in range(60)]
    (known,) = [lines[0] for lines in (texts_of(open_prepared(old), "test/test"),)]
    settings = toy_settings(directory)
    settings["data"] |= {
        "train": [write(directory, "new", [known, *pairs])],
        "valid": [write(directory, "newdev", [(f"close {n}", f"ferme {n}") for n in range(5)])],
        "test": [write(directory, "newtest", [(f"save {n}", f"garde {n}") for n in range(4)])],
        "replay": {"data_dir": str(old), "weight": 0.5},
        **data,
    }
    return recipe_from_dict(settings, directory / "toy.toml")


def texts_of(prepared: Prepared, name: str) -> list[tuple[str, str]]:
    sides = ((prepared.directory / "text" / f"{name}.{side}").read_text().splitlines() for side in ("source", "target"))
    return list(zip(*sides, strict=True))


def training_text(prepared: Prepared) -> list[tuple[str, str]]:
    vocabulary, corpus = load_vocabulary(prepared.subwords_path), prepared.train
    return [
        (vocabulary.decode(corpus.source(n).tolist()), vocabulary.decode(corpus.target(n).tolist()))
        for n in range(len(corpus))
    ]


def test_old_text_is_a_part_of_its_own_with_its_weight_and_its_sets(tmp_path, old):
    prepared = prepare(recipe_of(tmp_path, old), tmp_path / "data", tmp_path / "cache").prepared
    before = open_prepared(old)
    assert [(part.name, part.weight) for part in prepared.train.parts] == [("new", 1.0), ("replay", 0.5)]
    new, replayed = prepared.train.parts
    assert new.num_pairs == 60, "the sentence of the old test set is held out"
    assert training_text(prepared)[60:] == training_text(before)
    assert replayed.num_pairs == len(before.train)
    assert [(part.name, part.num_pairs) for part in prepared.valid.parts] == [("newdev", 5), ("replay", 30)]
    assert texts_of(prepared, "valid")[5:] == texts_of(before, "valid")
    assert prepared.manifest.test_sets == {"newtest": 4, "replay-test": 30}
    assert texts_of(prepared, "test/replay-test") == texts_of(before, "test/test")
    assert prepared.target_language("valid", "replay") == "fr"
    assert prepared.report.train["replay"]["kept"] == len(before.train)


def test_a_split_is_of_the_new_text_alone_and_holds_its_sentences_out_of_the_old(tmp_path, old):
    both = training_text(open_prepared(old))[:30]
    twice = write(tmp_path, "twice", [*both, *((f"the file {n} is open", f"le fichier {n}") for n in range(60))])
    recipe = recipe_of(
        tmp_path, old, valid="split", test="split", train=[twice], held_out={"valid_pairs": 20, "test_pairs": 20}
    )
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    held_out = {*texts_of(prepared, "test/held-out"), *texts_of(prepared, "valid")[:20]}
    assert [(part.name, part.num_pairs) for part in prepared.valid.parts] == [("held-out", 20), ("replay", 30)]
    assert len(held_out) == 40
    assert held_out & set(both), "else nothing would be seen"
    assert held_out < {*both, *((f"the file {n} is open", f"le fichier {n}") for n in range(60))}
    assert not held_out & set(training_text(prepared))


def test_the_old_text_is_part_of_what_the_directory_is_made_of(tmp_path, old):
    recipe = recipe_of(tmp_path, old)
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    moved = recipe.model_dump(mode="json", exclude_none=True)
    moved["data"]["replay"]["data_dir"] = f"{old}/../data"
    again = prepare(recipe_from_dict(moved, Path("toy")), tmp_path / "data", tmp_path / "cache")
    assert again.reused, "where it lies does not matter"
    moved["data"]["replay"]["weight"] = 1.0
    with pytest.raises(UserError, match=r"data.replay.weight is 1.0, but was 0.5"):
        prepare(recipe_from_dict(moved, Path("toy")), tmp_path / "data", tmp_path / "cache")


def test_what_cannot_be_replayed_is_told(tmp_path, old):
    settings = recipe_of(tmp_path, old).model_dump(mode="json", exclude_none=True)
    with pytest.raises(UserError, match="is text of en-fr, but the recipe is of en-de"):
        open_replay(recipe_from_dict(settings | {"data": settings["data"] | {"target_language": "de"}}, Path("x")).data)
    for data, told in (
        ({"replay": {"weight": 0.5}}, "data.replay.weight = 0.5 has no text"),
        ({"train": [settings["data"]["train"][0] | {"name": "replay"}]}, "a source is named 'replay'"),
        ({"replay": {"data_dir": str(tmp_path / "nothing")}}, "nothing: no such directory"),
    ):
        with pytest.raises(UserError, match=told):
            open_replay(recipe_from_dict(settings | {"data": settings["data"] | data}, Path("x")).data)
