"""A language model through the real commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import recipe_to_toml
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
