"""Text of one language, from its sources to the data directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.batches.token_batches import BatchStream, sequential_batches
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.vocabulary import BOS, EOS
from tests.toy import counting_recipe, counting_settings


def written(path: Path, *lines: str) -> dict[str, str]:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"path": str(path)}


def recipe_of(tmp_path: Path, sources: list[dict[str, Any]], **cleaning: Any) -> Recipe:
    settings = counting_settings(tmp_path)
    settings["data"]["train"], settings["data"]["cleaning"] = sources, cleaning
    settings["subwords"]["vocabulary_size"] = 8
    return recipe_from_dict(settings, tmp_path / "mine.toml")


def train_text(recipe: Recipe, tmp_path: Path) -> list[str]:
    prepared = prepare(recipe, tmp_path / "prepared", tmp_path / "cache").prepared
    vocabulary = load_vocabulary(prepared.subwords_path)
    return [vocabulary.decode(prepared.train.target(i).tolist()) for i in range(len(prepared.train))]


def test_lines_are_kept_in_order_with_blank_ones_and_repeated_ones_where_the_recipe_says_so(tmp_path: Path) -> None:
    lines = ["a b c", "", "d", "a b c", "", " d "]
    source = {"name": "x", "format": "lines", "file": written(tmp_path / "x.txt", *lines)}
    rules = {"keep_blank_lines": True, "remove_duplicates": False, "remove_test_overlap": False}
    assert train_text(recipe_of(tmp_path, [source], **rules), tmp_path) == ["a b c", "", "d", "a b c", "", "d"]
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())["train"]["x"]
    assert (report["read"], report["kept"], report["white_space"]) == (6, 6, 1)


def test_by_default_blank_and_repeated_lines_and_those_of_the_test_set_go(tmp_path: Path) -> None:
    settings_of_test = (tmp_path / "test.txt", "b c")
    source = {"name": "x", "format": "lines", "file": written(tmp_path / "x.txt", "a b", "", "c d", "a b", "B, c!")}
    recipe = recipe_of(tmp_path, [source])
    written(*settings_of_test)
    assert train_text(recipe, tmp_path) == ["a b", "c d"]
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())["train"]["x"]
    assert [report[rule] for rule in ("empty_side", "duplicate", "in_dev_or_test", "kept")] == [1, 1, 1, 2]


def test_of_pairs_the_target_side_is_read(tmp_path: Path) -> None:
    tsv = {
        "name": "t",
        "format": "tsv",
        "file": written(tmp_path / "x.tsv", "eins\ta b", "zwei\tc"),
        "source_column": 1,
    }
    text = {
        "name": "p",
        "format": "text",
        "source_file": written(tmp_path / "x.de", "drei", "vier"),
        "target_file": written(tmp_path / "x.en", "d", "a"),
    }
    assert train_text(recipe_of(tmp_path, [tsv, text]), tmp_path) == ["a b", "c", "d", "a"]


def test_a_split_holds_out_sentences_of_one_language(tmp_path: Path) -> None:
    settings = counting_settings(tmp_path)
    lines = [f"a{i % 60} b{i % 7} c{i % 50}" for i in range(300)]
    source = {"name": "x", "format": "lines", "file": written(tmp_path / "x.txt", *lines)}
    settings["data"] |= {"train": [source], "valid": "split", "test": "split", "cleaning": {"remove_duplicates": False}}
    settings["data"]["held_out"] = {"valid_pairs": 20, "test_pairs": 30}
    prepared = prepare(recipe_from_dict(settings, tmp_path / "x.toml"), tmp_path / "d", tmp_path / "cache").prepared
    vocabulary = load_vocabulary(prepared.subwords_path)
    train = {vocabulary.decode(prepared.train.target(i).tolist()) for i in range(len(prepared.train))}
    test = (tmp_path / "d" / "text" / "test" / "held-out.target").read_text().splitlines()
    assert (len(prepared.valid), len(test)) == (20, 30)
    assert not train & set(test)
    assert not (tmp_path / "d" / "text" / "valid.source").exists()


def test_batches_of_sentences_have_no_source(tmp_path: Path) -> None:
    recipe = counting_recipe(tmp_path)
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    corpus = open_prepared(tmp_path / "data").train
    batch, _ = next(BatchStream(corpus, batch_tokens=90, max_tokens_per_sentence=60, seed=1).batches())
    assert batch.source_BS.shape == (len(batch.target_BT), 0)
    assert batch.num_source_tokens == 0
    assert (batch.target_BT[:, 0] == BOS).all()
    ends = batch.target_BT.gather(1, batch.target_lengths_B[:, None])
    assert (ends == EOS).all()
    predicted = sum(batch.num_target_tokens for batch in sequential_batches(corpus, 90))
    assert predicted == corpus.num_target_tokens + len(corpus)


def test_data_of_another_kind_of_vocabulary_does_not_suit(tmp_path: Path) -> None:
    prepared = prepare(counting_recipe(tmp_path), tmp_path / "data", tmp_path / "cache").prepared
    other = {"subwords": {"algorithm": "unigram", "byte_fallback": True, "vocabulary_size": 300}}
    with pytest.raises(UserError, match=r'subwords\.algorithm is "unigram", but was "word"'):
        prepared.check_suits(counting_recipe(tmp_path, other))
