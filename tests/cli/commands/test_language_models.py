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


def _perplexity(stderr: str) -> float:
    return float(stderr.rpartition("per word")[0].rpartition("perplexity ")[2])


def test_score_learns_and_remembers_without_changing_the_run(invoke: Any, folder: Path) -> None:
    run, text = folder / "run", folder / "test.txt"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    static = invoke("score", run, text)
    rate, batches = "scoring.dynamic.learning_rate=0.003", "scoring.dynamic.statistics_batches=3"
    learned = invoke("score", run, text, "--set", rate, "--set", batches)
    assert learned.exit_code == 0, learned.stderr
    assert len(learned.stdout.splitlines()) == len(static.stdout.splitlines())
    assert _perplexity(learned.stderr) < 0.9 * _perplexity(static.stderr)
    options = ("--set", "scoring.cache.weight=0.3", "--set", "scoring.cache.theta=0.0")
    remembered = json.loads(invoke("score", run, text, *options, "--json").stdout)
    assert remembered["perplexity_per_word"] < 0.98 * _perplexity(static.stderr)
    assert remembered["scoring"] == {"cache": {"size_tokens": 2000, "theta": 0.0, "weight": 0.3}}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_tune_on_tells_what_it_chose_and_scores_with_it(invoke: Any, folder: Path) -> None:
    run, text, dev = folder / "run", folder / "test.txt", folder / "valid.txt"
    tuned = invoke("score", run, text, "--tune-on", dev, "--set", "scoring.cache={}")
    assert tuned.exit_code == 0, tuned.stderr
    (chosen,) = (line for line in tuned.stderr.splitlines() if line.startswith("chosen: "))
    again = invoke("score", run, text, *chosen.removeprefix("chosen: ").split())
    assert again.stdout == tuned.stdout
    both = invoke("score", run, text, "--tune-on", dev)
    assert "--set scoring.dynamic.learning_rate=" in both.stderr
    assert "--set scoring.cache.theta=" in both.stderr


def test_a_package_learns_from_the_data_that_it_is_told(invoke: Any, folder: Path, tmp_path: Path) -> None:
    package, text = tmp_path / "counting.mtmoe", folder / "test.txt"
    made = invoke("package", folder / "run", package, "--weights", "int8")
    assert made.exit_code == 0, made.stderr
    options = ("--set", "scoring.dynamic.learning_rate=0.003", "--set", "scoring.dynamic.statistics_batches=3")
    alone = invoke("score", package, text, *options)
    assert alone.exit_code == 1
    assert "give the DATA_DIR of `mtmoe preprocess` with --data" in alone.stderr
    told = invoke("score", package, text, *options, "--data", folder / "run" / "data")
    assert told.exit_code == 0, told.stderr
    assert _perplexity(told.stderr) < 0.9 * _perplexity(invoke("score", package, text).stderr)


def test_what_learns_and_remembers_nothing_is_refused(invoke: Any, folder: Path, tiny_run: Any, helper: Path) -> None:
    run, text = folder / "run", folder / "test.txt"
    decoding = invoke("score", run, text, "--set", "decoding.beam_size=2")
    assert decoding.exit_code == 2
    assert "only its scoring can change" in decoding.stderr
    useless = invoke("score", run, text, "--data", run / "data")
    assert useless.exit_code == 2
    assert "does nothing: scoring.dynamic is not set" in useless.stderr
    pair = (tiny_run.folder / "test.en", tiny_run.folder / "test.fr")
    for option in (("--tune-on", text), ("--data", run / "data")):
        translation = invoke("score", tiny_run.run, *pair, *option)
        assert translation.exit_code == 2
        assert f"{tiny_run.run} is a translation model" in " ".join(translation.stderr.split())
    sentences = invoke("score", helper, text, "--set", "scoring.cache.weight=0.1")
    assert sentences.exit_code == 1
    assert "with training.bptt_steps = 0 the model reads each line by itself" in sentences.stderr
    options = ("--set", "scoring.dynamic.learning_rate=1", "--set", "scoring.dynamic.epsilon=1e-30")
    wild = invoke("score", run, text, *options)
    assert wild.exit_code == 1, wild.stderr
    assert "scoring.dynamic.learning_rate = 1 is too high" in wild.stderr


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
