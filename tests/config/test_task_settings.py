"""What belongs to which task, and what contradicts what in language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import load_recipe, recipe_from_dict, recipe_to_toml
from mtmoe.errors import UserError
from tests.toy import counting_settings, toy_settings


def _with(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        *tables, last = key.split(".")
        where = settings
        for table in tables:
            where = where.setdefault(table, {})
        where[last] = value
    return settings


SAMPLED = {"training.sampled_softmax": {"num_samples": 8}, "training.label_smoothing": 0.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.encoder_layers": 3},
            'model.encoder_layers = 3 belongs to task = "translation", but task = "language-model"',
        ),
        ({"model.attention": "additive"}, "model.attention = additive belongs to"),
        ({"model.attention_context": "recurrent"}, "model.attention_context = recurrent belongs to"),
        ({"training.guided_alignment": {}}, 'training.guided_alignment = weight=0.3 belongs to task = "translation"'),
        (
            {"model.tied_embeddings": "target"},
            'model.tied_embeddings = "target": task = "language-model" has no source',
        ),
        (
            {"data.source_language": "de", "data.cleaning": {}},
            "format = \"lines\" of 'train' has one language, but source_language = 'de'",
        ),
        ({"decoding": {"beam_size": 3}}, "the settings of decoding do nothing"),
        (
            {"training.validation": {"every_steps": 6}},
            'training.validation.metric = "bleu" and training.validation.translate_sentences = 1000',
        ),
        (
            {"training.sampled_softmax": {"num_samples": 8}, "training.label_smoothing": 0.1},
            "label_smoothing = 0.1 spreads over the whole vocabulary, but sampled_softmax looks at 8 samples",
        ),
        (
            {"training.distillation": {"teachers": ["runs/a"]}},
            "distillation.teachers = ['runs/a'] cannot follow running text (bptt_steps = 10)",
        ),
        ({"training.batch_tokens": 81}, "batch_tokens = 81 is not a multiple of bptt_steps = 10"),
        (
            {"training.max_tokens_per_sentence": 30},
            "max_tokens_per_sentence = 30 does nothing with bptt_steps = 10",
        ),
        ({"subwords.byte_fallback": True}, 'byte_fallback = true needs subwords, but algorithm = "word"'),
        ({"subwords.user_symbols": ["<2de>"]}, "user_symbols = ('<2de>',) belongs to SentencePiece"),
        ({"data.cleaning.max_length_ratio": 2.0}, "max_length_ratio = 2.0 compares two sides"),
        (
            {"model.residual": False, "model.bottom_residual": False},
            "bottom_residual = false does nothing: residual = false",
        ),
        ({"model.lstm_projection": True, "model.lstm_hidden": 32}, "lstm_projection does nothing: lstm_hidden = 32"),
        ({"model.moe.dense_layers": 2}, 'dense_layers = 2 belongs to kind = "dense", but kind = "mixture"'),
        ({"training.bptt_spread_tokens": 10}, "bptt_spread_tokens = 10 leaves rows without a token: bptt_steps = 10"),
        (
            {"training.bptt_steps": 0, "training.bptt_spread_tokens": 3},
            "bptt_spread_tokens = 3 does nothing with bptt_steps = 0",
        ),
        (
            {"model.softmaxes": 3, **SAMPLED},
            "softmaxes = 3 is a mixture over the whole vocabulary, of which training.sampled_softmax.num_samples = 8",
        ),
        ({"model.softmaxes": 3, "training.label_smoothing": 0.2}, "but training.label_smoothing = 0.2"),
        (
            {"model.softmaxes": 3, "training.consistency": {"weight": 2.0}},
            "whose probabilities training.consistency (weight = 2.0) does not compare",
        ),
        ({"model.locked_dropout": True, "model.dropout": 0.0}, "locked_dropout = true does nothing: dropout = 0.0"),
        (
            {"scoring": {"cache": {}}, "training.bptt_steps": 0, "training.max_tokens_per_sentence": 60},
            "scoring.cache (weight = 0.2) is of running text, but with training.bptt_steps = 0",
        ),
        ({"task": "language-modle"}, "did you mean 'language-model'?"),
    ],
)
def test_what_a_language_model_has_no_use_for_is_an_error_with_both_values(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as raised:
        recipe_from_dict(_with(counting_settings(tmp_path), changes), tmp_path / "mine.toml")
    assert message in str(raised.value)


def test_weights_say_nothing_about_running_text(tmp_path: Path) -> None:
    settings = counting_settings(tmp_path)
    settings["data"]["train"][0]["weight"] = 2.0
    with pytest.raises(UserError, match=r"weight = 2\.0 of 'train' does nothing: with training\.bptt_steps = 10"):
        recipe_from_dict(settings, tmp_path / "mine.toml")
    settings["training"]["bptt_steps"] = 0
    settings["training"]["max_tokens_per_sentence"] = 60
    assert recipe_from_dict(settings, tmp_path / "mine.toml").data.train[0].weight == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.source_language": ""}, "data.source_language is missing"),
        (
            {"training.bptt_steps": 8, "training.max_tokens_per_sentence": 200},
            'training.bptt_steps = 8 belongs to task = "language-model"',
        ),
        (
            {"subwords": {"algorithm": "word", "byte_fallback": False, "vocabulary_size": 100}},
            'subwords.algorithm = \'word\' belongs to task = "language-model", but task = "translation"',
        ),
        ({"model.softmaxes": 3}, 'model.softmaxes = 3 belongs to task = "language-model"'),
        (
            {"training.activation_penalty": 1.0},
            'training.activation_penalty = 1.0 belongs to task = "language-model", but task = "translation"',
        ),
        (
            {"scoring": {"dynamic": {}}},
            'scoring.dynamic (learning_rate = 5e-05) belongs to task = "language-model", but task = "translation"',
        ),
        ({"data.cleaning": {"keep_blank_lines": True}}, "keep_blank_lines is for text of one language"),
        (
            {"data.test": [{"name": "x", "format": "lines", "file": {"path": "x"}}]},
            "format = \"lines\" of 'x' has one language, but source_language = 'en' and target_language = 'fr'",
        ),
        (
            {"training.distillation": {"teachers": ["a"]}, **SAMPLED},
            "distillation compares the probabilities of all words with the teachers', but sampled_softmax looks at 8",
        ),
        (
            {"training.consistency": {}, **SAMPLED},
            "consistency compares the probabilities of all words with another reading's, but sampled_softmax looks at",
        ),
        (
            {"training.distillation": {"teachers": ["a"], "weight": 1.0}},
            "label_smoothing = 0.1 does nothing: with distillation.weight = 1 the whole loss is the teachers'",
        ),
        (
            {"training.consistency": {"weight": 2.0}, "model.dropout": 0.0, "model.moe.gate": "softmax"},
            "training.consistency.weight = 2.0 compares two readings that are the same",
        ),
        ({"model.encoder_bottom": "wide"}, 'encoder_bottom = "wide" needs an LSTM layer right above it'),
    ],
)
def test_what_a_translation_model_has_no_use_for_is_an_error_with_both_values(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as raised:
        recipe_from_dict(_with(toy_settings(tmp_path), changes), tmp_path / "mine.toml")
    assert message in str(raised.value)


def test_a_recipe_of_either_task_survives_being_saved(tmp_path: Path) -> None:
    recipe = recipe_from_dict(counting_settings(tmp_path), tmp_path / "mine.toml")
    (tmp_path / "saved.toml").write_text(recipe_to_toml(recipe))
    assert load_recipe(tmp_path / "saved.toml") == recipe


def test_a_family_of_rows_states_each_thing_once() -> None:
    """Rows of a table differ from their base in what the table says, and no file has more than that."""
    base, row = load_recipe("lm1b-moe-32"), load_recipe("lm1b-moe-4096-h")
    for table in ("data", "subwords", "training", "decoding", "seed", "task"):
        assert getattr(base, table) == getattr(row, table)
    assert load_recipe("lm1b-4xlstm-512").training == base.training
    twin, mixture = load_recipe("wikitext2-lstm"), load_recipe("wikitext2-moe", ["training.expert_optimizer=adam"])
    assert twin.training == mixture.training


def test_a_language_model_of_pairs_must_leave_the_source_language_out(tmp_path: Path) -> None:
    pairs = {"name": "x", "format": "tsv", "file": {"path": "x"}}
    changes = {"data.source_language": "de", "data.cleaning": {}}
    changes |= {f"data.{part}": [pairs] for part in ("train", "valid", "test")}
    with pytest.raises(UserError, match=r'data\.source_language = "de" belongs to task = "translation"'):
        recipe_from_dict(_with(counting_settings(tmp_path), changes), tmp_path / "mine.toml")
