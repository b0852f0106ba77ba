"""Several directions in one corpus: tokens, temperature, and what is held out."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.batches.token_batches import BatchStream
from mtmoe.data.cleaning.language_tokens import balanced_by_temperature
from mtmoe.data.prepared.corpus import Part
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError
from tests.toy import toy_settings

SIZES = {"en-fr": 240, "en-de": 60, "fr-en": 30}
ENDINGS = {"en": "", "fr": "e", "de": "en"}


def source_of(folder: Path, part: str, direction: str, sentences: list[str]) -> dict[str, Any]:
    """Aligned files; a language is English words with an ending of its own."""
    source, _, target = direction.partition("-")
    table: dict[str, Any] = {"name": f"{part}-{direction}", "direction": direction, "format": "text"}
    for side, language in (("source", source), ("target", target)):
        path = folder / f"{part}.{direction}.{side}"
        lines = (" ".join(word + ENDINGS[language] for word in sentence.split()) for sentence in sentences)
        path.write_text("".join(f"{line}\n" for line in lines))
        table[f"{side}_file"] = {"path": str(path)}
    return table


def sentences(seed: int, number: int) -> list[str]:
    generator = random.Random(seed)
    words = [a + b for a in ("ba", "ke", "li", "mo") for b in ("tan", "rus", "fip", "gog")]
    return [" ".join(generator.sample(words, generator.randint(4, 8))) for _ in range(number)]


def multilingual(folder: Path, temperature: float = 1.0, **data: Any) -> Recipe:
    settings = toy_settings(folder)
    settings["data"] = {
        "source_language": "mul",
        "target_language": "mul",
        "multilingual": {"temperature": temperature},
        "train": [source_of(folder, "train", d, sentences(i, n)) for i, (d, n) in enumerate(SIZES.items())],
        "valid": [source_of(folder, "valid", d, sentences(10 + i, 6)) for i, d in enumerate(SIZES)],
        "test": [source_of(folder, "test", "en-fr", sentences(20, 6))],
        **data,
    }
    return recipe_from_dict(settings, folder / "multilingual.toml")


def test_each_source_sentence_begins_with_the_token_of_its_target_language(tmp_path: Path) -> None:
    prepared = prepare(multilingual(tmp_path), tmp_path / "data", tmp_path / "cache").prepared
    model = SubwordModel(prepared.subwords_path)
    tokens = {language: model.pieces.index(f"<2{language}>") for language in ("fr", "de", "en")}
    begin = 0
    for part, (direction, number) in zip(prepared.train.parts, SIZES.items(), strict=True):
        assert part.num_pairs == number
        wanted = tokens[direction.rpartition("-")[2]]
        for index in range(begin, begin + number):
            assert prepared.train.source(index).tolist().count(wanted) == 1
            assert wanted in prepared.train.source(index)[:2].tolist()  # perhaps behind the mark of a word's beginning
            assert not set(prepared.train.target(index).tolist()) & set(tokens.values())
        begin += number
    assert all(line.startswith("<2fr> ") for line in prepared.test_sets["test-en-fr"].source.read_text().splitlines())
    assert [(part.name, part.num_pairs) for part in prepared.valid.parts] == [(f"valid-{d}", 6) for d in SIZES]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 100.0])
def test_an_epoch_has_each_direction_as_often_as_the_temperature_says(tmp_path: Path, temperature: float) -> None:
    prepared = prepare(multilingual(tmp_path, temperature), tmp_path / "data", tmp_path / "cache").prepared
    model = SubwordModel(prepared.subwords_path)
    tokens = {model.pieces.index(f"<2{language}>"): language for language in ("fr", "de", "en")}
    stream = BatchStream(prepared.train, batch_tokens=600, max_tokens_per_sentence=200, seed=1)
    seen: Counter[str] = Counter()
    for batch, position in stream.batches():
        for row in batch.source_BS.tolist():
            seen.update(tokens[i] for i in row if i in tokens)
        if position.epoch:
            break
    wanted = {d.rpartition("-")[2]: n ** (1 / temperature) for d, n in SIZES.items()}
    for language, weight in wanted.items():
        expected = 330 * weight / sum(wanted.values())
        assert seen[language] == pytest.approx(expected, abs=1.01)


def test_sources_of_one_direction_share_its_weight() -> None:
    parts = [Part("a", 1.0, 100), Part("b", 1.0, 300), Part("c", 1.0, 100), Part("d", 1.0, 0)]
    balanced = balanced_by_temperature(parts, ["x", "x", "y", "y"], 2.0)
    assert balanced[0].weight == balanced[1].weight
    seen = np.array([part.weight * part.num_pairs for part in balanced])
    assert seen.sum() == pytest.approx(500)
    assert (seen[0] + seen[1]) / seen[2] == pytest.approx(2.0)  # the root of 400 / 100


@pytest.mark.parametrize("direction", ["de-en", "en-fr"], ids=["of another pair", "the other way round"])
def test_a_test_sentence_is_held_out_of_every_direction_and_side(tmp_path: Path, direction: str) -> None:
    test = sentences(20, 6)
    train = [
        source_of(tmp_path, "leak", "fr-en", [*test, *sentences(7, 50)]),
        source_of(tmp_path, "more", "en-fr", sentences(8, 40)),
    ]
    valid = [source_of(tmp_path, "valid", "fr-en", sentences(11, 5))]
    recipe = multilingual(tmp_path, train=train, valid=valid, test=[source_of(tmp_path, "test", direction, test)])
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    assert prepared.report.train["leak-fr-en"]["in_dev_or_test"] == 6


def test_a_split_gives_a_test_set_for_each_direction_and_keeps_a_sentences_directions_together(tmp_path: Path) -> None:
    shared = sentences(3, 200)
    train = [source_of(tmp_path, "train", d, shared) for d in ("en-fr", "en-de")]
    recipe = multilingual(tmp_path, train=train, valid="split", test="split",
                          held_out={"valid_pairs": 20, "test_pairs": 30})  # fmt: skip
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    assert set(prepared.test_sets) <= {"held-out-en-fr", "held-out-en-de"}
    model = SubwordModel(prepared.subwords_path)
    trained = {model.decode(prepared.train.source(i).tolist())[6:].strip() for i in range(len(prepared.train))}
    held_out = [line[6:] for s in prepared.test_sets.values() for line in s.source.read_text().splitlines()]
    assert len(held_out) == 30
    assert not trained & set(held_out)


def test_the_two_directions_of_the_same_pairs_leak_nothing_into_the_training_text(tmp_path: Path) -> None:
    there = source_of(tmp_path, "there", "en-fr", sentences(3, 200))
    files = {"source_file": there["target_file"], "target_file": there["source_file"]}
    back = {**there, **files, "name": "back", "direction": "fr-en"}
    held_out = {"valid_pairs": 20, "test_pairs": 34}
    recipe = multilingual(tmp_path, train=[there, back], valid="split", test="split", held_out=held_out)
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    model = SubwordModel(prepared.subwords_path)

    def text(ids: np.ndarray) -> str:
        return re.sub("<2..>", "", model.decode(ids.tolist())).strip()

    trained = {
        text(side(i)) for i in range(len(prepared.train)) for side in (prepared.train.source, prepared.train.target)
    }
    for files in prepared.test_sets.values():
        for line in (*files.source.read_text().splitlines(), *files.reference.read_text().splitlines()):
            assert re.sub("<2..> ", "", line) not in trained
    assert sum(prepared.manifest.test_sets.values()) == 34
    assert len(prepared.train) == 400 - 54


def test_a_pair_is_a_duplicate_within_its_direction_alone(tmp_path: Path) -> None:
    """The same words into two languages and the same pair the other way round are text of their own."""
    path = tmp_path / "same.tsv"
    path.write_text("".join(f"{a}\t{b}\n{b}\t{a}\n" for a, b in zip(sentences(1, 50), sentences(2, 50), strict=True)))
    train = [
        {"name": f"{d}-{copy}", "direction": d, "format": "tsv", "file": {"path": str(path)}}
        for d in ("en-fr", "en-de", "fr-en")
        for copy in range(2)
    ]
    valid = [source_of(tmp_path, "valid", "fr-en", sentences(11, 5))]
    prepared = prepare(multilingual(tmp_path, train=train, valid=valid), tmp_path / "data", tmp_path / "cache").prepared
    assert [prepared.report.train[source["name"]]["duplicate"] for source in train] == [0, 100] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_language": "en"}, 'source_language and target_language are "mul"'),
        ({"multilingual": None, "target_language": "fr", "source_language": "en"}, "needs [data.multilingual]"),
        ({"test": "one into es"}, "'test-en-es' translates into 'es', whose token the vocabulary lacks"),
        ({"test": "no direction"}, "'x' of test has no direction"),
        ({"test": "weighted"}, "weight = 2.0 of 'train-en-fr' and multilingual.temperature = 3.0 both say"),
    ],
)
def test_what_does_not_fit_is_an_error_with_both_values(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    ENDINGS.setdefault("es", "o")
    plain = {"name": "x", "format": "tsv", "file": {"path": "x"}}
    if changes.get("test") == "one into es":
        changes = {"test": [source_of(tmp_path, "test", "en-es", ["ba"])]}
    elif changes.get("test") == "no direction":
        changes = {"test": [plain]}
    elif changes.get("test") == "weighted":
        weighted = source_of(tmp_path, "train", "en-fr", ["ba"]) | {"weight": 2.0}
        changes = {"train": [weighted], "valid": [weighted | {"weight": 1.0}], "multilingual": {"temperature": 3.0}}
    with pytest.raises(UserError) as raised:
        multilingual(tmp_path, **changes)
    assert message in str(raised.value)


def test_a_direction_without_a_pair_is_an_error_that_names_it_and_why(tmp_path: Path) -> None:
    same = source_of(tmp_path, "train", "en-fr", sentences(1, 40))
    (tmp_path / "empty.tsv").write_text("x\tx\n")
    empty = {"name": "empty", "direction": "en-de", "format": "tsv", "file": {"path": str(tmp_path / "empty.tsv")}}
    valid = [source_of(tmp_path, "valid", "en-fr", sentences(11, 5))]
    recipe = multilingual(tmp_path, train=[same, empty], valid=valid)
    with pytest.raises(UserError) as raised:
        prepare(recipe, tmp_path / "data", tmp_path / "cache")
    assert "direction en-de (empty): no pair of the 1 that were read is left to train on (1 identical sides)" in str(
        raised.value
    )
