"""Lines of metrics.jsonl: each key is on the page of the metrics, and has its value."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy

from mtmoe.training.metrics.records import (
    DevSetMetrics,
    InterpolationMetrics,
    InterpolationTrial,
    LanguageRouting,
    LayerMetrics,
    ModelQuality,
    TrainingMetrics,
    ValidationMetrics,
)
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8") + "\n".join(
    runpy.run_path(str(ROOT / "docs" / "generated_pages.py"))["metrics_page"]()
)


def layer(load_cv: float, num_experts: int = 2) -> LayerMetrics:
    shares = tuple([1 / num_experts] * num_experts)
    return LayerMetrics(0.3, load_cv, 1.2, 0.1, 1.1, 0, shares, {"importance": 0.01, "load": 0.02})


def training_metrics(**layers: LayerMetrics) -> TrainingMetrics:
    return TrainingMetrics(
        loss=1.0, perplexity=2.718, auxiliary_loss=0.03, gradient_norm=1.5, target_tokens_per_second=10.0,
        source_and_target_tokens_per_second=20.0, padding_share=0.1, eta_seconds=5.0, step=3, max_steps=9, epoch=0,
        tflops_per_device=0.1, learning_rate=0.001, skipped_steps=0, out_of_memory_steps=0, layers=layers,
    )  # fmt: skip


def validation_metrics(**dev_sets: DevSetMetrics) -> ValidationMetrics:
    quality = ModelQuality(loss=1.0, perplexity=2.718, bleu=20.0, chrf=40.0, dev_sets=dev_sets)
    return ValidationMetrics(
        step=3, epoch=0, quality=quality, metric="bleu", best_step=3, best_value=20.0, seconds=1.5
    )  # fmt: skip


def interpolation_metrics() -> InterpolationMetrics:
    trials = (
        InterpolationTrial(0.0, 3.0, 36.0),
        InterpolationTrial(1.0, 9.0, 33.0),
        InterpolationTrial(0.5, 6.0, 35.5),
    )
    return InterpolationMetrics(step=3, trained_share=0.5, most_lost_bleu=1.0, trials=trials, seconds=1.5)


def named_on_the_page(key: str) -> bool:
    """Whether the page has the key, with LAYER and SET in place of names, and `_median` for `token_share_median`."""
    key = re.sub(r"\.(fr|de)$", ".SET", key.replace("encoder.", "LAYER."))
    key = re.sub(r"^LAYER\.(importance|load)_loss$", "LAYER.LOSS_loss", key)
    name, _, quantile = key.rpartition("_")
    if name == "LAYER.token_share":
        return f"`{key}`" in PAGE or f"`_{quantile}`" in PAGE
    return f"`{key}`" in PAGE


def test_every_key_is_on_the_page_of_the_metrics() -> None:
    routing = {"encoder": LanguageRouting((0.5, 0.5), 0.25)}
    one, other = DevSetMetrics(1.0, 20.0, "13a", routing), DevSetMetrics(1.2, 18.0, "zh", routing)
    records = [
        training_metrics(encoder=layer(0.1)),
        training_metrics(encoder=layer(0.1, num_experts=65)),
        validation_metrics(valid=one),
        validation_metrics(fr=one, de=other),
        interpolation_metrics(),
    ]
    keys = {key for record in records for key in json.loads(json.dumps(record.line()))}
    assert "LAYER.token_share" in PAGE
    assert {key for key in keys if key != "step" and not named_on_the_page(key)} == set()


def test_trials_of_an_interpolation_are_lists_and_what_is_not_there_is_left_out() -> None:
    line = interpolation_metrics().line()
    assert (line["share"], line["old_bleu"]) == ([0.0, 1.0, 0.5], [36.0, 33.0, 35.5])
    assert line["trained_share"] == 0.5
    assert "trained_share" not in dataclasses.replace(interpolation_metrics(), trained_share=None).line()


def test_the_layer_with_the_most_uneven_load_is_told_for_all() -> None:
    metrics = training_metrics(encoder=layer(0.1), decoder=layer(0.4))
    assert metrics.max_load_cv == metrics.line()["max_load_cv"] == 0.4
    assert training_metrics().max_load_cv is None
    assert "max_load_cv" not in training_metrics().line()


def test_dev_sets_of_one_signature_have_it_once_and_others_have_their_own() -> None:
    one, same, other = DevSetMetrics(1.0, 20.0, "13a"), DevSetMetrics(1.2, 18.0, "13a"), DevSetMetrics(1.2, 18.0, "zh")
    assert validation_metrics(fr=one, de=same).line()["bleu_signature"] == "13a"
    line = validation_metrics(fr=one, de=other).line()
    assert (line["bleu_signature.fr"], line["bleu_signature.de"], line["bleu.de"]) == ("13a", "zh", 18.0)
    assert "bleu.fr" not in validation_metrics(fr=one).line()


def test_what_was_not_measured_is_left_out() -> None:
    quality = ModelQuality(loss=1.0, perplexity=2.718)
    assert quality.line() == {"loss": 1.0, "perplexity": 2.718}
    assert quality.value("bleu") == 0.0
