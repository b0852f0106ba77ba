"""`mtmoe init`: what it says, writes and refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from mtmoe.config import load_recipe
from tests.cli.conftest import Invoke
from tests.parallel_text import sentences, write_lines, write_tmx

SHORT = ("--minutes", "0.1", "--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a memory of English and German, and files of English, German and Japanese."""
    monkeypatch.chdir(tmp_path)
    write_tmx(tmp_path / "corpus.tmx", ("en", sentences("en")), ("de", sentences("de")))
    for code in ("en", "de", "ja"):
        write_lines(tmp_path / f"my.{code}", sentences(code))
    return tmp_path


def test_a_recipe_is_written_and_everything_is_told_in_80_columns(folder: Path, invoke: Invoke) -> None:
    result = invoke("init", "corpus.tmx", *SHORT)
    assert result.exit_code == 0, result.stderr
    recipe = load_recipe("corpus.toml")
    assert (recipe.name, recipe.data.languages, recipe.data.train[0].format) == ("corpus", "en-de", "tmx")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["found in corpus.tmx", "  TMX, en to de: 400 pairs, of which 400 can be used"]
    told = " ".join(result.stdout.split())
    assert f"{recipe.data.held_out.valid_pairs} pairs held out as the dev set" in told
    assert f"{recipe.subwords.vocabulary_size:,} subwords" in told
    assert f"{recipe.training.max_steps:,} steps of {recipe.training.batch_tokens}" in told
    assert "memory: about " in told
    assert lines[-2:] == ["  mtmoe train corpus.toml runs/corpus", "  mtmoe translate runs/corpus < text"]


def test_two_files_of_which_one_has_no_spaces(folder: Path, invoke: Invoke) -> None:
    result = invoke("init", "my.en", "my.ja", "--output", "ja.toml", "--json", *SHORT)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    recipe = tomllib.loads((folder / "ja.toml").read_text(encoding="utf-8"))
    assert (told["recipe"], told["found"]["languages"]) == ("ja.toml", {"source": "en", "target": "ja"})
    assert told["chosen"]["vocabulary_size"] == recipe["subwords"]["vocabulary_size"]
    assert told["found"]["num_usable"] == 400
    tokeniser = recipe["training"]["validation"].get("bleu_tokeniser", "ja-mecab")
    assert told["chosen"]["bleu_tokeniser"] in ("char", "")
    assert (tokeniser == "char") == (told["chosen"]["bleu_tokeniser"] == "char")


def test_an_existing_recipe_stays_as_it_is(folder: Path, invoke: Invoke) -> None:
    (folder / "corpus.toml").write_text("mine")
    result = invoke("init", "corpus.tmx", *SHORT)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: corpus.toml: is there already, and init overwrites nothing\n"
        "give another name with --output NAME.toml, or remove it first\n"
    )
    assert (folder / "corpus.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.tmx",), "nothing.tmx: no such file"),
        (("my.en",), "my.en: has text of one language alone"),
        (("my.en", "my.de", "--source", "fr"), "my.en and my.de: the source side should be in fr"),
        (("corpus.tmx", "--target", "fr"), "corpus.tmx: has no segment in 'fr'; its languages: en, de"),
    ],
)
def test_bad_input_is_told_in_two_lines_and_nothing_is_written(
    folder: Path, invoke: Invoke, arguments: tuple[str, ...], told: str
) -> None:
    result = invoke("init", *arguments, *SHORT)
    assert result.exit_code == 1
    assert f"error: {told}" in result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert result.stdout == ""
    assert not list(folder.glob("*.toml"))


def test_three_files_are_wrong_usage_and_an_unknown_code_is_warned_of(folder: Path, invoke: Invoke) -> None:
    assert invoke("init", "my.en", "my.de", "my.ja").exit_code == 2
    result = invoke("init", "my.en", "my.de", "--source", "zzz", "--target", "de", "--output", "no/x.toml")
    assert "warning: 'zzz' is not a language code that is known" in result.stderr
