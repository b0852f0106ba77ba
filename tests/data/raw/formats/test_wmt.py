"""The text of a WMT member: a copy of a data set with the schema of wmt14 to wmt19, and a test set of sacreBLEU."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mtmoe.config import Recipe, load_recipe
from mtmoe.config.settings import Multilingual, SacrebleuSource, Source
from mtmoe.data.prepared.manifest import inputs_of
from mtmoe.data.raw import fetching
from mtmoe.data.raw.sentence_pairs import BadLine, Pair
from mtmoe.data.raw.sources import read_pairs
from mtmoe.errors import UserError

ROWS = [
    ("Ein Hund.", "A dog."),
    (None, "No German."),
    ("Kein Englisch.", None),
    (None, None),
    ("Zwei Katzen.", "Cats."),
]
CARD = """---
configs:
- config_name: de-en
  data_files:
  - split: train
    path: de-en/train-*
  - split: validation
    path: de-en/validation-*
- config_name: fr-de
  data_files:
  - split: train
    path: fr-de/train-*
---
"""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as the hub's repositories of WMT are: a card with configurations, and parquet files of each."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "wmt19"
    (folder / "README.md").parent.mkdir()
    (folder / "README.md").write_text(CARD, encoding="utf-8")

    def write(name: str, pair: tuple[str, str], rows: list[Any]) -> None:
        features = datasets.Features({"translation": datasets.Translation(languages=list(pair))})
        nested = [None if row is None else dict(zip(pair, row, strict=True)) for row in rows]
        path = folder / "-".join(pair) / f"{name}-of-00002.parquet"
        path.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict({"translation": nested}, features=features).to_parquet(str(path))

    write("train-00000", ("de", "en"), ROWS)
    write("train-00001", ("de", "en"), [("Drei.", "Three.")])
    write("validation-00000", ("de", "en"), [("Ja.", "Yes.")])
    write("train-00000", ("fr", "de"), [("Un chien.", "Ein Hund.")])
    return folder


@pytest.fixture
def test_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sacreBLEU's directory with wmt19 de-en, of two sentences, in it, and no network."""
    from sacrebleu.dataset import DATASETS

    monkeypatch.setattr("sacrebleu.dataset.base.SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    for name in ("wmt19", "wmt20"):
        usual = DATASETS[name]
        here = type(usual)(usual.name, usual.data, usual.description, usual.citation, usual.md5, usual.langpairs)
        monkeypatch.setitem(DATASETS, name, here)
    (tmp_path / "sacrebleu" / "wmt19").mkdir(parents=True)
    for field in DATASETS["wmt19"].fieldnames("de-en"):
        text = {"src": "Eins.\nZwei.\n", "ref": "One.\nTwo.\n"}.get(field, "x\nx\n")
        (tmp_path / "sacrebleu" / "wmt19" / f"wmt19.de-en.{field}").write_text(text)

    def refused(*arguments: Any, **options: Any) -> NoReturn:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    return tmp_path / "sacrebleu" / "wmt19"


def _of_copy(recipe: Recipe, copy: Path, *, streaming: bool) -> Recipe:
    """The recipe with its hub data sets taken from a directory; nothing else is changed."""
    own = {"dataset": str(copy), "streaming": streaming}
    parts = {part: tuple(s.model_copy(update=own) for s in getattr(recipe.data, part)) for part in ("train", "valid")}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=parts)})


def _read(source: Source, recipe: Recipe, tmp_path: Path) -> tuple[list[Pair], list[int]]:
    bad_lines: list[BadLine] = []
    pairs = list(read_pairs(source, recipe.data, tmp_path / "cache", bad_lines.append))
    return pairs, [line.line for line in bad_lines]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["wmt19-de-en-small", "wmt19-en-de"])
def test_both_directions_read_the_nested_pairs_and_leave_out_rows_without_a_side(
    name: str, streaming: bool, copy: Path, tmp_path: Path
) -> None:
    recipe = _of_copy(load_recipe(name), copy, streaming=streaming)
    whole = [(de, en) for de, en in [*ROWS, ("Drei.", "Three.")] if de and en]
    expected = whole if "de-en" in name else [(en, de) for de, en in whole]
    assert _read(recipe.data.train[0], recipe, tmp_path) == (expected, [2, 3, 4])
    assert len(_read(recipe.data.valid[0], recipe, tmp_path)[0]) == 1


def test_a_pair_without_english_is_read_in_its_own_languages(copy: Path, tmp_path: Path) -> None:
    recipe = _of_copy(load_recipe("wmt19-de-fr-small"), copy, streaming=True)
    assert _read(recipe.data.train[0], recipe, tmp_path)[0] == [("Ein Hund.", "Un chien.")]


def test_rows_without_any_translation_are_left_out(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"translation": {"de": datasets.Value("string"), "en": datasets.Value("string")}})
    rows = {"translation": [None, {"de": "Ja.", "en": "Yes."}]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "d"))
    recipe = load_recipe("wmt19-de-en")
    source = recipe.data.train[0].model_copy(update={"dataset": str(tmp_path / "d"), "subset": ""})
    assert _read(source, recipe, tmp_path) == ([("Ja.", "Yes.")], [1])


def test_the_test_set_of_a_member_is_read_in_its_direction(test_sets: Path, tmp_path: Path) -> None:
    recipe = load_recipe("wmt19-de-en")
    assert _read(recipe.data.test[0], recipe, tmp_path) == ([("Eins.", "One."), ("Zwei.", "Two.")], [])


def test_a_test_set_is_planned_fetched_and_hashed_like_other_text(test_sets: Path, tmp_path: Path) -> None:
    recipe = load_recipe("wmt19-de-en")
    data = recipe.data.model_copy(update={"train": recipe.data.test, "valid": recipe.data.test})
    recipe = recipe.model_copy(update={"data": data})
    [planned] = fetching.planned_downloads(recipe, tmp_path)
    assert (planned.name, planned.origin, planned.path) == ("newstest2019", "sacreBLEU (wmt19)", test_sets)
    assert planned.cached
    assert fetching.fetch(recipe, tmp_path) == [planned]
    before = inputs_of(recipe, "test", tmp_path)
    assert set(before) == {"data.test.newstest2019.source.sha256", "data.test.newstest2019.reference.sha256"}
    (test_sets / "wmt19.de-en.ref").write_text("One.\nThree.\n")
    changed = inputs_of(recipe, "test", tmp_path)
    assert [key for key in before if before[key] != changed[key]] == ["data.test.newstest2019.reference.sha256"]
    shutil.rmtree(test_sets)
    [missing] = fetching.planned_downloads(recipe, tmp_path)
    assert not missing.cached
    with pytest.raises(UserError, match="the test set wmt19 could not be fetched from "):
        fetching.fetch(recipe, tmp_path)
    assert os.path.isdir(tmp_path)


@pytest.mark.parametrize(
    ("changes", "direction", "message"),
    [
        ({"test_set": "wmt91"}, "", "sacreBLEU has no test set 'wmt91'"),
        ({"test_set": "wmt20"}, "fi-en", "the test set wmt20 is not there for 'fi-en'"),
    ],
)
def test_a_test_set_that_is_not_there_is_an_error_before_anything_is_fetched(
    changes: dict[str, str], direction: str, message: str, test_sets: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("wmt19-de-en")
    source = SacrebleuSource(name="t", format="sacrebleu", direction=direction, **changes)
    data = recipe.data.model_copy(update={"test": (source,), "multilingual": Multilingual() if direction else None})
    recipe = recipe.model_copy(update={"data": data})
    with pytest.raises(UserError, match=message):
        fetching.planned_downloads(recipe, tmp_path)
    with pytest.raises(UserError, match=message):
        _read(source, recipe, tmp_path)


def test_a_language_model_has_no_test_set_of_pairs(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extend = "demo-lm"\n[data]\ntest = [{ name = "t", format = "sacrebleu", test_set = "wmt20" }]\n')
    with pytest.raises(UserError, match=r'format = "sacrebleu" of \'t\' has two languages'):
        load_recipe(own)
