"""A language model through the real commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import recipe_to_toml
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.translation_options import TranslationOptions
from mtmoe.inference.scoring.rescoring import RescoringRuns
from tests.cli.conftest import _invoke
from tests.toy import counting_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, its text, and a run of a few steps."""
    folder = tmp_path_factory.mktemp("counting")
    recipe = counting_recipe(folder, max_steps=3, precision="fp32")
    (folder / "counting.toml").write_text(recipe_to_toml(recipe))
    result = _invoke("train", folder / "counting.toml", folder / "run", "--device", "cpu", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert "400 sentences to train on, 30 dev sentences" in result.stderr
    assert "400 training sentences, 30 dev sentences" in result.stderr
    assert f"next: mtmoe score {folder / 'run'} TEXT" in result.stderr
    return folder


def test_score_writes_a_logarithm_a_line_and_both_perplexities(invoke: Any, folder: Path) -> None:
    scored = invoke("score", folder / "run", folder / "test.txt")
    assert scored.exit_code == 0, scored.stderr
    logarithms = [float(line) for line in scored.stdout.splitlines()]
    lines = (folder / "test.txt").read_text().split("\n")[:-1]
    num_words = sum(len(line.split()) + 1 for line in lines)
    assert len(logarithms) == len(lines)
    told = float(scored.stderr.split("perplexity ")[1].split()[0])
    assert told == pytest.approx(math.exp(-sum(logarithms) / num_words), rel=1e-4)
    totals = json.loads(invoke("score", folder / "run", folder / "test.txt", "--json").stdout)
    assert totals["num_words"] == totals["num_tokens"] == num_words
    assert totals["perplexity_per_word"] == pytest.approx(math.exp(-sum(logarithms) / num_words), rel=1e-4)
    assert totals["num_unknown"] == 0
    assert [line["log_probability"] for line in totals["lines"]] == pytest.approx(logarithms, abs=1e-5)
    piped = invoke("score", folder / "run", "-", input=(folder / "test.txt").read_bytes())
    assert (piped.stdout, piped.stderr) == (scored.stdout, scored.stderr)


def test_a_language_model_takes_one_text_and_translates_nothing(invoke: Any, folder: Path) -> None:
    text = folder / "test.txt"
    two = invoke("score", folder / "run", text, text)
    assert two.exit_code == 2
    assert "is a language model: it scores one text" in two.stderr
    bleu = invoke("bleu", folder / "run")
    assert bleu.exit_code == 1
    assert "holds text of one language, in which there is nothing to translate" in bleu.stderr
    translated = invoke("translate", folder / "run", input="one two\n")
    assert translated.exit_code == 1
    assert "translates nothing" in translated.stderr
    assert f"mtmoe score {folder / 'run'} TEXT" in translated.stderr


def test_a_text_without_a_line_is_named(invoke: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none.txt").touch()
    result = invoke("score", folder / "run", tmp_path / "none.txt")
    assert result.exit_code == 1
    assert f"{tmp_path / 'none.txt'}: has no line to score" in result.stderr


def test_a_translation_model_wants_the_target(invoke: Any, tiny_run: Any) -> None:
    result = invoke("score", tiny_run.run, tiny_run.folder / "test.en")
    assert result.exit_code == 2
    assert "Missing argument 'TARGET...'" in result.stderr


def test_pairs_of_files_are_refused_with_the_way_out(invoke: Any, folder: Path) -> None:
    pair = (folder / "test.txt", folder / "test.txt")
    result = invoke("train", folder / "counting.toml", folder / "other", "--train", *pair)
    assert result.exit_code == 1
    assert "--train names two files, but counting is a language model" in result.stderr
    assert 'format = "lines"' in result.stderr


def test_describe_tells_both_counts_of_the_paper(invoke: Any, folder: Path) -> None:
    described = json.loads(invoke("describe", folder / "run", "--json").stdout)
    assert described["task"] == "language-model"
    assert described["operations"] - described["operations_as_language_model"] == 16 * 16
    assert described["operations"] - described["operations_as_translation_model"] == 16 * 4  # the gate's noise
    table = invoke("describe", "lm1b-moe-4096-h").stdout
    assert "4,303,372,288" in table
    assert "8,929,280" in table
    assert "20.5 GB in fp32" in table


# --------------------------------------------------------------------------- language models for translation


@pytest.fixture(scope="module")
def helper(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model over the vocabulary of the tiny translation run, through the commands."""
    folder = tmp_path_factory.mktemp("helper")
    tables = {"data": {"target_language": "fr"}}
    recipe = counting_recipe(folder, tables, max_steps=3, bptt_steps=0, batch_tokens=400, precision="fp32")
    (folder / "lm.toml").write_text(recipe_to_toml(recipe))
    options = ("--subwords-of", tiny_run.run, "--device", "cpu", "--workers", 1)
    result = _invoke("train", folder / "lm.toml", folder / "run", *options)
    assert result.exit_code == 0, result.stderr
    assert (folder / "run" / "subwords.model").read_bytes() == (tiny_run.run / "subwords.model").read_bytes()
    resumed = _invoke("train", folder / "lm.toml", folder / "run", *options, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    return folder / "run"


def test_translate_with_a_language_model_adds_what_score_tells(
    invoke: Any, tiny_run: Any, helper: Path, tmp_path: Path
) -> None:
    source = "the man sees a dog\nthe red house\n"
    alpha = ("--set", "decoding.length_alpha=0.0", "--set", "decoding.coverage_beta=0.0")
    options = (*alpha, "--lm", helper, "--lm-weight", 0.5)
    result = invoke("translate", tiny_run.run, *options, "--scores", input=source)
    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    (tmp_path / "source").write_text(source)
    (tmp_path / "target").write_text("".join(f"{text}\n" for _, _, text in rows))
    own = invoke("score", tiny_run.run, tmp_path / "source", tmp_path / "target").stdout.split()
    other = invoke("score", helper, tmp_path / "target").stdout.split()
    for (score, log_probability, _), mine, theirs in zip(rows, own, other, strict=True):
        assert float(log_probability) == pytest.approx(float(mine), abs=1e-4)
        assert float(score) == pytest.approx(float(mine) + 0.5 * float(theirs), abs=1e-4)
    # No coverage and no length penalty: the score is the sum, and JSON tells its parts.
    lines = "".join(json.dumps({"text": line}) + "\n" for line in source.splitlines())
    answers = invoke("translate", tiny_run.run, *options, "--format", "json", input=lines).stdout.splitlines()
    for answer, theirs in zip(map(json.loads, answers), other, strict=True):
        assert [(part["name"], part["weight"]) for part in answer["score_parts"]] == [("language_model", 0.5)]
        assert answer["score_parts"][0]["value"] == pytest.approx(float(theirs), abs=1e-4)
        assert answer["score"] == pytest.approx(answer["log_probability"] + 0.5 * float(theirs), abs=1e-4)
    alone = json.loads(invoke("translate", tiny_run.run, "--format", "json", input=lines).stdout.splitlines()[0])
    assert "score_parts" not in alone


def test_reranking_puts_other_candidates_first(invoke: Any, tiny_run: Any, helper: Path) -> None:
    options = ("--rerank-lm", helper, "--set", "decoding.reranking.language_model_weight=2.0", "--nbest", 2)
    source = "the man sees a dog\nthe red house\n\nthe cat sleeps today\n"
    found = invoke("translate", tiny_run.run, *options, input=source)
    assert found.exit_code == 0, found.stderr
    numbers, scores = zip(*(line.split("\t")[:2] for line in found.stdout.splitlines()), strict=True)
    assert list(dict.fromkeys(numbers)) == ["1", "2", "3", "4"]
    for number in set(numbers):
        own = [float(score) for n, score in zip(numbers, scores, strict=True) if n == number]
        assert own == sorted(own, reverse=True)
    assert found.stdout != invoke("translate", tiny_run.run, "--nbest", 2, input=source).stdout


def test_another_language_model_is_another_output_to_resume(tiny_run: Any, helper: Path) -> None:
    several = (
        RescoringRuns(),
        RescoringRuns(language_model=str(helper)),
        RescoringRuns(reranking_language_model=str(helper)),
    )
    options = [TranslationOptions(tiny_run.run, rescoring=runs) for runs in several]
    assert len({str(model_identity(each)) for each in options}) == 3


def test_mistakes_with_language_models_are_told(invoke: Any, tiny_run: Any, folder: Path) -> None:
    usage = invoke("translate", tiny_run.run, "--lm-weight", 0.5, input="a\n")
    assert usage.exit_code == 2
    assert "--lm-weight is the weight of a language model: give --lm" in usage.stderr
    other = invoke("translate", tiny_run.run, "--lm", folder / "run", input="a\n")
    assert other.exit_code == 1
    assert "is a language model of 'en', but tiny translates into 'fr'" in other.stderr
    useless = invoke("translate", tiny_run.run, "--set", "decoding.reranking.length_bonus=0.5", input="a\n")
    assert useless.exit_code == 1
    assert "does nothing without --rerank-lm or --rerank-channel" in useless.stderr
