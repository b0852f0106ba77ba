"""`mtmoe init`: what it says, writes and refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from mtmoe.config import load_recipe
from mtmoe.config.settings import Interpolation, Replay, Start
from tests.cli.conftest import Invoke, TinyRun
from tests.parallel_text import sentences, write_lines, write_tmx

SHORT = ("--minutes", "0.1", "--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a memory of English and German, and files of these, French and Japanese."""
    monkeypatch.chdir(tmp_path)
    write_tmx(tmp_path / "corpus.tmx", ("en", sentences("en")), ("de", sentences("de")))
    for code in ("en", "de", "fr", "ja"):
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


def test_going_on_with_a_run_takes_its_network_subwords_and_text(
    folder: Path, invoke: Invoke, tiny_run: TinyRun
) -> None:
    result = invoke("init", "my.en", "my.fr", "--from", str(tiny_run.run), *SHORT)
    assert result.exit_code == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "begins with the weights of" in told
    assert "(en to fr), with its subwords" in told
    assert "200 of that run's 200 pairs are read again in each epoch" in told
    recipe, first = load_recipe("my.toml"), load_recipe(tiny_run.recipe)
    most = Interpolation(most_lost_bleu=1.0, translate_sentences=1000)
    assert recipe.training.start == Start(run=str(tiny_run.run.absolute()), interpolation=most)
    assert recipe.data.replay == Replay(weight=1.0)
    assert recipe.training.learning_rate == pytest.approx(first.training.learning_rate / 5)
    assert recipe.model.model_copy(update={"dropout": 0}) == first.model.model_copy(update={"dropout": 0})
    assert "subwords" not in tomllib.loads((folder / "my.toml").read_text(encoding="utf-8"))
    trained = invoke(
        "train",
        "my.toml",
        "run",
        "--set",
        "training.schedule.warmup_steps=0",
        "--set",
        "training.max_steps=5",
        "--device",
        "cpu",
    )
    assert trained.exit_code == 0, trained.stderr
    assert "taken_over" in (folder / "run" / "manifest.json").read_text()


def test_another_language_adds_its_subwords_and_has_no_old_text(
    folder: Path, invoke: Invoke, tiny_run: TinyRun
) -> None:
    result = invoke("init", "my.en", "my.de", "--from", str(tiny_run.run), "--json", *SHORT)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)["chosen"]
    assert (told["start"]["vocabulary"], told["start"]["replay_weight"], told["shape"]) == ("extended", 0.0, None)
    recipe = load_recipe("my.toml")
    assert recipe.training.start == Start(run=str(tiny_run.run.absolute()), vocabulary="extended")
    assert recipe.data.replay is None
    assert recipe.training.learning_rate == load_recipe(tiny_run.recipe).training.learning_rate
    assert recipe.subwords.vocabulary_size == told["vocabulary_size"]


def test_a_start_run_needs_a_language_in_common_and_two_languages(
    folder: Path, invoke: Invoke, tiny_run: TinyRun
) -> None:
    other = invoke("init", "my.de", "my.ja", "--from", str(tiny_run.run), *SHORT)
    assert other.exit_code == 1
    assert "translates en to fr, and the text is de to ja: neither side is in the same language" in other.stderr
    missing = invoke("init", "my.en", "my.de", "--from", "no-run", *SHORT)
    assert missing.exit_code == 1
    assert missing.stderr.startswith("error: no run no-run: it does not exist")
    assert not list(folder.glob("*.toml"))


def test_a_data_set_keeps_the_dev_and_test_set_that_it_has(folder: Path, invoke: Invoke) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"translation": {"en": en, "de": de}} for en, de in zip(sentences("en"), sentences("de"), strict=True)]
    features = datasets.Features({"translation": datasets.Translation(languages=("en", "de"))})
    whole = datasets.Dataset.from_list(rows, features=features)
    parts = {"train": whole.select(range(300)), "validation": whole.select(range(300, 350))}
    datasets.DatasetDict(parts).save_to_disk(str(folder / "memory"))
    result = invoke("init", "memory", *SHORT)
    assert result.exit_code == 0, result.stderr
    recipe = load_recipe("memory.toml")
    assert [(source.name, source.split) for source in recipe.data.valid] == [("validation", "validation")]
    assert recipe.data.test == "split"
    assert "the data set's own dev set and 15 pairs held out as the test set" in " ".join(result.stdout.split())
    datasets.DatasetDict({**parts, "test": whole.select(range(350, 400))}).save_to_disk(str(folder / "all"))
    result = invoke("init", "all", *SHORT)
    assert result.exit_code == 0, result.stderr
    assert "dev and test set are the data set's own" in result.stdout
    assert "held_out" not in (folder / "all.toml").read_text(encoding="utf-8")
    assert invoke("preprocess", "all.toml", "data").exit_code == 0
