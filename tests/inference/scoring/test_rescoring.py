"""Translating with other runs: scores and their parts against ``mtmoe score``, order by hand, runs that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mtmoe.checkpoint import (
    CheckpointState,
    create_run,
    load_language_model,
    load_model,
    load_run_recipe,
    open_run,
    save_checkpoint,
)
from mtmoe.config import recipe_from_dict
from mtmoe.data.subwords.sentencepiece_model import train_subwords
from mtmoe.errors import UserError
from mtmoe.inference.requests import Request
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.scoring.language_model_scoring import score_text
from mtmoe.inference.scoring.rescoring import RescoringRuns
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.translator import Translator
from mtmoe.inference.worker_pool import WorkerPool
from tests.inference.conftest import SENTENCES, untrained_language_model

LINES = ["Where is the station?", "", "Two dogs play in the snow.", "A man", "The children are waiting."]
PLAIN = ("decoding.coverage_beta=0.0", "decoding.length_alpha=0.7")


@pytest.fixture(scope="module")
def channel_run(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``run_directory`` with its languages exchanged, and with subwords of its own."""
    directory = tmp_path_factory.mktemp("channel")
    run = open_run(run_directory)
    settings = load_run_recipe(run).model_dump(mode="json", exclude_none=True)
    settings["data"] |= {"source_language": "fr", "target_language": "en"}
    recipe = recipe_from_dict(settings, directory / "channel.toml")
    train_subwords(SENTENCES[::-1], recipe.subwords, directory / "trained.model", seed=1)
    channel = create_run(directory / "run", recipe, directory / "trained.model")
    save_checkpoint(channel, dict(load_model(run_directory).model.named_parameters()), {}, CheckpointState(step=1))
    return channel.directory


@pytest.fixture(scope="module")
def word_model_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of words, which no translation model has for a vocabulary."""
    directory = tmp_path_factory.mktemp("words")
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    path = directory / "words.txt"
    path.write_text("".join(f"{word}\n" for word in ("<pad>", "<unk>", "<s>", "</s>", *words)), encoding="utf-8")
    return untrained_language_model(directory, path)


def log_probabilities(run: Path, texts: list[str]) -> list[float]:
    """What `mtmoe score` gives for each text alone."""
    loaded = load_language_model(run)
    return [next(score_text(loaded, [text])).log_probability for text in texts]


def all_of(translations):
    """(source line, translation) of every translation and its alternatives, but for blank lines."""
    lists = [(line, [t, *t.alternatives]) for line, t in zip(LINES, translations, strict=True) if line]
    return [(line, translation) for line, several in lists for translation in several]


@pytest.mark.parametrize("bptt_steps", [0, 16], ids=["sentences", "running text"])
def test_a_score_with_fusion_is_the_sum_of_what_score_tells_of_both_models(run_directory, tmp_path, bptt_steps):
    language_model = untrained_language_model(tmp_path, run_directory / "subwords.model", bptt_steps=bptt_steps)
    overrides = (*PLAIN, "decoding.language_model.weight=0.4")
    others = RescoringRuns(language_model=str(language_model))
    found = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others).translate(LINES, 3)
    pairs = all_of(found)
    texts = [translation.text for _, translation in pairs]
    scores = score_pairs(load_model(run_directory), [line for line, _ in pairs], texts)
    of_language_model = log_probabilities(language_model, texts)
    for (_, translation), own, other in zip(pairs, scores, of_language_model, strict=True):
        assert translation.log_probability == pytest.approx(own.log_probability, abs=1e-4)
        (part,) = translation.score_parts
        assert (part.name, part.weight) == ("language_model", 0.4)
        assert part.value == pytest.approx(other, abs=1e-4)
        total = own.log_probability + 0.4 * other
        assert translation.score == pytest.approx(total / length_penalty(own.num_tokens, 0.7), abs=1e-4)
    fused = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others)
    assert fused.translate(LINES, with_scores=False) == fused.translate(LINES), "they are in what the search found"
    alone = Translator(run_directory, device="cpu", overrides=PLAIN).translate(LINES, 3)
    assert [t.text for t in alone] != [t.text for t in found]
    assert all(t.score_parts == () for _, t in all_of(alone))


def test_with_a_heavy_language_model_translations_are_likelier_in_it(run_directory, language_model_run):
    overrides = (*PLAIN, "decoding.language_model.weight=2.0", "decoding.beam_size=1")
    others = RescoringRuns(language_model=str(language_model_run))
    with_it = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others)
    without = Translator(run_directory, device="cpu", overrides=(*PLAIN, "decoding.beam_size=1"))
    line = "Two dogs play in the snow."
    (fused,), (alone,) = with_it.translate([line]), without.translate([line])
    (of_alone,) = log_probabilities(language_model_run, [alone.text])
    assert fused.score_parts[0].value / fused.num_tokens > of_alone / alone.num_tokens


@pytest.mark.parametrize("bonus", [0.0, 0.9])
def test_reranking_sorts_candidates_by_the_sum_worked_out_by_hand(run_directory, word_model_run, channel_run, bonus):
    candidates = Translator(run_directory, device="cpu", overrides=PLAIN).translate(LINES, 4)
    settings = {"language_model_weight": 0.8, "channel_weight": 0.5, "length_bonus": bonus}
    overrides = (*PLAIN, *(f"decoding.reranking.{key}={value}" for key, value in settings.items()))
    others = RescoringRuns(reranking_language_model=str(word_model_run), reranking_channel=str(channel_run))
    found = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others).translate(LINES, 2)
    channel = load_model(channel_run)
    changed = 0
    for line, before, after in zip(LINES, candidates, found, strict=True):
        if not line:
            assert after.text == ""
            continue
        several = [before, *before.alternatives]
        texts = [t.text for t in several]
        values = log_probabilities(word_model_run, texts)
        backwards = [s.log_probability for s in score_pairs(channel, texts, [line] * len(texts))]
        totals = {}
        for t, value, back in zip(several, values, backwards, strict=True):
            total = t.log_probability + 0.8 * value + 0.5 * back + bonus * t.num_tokens
            totals[t.text] = total / length_penalty(t.num_tokens, 0.7)
        expected = sorted(totals, key=lambda text: -totals[text])[:2]
        assert [after.text, *(t.text for t in after.alternatives)] == expected
        assert [after.score, *(t.score for t in after.alternatives)] == pytest.approx(
            [totals[text] for text in expected], abs=1e-4
        )
        names = ["reranking_language_model", "reranking_channel", *(["length"] if bonus else [])]
        assert [part.name for part in after.score_parts] == names
        changed += expected[0] != before.text
    assert changed


def test_candidates_are_as_many_as_the_setting_says(run_directory, word_model_run):
    others = RescoringRuns(reranking_language_model=str(word_model_run))
    overrides = (*PLAIN, "decoding.reranking.candidates=1", "decoding.reranking.language_model_weight=9.0")
    one = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others)
    alone = Translator(run_directory, device="cpu", overrides=PLAIN).translate(LINES)
    assert [t.text for t in one.translate(LINES)] == [t.text for t in alone]
    with pytest.raises(UserError, match="num_best = 2 is more than the 1 candidates of reranking"):
        one.translate(LINES, 2)


def test_a_line_that_is_split_has_the_sums_of_its_parts(run_directory, language_model_run, channel_run):
    overrides = (*PLAIN, "decoding.over_long=split", "decoding.max_source_tokens=30")
    others = RescoringRuns(language_model=str(language_model_run), reranking_channel=str(channel_run))
    translator = Translator(run_directory, device="cpu", overrides=overrides, rescoring=others)
    alone = translator.translate(SENTENCES[:2])
    (whole,) = translator.translate([" ".join(SENTENCES[:2])])
    assert whole.warnings[0].startswith("split into 2 parts")
    assert whole.score == pytest.approx(sum(t.score for t in alone), abs=1e-4)
    for place, name in enumerate(("language_model", "reranking_channel")):
        assert whole.score_parts[place].name == name
        total = sum(t.score_parts[place].value for t in alone)
        assert whole.score_parts[place].value == pytest.approx(total, abs=1e-4)


def test_a_worker_translates_with_the_other_runs_too(run_directory, language_model_run):
    arguments = {"overrides": PLAIN, "rescoring": RescoringRuns(language_model=str(language_model_run))}
    expected = Translator(run_directory, device="cpu", **arguments).translate(LINES)
    with WorkerPool(run_directory, 1, devices=["cpu"], **arguments) as pool:
        assert list(pool.translate_chunks([[Request(line) for line in LINES]])) == [expected]


# ------------------------------------------------------------------------------------------------- bad input


def test_a_language_model_over_another_vocabulary_is_an_error_that_names_both(run_directory, word_model_run):
    with pytest.raises(UserError) as raised:
        Translator(run_directory, device="cpu", rescoring=RescoringRuns(language_model=str(word_model_run)))
    problem = str(raised.value)
    own, theirs = open_run(run_directory).subwords, open_run(word_model_run).subwords
    assert f"{own} has 320 entries (SHA-256 " in problem
    assert f"{theirs} has {len(theirs.read_text().splitlines())} entries (SHA-256 " in problem
    assert f"--subwords-of {run_directory}" in problem


def test_as_many_subwords_are_not_the_same_subwords(run_directory, tmp_path):
    recipe = load_run_recipe(open_run(run_directory))
    train_subwords(SENTENCES[::-1] + ["zebra"] * 9, recipe.subwords, tmp_path / "other.model", seed=1)
    language_model = untrained_language_model(tmp_path, tmp_path / "other.model")
    with pytest.raises(UserError, match="the language model has another vocabulary than the translation model"):
        Translator(run_directory, device="cpu", rescoring=RescoringRuns(language_model=str(language_model)))


def test_a_language_model_of_another_language_is_an_error_that_names_both(run_directory, tmp_path):
    english = untrained_language_model(tmp_path, run_directory / "subwords.model", language="en")
    for others in (RescoringRuns(str(english)), RescoringRuns(reranking_language_model=str(english))):
        with pytest.raises(UserError, match="is a language model of 'en', but tiny translates into 'fr'"):
            Translator(run_directory, device="cpu", rescoring=others)


def test_runs_of_another_kind_are_errors(run_directory, language_model_run):
    with pytest.raises(UserError, match=r"translates en-fr, but the channel of tiny \(en-fr\) goes the other way"):
        Translator(run_directory, device="cpu", rescoring=RescoringRuns(reranking_channel=str(run_directory)))
    with pytest.raises(UserError, match='is a run of task = "language-model", which translates nothing'):
        Translator(run_directory, device="cpu", rescoring=RescoringRuns(reranking_channel=str(language_model_run)))
    with pytest.raises(UserError, match='is a run of task = "translation", not a language model'):
        Translator(run_directory, device="cpu", rescoring=RescoringRuns(language_model=str(run_directory)))


@pytest.mark.parametrize(
    ("override", "option"),
    [
        ("decoding.language_model.weight=0.3", "--lm"),
        ("decoding.reranking.candidates=2", "--rerank-lm or --rerank-channel"),
        ("decoding.reranking.language_model_weight=1.0", "--rerank-lm"),
        ("decoding.reranking.channel_weight=1.0", "--rerank-channel"),
    ],
)
def test_a_setting_of_a_run_that_takes_no_part_is_an_error(run_directory, override, option):
    with pytest.raises(UserError, match=f"--set {override}: does nothing without {option}"):
        Translator(run_directory, device="cpu", overrides=[override])


def test_a_language_model_that_searches_along_and_a_shortlist_exclude_each_other(run_directory, language_model_run):
    with pytest.raises(UserError, match=r"--lm .* and decoding.shortlist exclude each other") as raised:
        Translator(
            run_directory,
            device="cpu",
            overrides=["decoding.shortlist={}"],
            rescoring=RescoringRuns(language_model=str(language_model_run)),
        )
    assert "--rerank-lm" in raised.value.fix


def test_more_candidates_than_the_beam_holds_are_an_error(run_directory, word_model_run):
    with pytest.raises(UserError, match=r"reranking.candidates = 5 is more than beam_size = 4"):
        Translator(
            run_directory,
            device="cpu",
            overrides=["decoding.reranking.candidates=5"],
            rescoring=RescoringRuns(reranking_language_model=str(word_model_run)),
        )


def test_a_run_keeps_its_own_vocabulary_file(run_directory, language_model_run, tmp_path):
    """What is compared is the bytes, wherever the runs lie."""
    moved = tmp_path / "moved"
    shutil.copytree(language_model_run, moved)
    assert Translator(run_directory, device="cpu", rescoring=RescoringRuns(str(moved))).translate(["A man"])[0].text
