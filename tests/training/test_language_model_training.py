"""Training of a language model that counts: exact resume with the state, that it learns, and what it measures."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import load_language_model, load_model
from mtmoe.data.batches.padding import ragged, text_batch
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.errors import UserError
from mtmoe.inference.scoring import language_model_scoring, running_text_reader
from mtmoe.inference.scoring.language_model_scoring import score_text, total
from mtmoe.training import validation
from mtmoe.training.losses.sampled_softmax import inclusion_probabilities
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.metrics.training_flops import training_operations
from mtmoe.training.optimizers.learning_rate import learning_rate
from mtmoe.training.step import Stepper
from mtmoe.training.trainer import batch_stream
from tests.toy import counting_recipe
from tests.training.test_trainer import Listener, assert_same_bits, everything_saved, train

SENTENCES: dict[str, Any] = {"bptt_steps": 0, "max_tokens_per_sentence": 60}
SAMPLED: dict[str, Any] = {"sampled_softmax": {"num_samples": 8}}
REGULARISED: dict[str, Any] = {
    "bptt_spread_tokens": 4,
    "activation_penalty": 0.5,
    "activation_change_penalty": 0.5,
    "gradient_accumulation": 2,
}
MIXED: dict[str, Any] = {"label_smoothing": 0.0, "precision": "bf16"}
DROPPED = {"locked_dropout": True, "embedding_dropout": 0.2, "weight_dropout": 0.3}
AVERAGED: dict[str, Any] = {"gradient_accumulation": 2, "ema": {"decay": 0.9, "every_steps": 2}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("counting")
    prepare(counting_recipe(directory), directory / "data", directory / "cache")
    return directory


@pytest.mark.parametrize(
    "training",
    [{}, SENTENCES, SAMPLED, AVERAGED, REGULARISED, MIXED, {"precision": "fp32"}, {"precision": "fp16"}],
    ids=["running", "sentences", "sampled", "averaged", "regularised", "mixed", "fp32", "fp16"],
)
def test_a_run_that_was_stopped_and_resumed_has_the_bits_of_one_that_never_stopped(place, tmp_path, training):
    network = {"regularised": DROPPED, "mixed": {"softmaxes": 3, "mogrifier_rounds": 2}}
    name = {id(REGULARISED): "regularised", id(MIXED): "mixed"}.get(id(training), "")
    recipe = counting_recipe(place, {"model": network[name]} if name else None, **training)
    train(recipe, tmp_path / "whole", place / "data")
    listener = Listener()
    listener.on_advanced = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None
    assert train(recipe, tmp_path / "parts", place / "data", listener=listener).step == 5
    assert train(recipe, tmp_path / "parts", place / "data", resume=True).step == 12
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    carried = [name for name in everything_saved(tmp_path / "whole") if ":carried." in name]
    assert bool(carried) == ("bptt_steps" not in training)


@pytest.mark.parametrize("change", [{"batch_tokens": 160}, {"bptt_steps": 5}, {"bptt_spread_tokens": 2}])
def test_the_shape_of_running_text_cannot_change_in_a_run(place, tmp_path, change):
    train(counting_recipe(place, max_steps=2), tmp_path / "run", place / "data")
    (key, value), *_ = change.items()
    with pytest.raises(
        UserError, match=rf"was trained with training\.{key} = \d+, the recipe says {value}, but"
    ) as error:
        train(counting_recipe(place, max_steps=4, **change), tmp_path / "run", place / "data", resume=True)
    assert f"resume with --set training.{key}=" in str(error.value)


def perplexity_of_last_validation(listener: Listener) -> float:
    return listener.validations[-1]["perplexity"]


def test_counting_is_learned_and_only_running_text_knows_how_a_line_begins(place, tmp_path):
    def trained(name: str, **training: Any) -> float:
        """The mean of four trainings: one differs from another, and from itself with sums in another order, by a
        tenth."""
        recipe = counting_recipe(
            place,
            {"model": {"dropout": 0.0}},
            max_steps=250,
            validation={"every_steps": 250, "metric": "perplexity", "translate_sentences": 0},
            **training,
        )
        perplexities = []
        for seed in range(1, 5):
            listener = Listener()
            of_seed = recipe.model_copy(update={"seed": seed})
            train(of_seed, tmp_path / f"{name}-{seed}", place / "data", listener=listener)
            perplexities.append(perplexity_of_last_validation(listener))
        return statistics.mean(perplexities)

    running, sentences = trained("running"), trained("sentences", **SENTENCES)
    # A line's five lengths are equally likely: of 23 tokens in five lines, the choices alone are worth 5 log 5 nats.
    least = math.exp(5 * math.log(5) / 23)
    assert least * 0.9 < running < least * 1.35
    # Four of these lines begin with one of twelve words.
    assert sentences > running * 1.3


def test_sampled_softmax_learns_to_count_too(place, tmp_path):
    listener = Listener()
    at_the_end = {"every_steps": 350, "metric": "perplexity", "translate_sentences": 0}
    recipe = counting_recipe(place, {"model": {"dropout": 0.0}}, max_steps=350, validation=at_the_end, **SAMPLED)
    train(recipe, tmp_path / "run", place / "data", listener=listener)
    assert perplexity_of_last_validation(listener) < math.exp(5 * math.log(5) / 23) * 1.45


def test_score_reads_the_dev_set_as_one_text_and_validation_in_one_row_does_the_same(place, tmp_path, monkeypatch):
    monkeypatch.setattr(running_text_reader, "TOKENS_AT_ONCE", 16)
    monkeypatch.setattr(language_model_scoring, "WINDOW_LINES", 7)
    monkeypatch.setattr(validation, "ROWS_OF_TEXT", 1)
    monkeypatch.setattr(validation, "TOKENS_AT_ONCE", 16)
    listener = Listener()
    train(counting_recipe(place, max_steps=60), tmp_path / "run", place / "data", listener=listener)
    loaded = load_language_model(tmp_path / "run", "last")
    lines = (place / "data" / "text" / "valid.target").read_text().split("\n")[:-1]
    assert "" in lines
    scores = list(score_text(loaded, lines))
    sums = total(scores)
    assert [score.num_tokens for score in scores] == [len(line.split()) + 1 for line in lines]
    # the whole text as one row, by the model itself
    ids = [i for line in lines for i in (*loaded.vocabulary.encode(line), 3)]
    batch = text_batch(ragged([ids[:-1]]))
    batch.target_BT[0, 0] = 3  # after an end of sentence, not after BOS
    with torch.no_grad():
        expected_T = loaded.model.log_probabilities(batch)[0]
    assert sums.log_probability == pytest.approx(float(expected_T.sum()), abs=1e-3)
    assert sums.per_word == sums.per_token == pytest.approx(math.exp(-float(expected_T.mean())), rel=1e-4)
    assert perplexity_of_last_validation(listener) == pytest.approx(sums.per_token, rel=1e-4)


def test_a_model_of_sentences_scores_each_line_by_itself_and_as_validation_does(place, tmp_path):
    listener = Listener()
    train(counting_recipe(place, max_steps=12, **SENTENCES), tmp_path / "run", place / "data", listener=listener)
    loaded = load_language_model(tmp_path / "run", "last")
    lines = (place / "data" / "text" / "valid.target").read_text().split("\n")[:-1]
    together = [score.log_probability for score in score_text(loaded, lines)]
    alone = [next(iter(score_text(loaded, [line]))).log_probability for line in lines]
    assert together == pytest.approx(alone, abs=1e-4)
    assert total(list(score_text(loaded, lines))).per_token == pytest.approx(
        perplexity_of_last_validation(listener), rel=1e-4
    )


def test_an_unknown_word_is_scored_as_unk_and_counted(place, tmp_path):
    train(counting_recipe(place, max_steps=2), tmp_path / "run", place / "data")
    loaded = load_language_model(tmp_path / "run", "last")
    (strange,), (unknown,) = ([*score_text(loaded, [line])] for line in ("one zebra two", "one <unk> two"))
    assert strange == unknown
    assert (strange.num_words, strange.num_tokens, strange.num_unknown) == (4, 4, 1)
    with pytest.raises(UserError, match="no line to score"):
        total([])


def test_a_loss_that_is_not_finite_leaves_no_state_behind(place):
    recipe = counting_recipe(place)
    prepared = open_prepared(place / "data")
    stepper = Stepper(recipe, 16, torch.device("cpu"))
    from mtmoe.data.subwords.vocabularies import load_vocabulary

    batches = batch_stream(recipe, prepared, load_vocabulary(prepared.subwords_path)).batches()
    use = ExpertUsage()
    stepper([next(batches)[0]], use)
    assert stepper.carried is not None
    with torch.no_grad():
        weights = stepper.model.output_VD.clone()
        stepper.model.output_VD.fill_(torch.nan)
    assert not stepper([next(batches)[0]], use).applied
    assert stepper.carried is None
    with torch.no_grad():
        stepper.model.output_VD.copy_(weights)
    assert stepper([next(batches)[0]], use).applied


def test_the_learning_rate_is_in_proportion_to_the_length_of_the_batch(place):
    recipe = counting_recipe(place, bptt_spread_tokens=6, gradient_accumulation=2, schedule={"kind": "constant"})
    prepared = open_prepared(place / "data")
    stepper, use = Stepper(recipe, 16, torch.device("cpu")), ExpertUsage()
    from mtmoe.data.subwords.vocabularies import load_vocabulary

    batches = batch_stream(recipe, prepared, load_vocabulary(prepared.subwords_path)).batches()
    rates, told = [], []
    stepper.optimizer.set_learning_rate, set_rate = rates.append, stepper.optimizer.set_learning_rate
    for step in range(1, 6):
        pair = [next(batches)[0] for _ in range(2)]
        stepper(pair, use)
        lengths = [batch.target_BT.shape[1] - 1 for batch in pair]
        told.append(learning_rate(recipe.training, step) * sum(lengths) / 20)
    set_rate(0.0)
    assert rates == pytest.approx(told)
    assert len(set(rates)) > 3


def test_tflops_are_those_of_the_papers_definition(place, tmp_path):
    """Paper, appendix C: forward and backward pass, a multiply-add is 2, the sampled softmax included."""
    recipe = counting_recipe(place, **SAMPLED)
    lstm, expert, gates = 4 * 16 * 32, 2 * 16 * 16, 2 * 16 * 4
    expected_V = inclusion_probabilities(8, 16)  # of the 8 draws some are the same
    assert 4 < float(expected_V.sum()) < 8
    operations = 2 * lstm + 2 * expert + gates + round(16 * (float(expected_V.sum()) + 1))
    assert training_operations(recipe, 16).per_target_token == operations
    assert training_operations(recipe, 16).flops(0, 10) == 60 * operations
    train(recipe, tmp_path / "run", place / "data")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (first, *_) = (line for line in lines if line["event"] == "train")
    expected = 6 * operations * first["target_tokens_per_second"] / 1e12
    assert first["tflops_per_device"] == pytest.approx(expected)
    assert first["source_and_target_tokens_per_second"] == first["target_tokens_per_second"]


def test_a_language_models_run_cannot_translate(place, tmp_path):
    train(counting_recipe(place, max_steps=1), tmp_path / "run", place / "data")
    with pytest.raises(UserError, match='task = "language-model", which translates nothing'):
        load_model(tmp_path / "run")
