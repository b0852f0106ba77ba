"""Text that a model made: its tag, and that nothing of it is held out or has what is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.augmentation.augmenter import augmenter_of
from mtmoe.data.batches.token_batches import BatchStream
from mtmoe.data.cleaning.contamination_gate import comparison_key
from mtmoe.data.prepared.data_directory import HELD_OUT_TEST, Prepared, open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from tests.toy import WORDS, toy_settings

TAG = "<BT>"


def made_source(folder: Path, num_pairs: int = 60, *, tag_in_text: bool = False, **settings: Any) -> dict[str, Any]:
    """A table of pairs whose sources are in capitals, so that they are known."""
    generator = random.Random(9)
    path = folder / "bt.tsv"
    rows = []
    for _ in range(num_pairs):
        words = generator.sample(list(WORDS), 6)
        source = " ".join(words).upper()
        rows.append(f"{TAG + ' ' if tag_in_text else ''}{source}\t{' '.join(WORDS[word] for word in words)}\t-1.0\n")
    path.write_text("".join(rows), encoding="utf-8")
    return {"name": "bt", "format": "tsv", "file": {"path": str(path)}, "origin": "back-translated", **settings}


def recipe_of(folder: Path, *made: dict[str, Any], **data: Any) -> Recipe:
    settings = toy_settings(folder)
    settings["data"]["train"] += made
    settings["data"] |= data
    return recipe_from_dict(settings, folder / "toy.toml")


def train_texts(prepared: Prepared) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each part, as they were encoded."""
    vocabulary, begin, found = load_vocabulary(prepared.subwords_path), 0, {}
    for part in prepared.train.parts:
        numbers = range(begin, begin + part.num_pairs)
        sides = ((prepared.train.source(n).tolist(), prepared.train.target(n).tolist()) for n in numbers)
        found[part.name] = [(vocabulary.decode(source), vocabulary.decode(target)) for source, target in sides]
        begin += part.num_pairs
    return found


@pytest.mark.parametrize("tag_in_text", [False, True])
def test_the_tag_stands_once_before_each_made_source_and_is_one_subword(tmp_path: Path, tag_in_text: bool) -> None:
    recipe = recipe_of(tmp_path, made_source(tmp_path, tag_in_text=tag_in_text, tag=TAG))
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    texts = train_texts(prepared)
    assert len(texts["bt"]) == 60
    assert all(source.startswith(f"{TAG} ") and source.count(TAG) == 1 for source, _ in texts["bt"])
    assert not any(TAG in text for pair in texts["train"] for text in pair)
    pieces = load_vocabulary(prepared.subwords_path).pieces
    assert list(pieces).count(TAG) == 1
    assert all(pieces.index(TAG) in prepared.train.source(len(prepared.train) - 60 + n)[:2].tolist() for n in range(60))


def test_made_text_is_neither_held_out_nor_has_what_is(tmp_path: Path) -> None:
    made = made_source(tmp_path, 300)
    recipe = recipe_of(tmp_path, made, valid="split", test="split", held_out={"valid_pairs": 50, "test_pairs": 50})
    # Half of the made targets are targets of people: those that were held out must go.
    people = (tmp_path / "train.fr").read_text().splitlines()
    path = tmp_path / "bt.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for number, row in enumerate(rows[:150]):
        row[1] = people[number * 3]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    held_out = [*prepared.valid_target, *prepared.test_sets[HELD_OUT_TEST].reference.read_text().splitlines()]
    assert len(held_out) == 100
    assert set(held_out) <= set(people)
    keys = {comparison_key(line) for line in held_out}
    texts = train_texts(prepared)
    assert not [target for _, target in texts["bt"] if comparison_key(target) in keys]
    report = prepared.report.train["bt"]
    assert report["in_dev_or_test"] > 5
    assert report["kept"] == len(texts["bt"]) == 300 - report["in_dev_or_test"] - report["duplicate"]
    assert [part.name for part in prepared.train.parts] == ["train", "bt"]


def test_what_is_held_out_does_not_depend_on_made_text(tmp_path: Path) -> None:
    split: dict[str, Any] = {"valid": "split", "test": "split", "held_out": {"valid_pairs": 50, "test_pairs": 50}}
    for name, made in (("with", [made_source(tmp_path)]), ("without", [])):
        prepare(recipe_of(tmp_path, *made, **split), tmp_path / name, tmp_path / "cache")
    first, second = (open_prepared(tmp_path / name).test_digests for name in ("with", "without"))
    assert first == second


def test_augmentation_leaves_the_tag_alone(tmp_path: Path) -> None:
    augmentation = {"lower": 0.3, "title": 0.3, "typos": 0.3, "typo_rate": 0.3, "items": 0.3, "merged": 0.3}
    recipe = recipe_of(tmp_path, made_source(tmp_path, tag=TAG), augmentation=augmentation)
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    vocabulary = load_vocabulary(prepared.subwords_path)
    augmenter = augmenter_of(recipe, prepared, vocabulary)
    stream = BatchStream(prepared.train, batch_tokens=400, max_tokens_per_sentence=60, seed=1, augmenter=augmenter)
    sources: list[str] = []
    for batch, following in stream.batches():
        sources += vocabulary.decode_batch(batch.source_BS.tolist())  # type: ignore[attr-defined]
        if following.epoch == 2:
            break
    tagged = [source for source in sources if TAG in source]
    assert len(tagged) == 2 * 60
    assert all(source.startswith(f"{TAG} ") and source.count(TAG) == 1 for source in tagged)
    assert len({source for source in tagged if source != source.upper()}) > 20  # others were changed


def test_directories_that_were_made_before_are_still_the_same(tmp_path: Path) -> None:
    prepared = prepare(recipe_of(tmp_path), tmp_path / "data", tmp_path / "cache").prepared
    assert not [key for key in prepared.manifest.ingredients if key.endswith((".origin", ".tag"))]
    again = recipe_of(tmp_path, made_source(tmp_path))
    with pytest.raises(UserError, match="holds data of another recipe or of other text"):
        prepare(again, tmp_path / "data", tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "data", "complaint"),
    [
        ({"origin": "human", "tag": TAG}, {}, "tag = '<BT>' of 'bt' is for made text, but origin = \"human\""),
        ({"tag": "<2fr>"}, {}, "tag = '<2fr>' of 'bt' looks like the token of a language"),
        ({"tag": "a b"}, {}, "tag"),
        ({"origin": "back-translation"}, {}, "did you mean 'back-translated'"),
        ({}, {"train": [], "valid": "split", "test": []}, 'valid = "split" holds out text of people, but origin'),
        ({}, {"valid": []}, "what a model wrote measures nothing; only sources of train are made"),
    ],
)
def test_contradictions_are_told(tmp_path: Path, source: dict[str, Any], data: dict[str, Any], complaint: str) -> None:
    settings = toy_settings(tmp_path)
    made = made_source(tmp_path, **source)
    settings["data"] |= data
    part = "valid" if data == {"valid": []} else "train"
    settings["data"][part] = [*settings["data"][part], made]
    with pytest.raises(UserError) as error:
        recipe_from_dict(settings, tmp_path / "toy.toml")
    assert complaint in str(error.value)
