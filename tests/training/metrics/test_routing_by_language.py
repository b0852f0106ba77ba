"""The report of which experts each language uses, against shares worked out by hand and batch by batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mtmoe.data.batches.padding import batch_of
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.model.moe.gating import Gate
from mtmoe.model.translation import TranslationModel
from mtmoe.training.metrics.records import DevSetMetrics, ModelQuality
from mtmoe.training.metrics.routing_by_language import routing_by_language
from mtmoe.training.validation import Validator
from tests.data.prepared.test_multilingual import multilingual


def test_shares_and_distances_by_hand() -> None:
    counts = {
        "fr": {"encoder.moe1": torch.tensor([6, 2, 0, 0])},
        "de": {"encoder.moe1": torch.tensor([0, 0, 3, 1])},
        "es": {"encoder.moe1": torch.tensor([0, 4, 0, 0])},
    }
    report = routing_by_language(counts)
    assert report["fr"]["encoder.moe1"].token_share_E == (0.75, 0.25, 0.0, 0.0)
    assert report["de"]["encoder.moe1"].token_share_E == (0.0, 0.0, 0.75, 0.25)
    assert report["de"]["encoder.moe1"].routing_distance == pytest.approx(1.0)  # no expert in common with the others
    # The others together: 0, 4, 3, 1 of 8.
    assert report["fr"]["encoder.moe1"].routing_distance == pytest.approx((0.75 + 0.25 + 3 / 8 + 1 / 8) / 2)


def test_of_many_experts_the_distance_alone_is_told() -> None:
    report = routing_by_language({name: {"moe": torch.ones(65, dtype=torch.int64)} for name in ("fr", "de")})
    dev_sets = {name: DevSetMetrics(routing=routing) for name, routing in report.items()}
    line = ModelQuality(loss=1.0, perplexity=math.e, dev_sets=dev_sets).line()
    assert {key: value for key, value in line.items() if key.startswith("moe")} == {
        "moe.routing_distance.fr": 0.0,
        "moe.routing_distance.de": 0.0,
    }


def test_of_one_language_there_is_nothing_to_tell() -> None:
    assert routing_by_language({"fr": {"moe": torch.tensor([1, 2])}}) == {}


def test_validation_tells_the_loss_and_the_experts_of_each_direction(tmp_path: Path) -> None:
    recipe = multilingual(tmp_path)
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    prepared = open_prepared(tmp_path / "data")
    torch.manual_seed(1)
    model = TranslationModel(recipe.model, prepared.valid.vocabulary_size).eval()
    with torch.no_grad():  # gates begin at zero, where all tokens go the same way
        for gate in (module for module in model.modules() if isinstance(module, Gate)):
            for parameter in gate.parameters():
                parameter.normal_()
    validator = Validator(recipe, prepared, SubwordModel(prepared.subwords_path), torch.device("cpu"))
    measured = validator(model).line()

    losses, counts, begin = {}, {}, 0
    with torch.inference_mode():
        for part in prepared.valid.parts:
            total = num_tokens = 0
            routed = {layer: torch.zeros(4, dtype=torch.int64) for layer in ("encoder.moe1", "decoder.moe1")}
            for index in range(begin, begin + part.num_pairs):  # one pair at a time
                batch = batch_of([prepared.valid.source(index).tolist()], [prepared.valid.target(index).tolist()])
                total -= float(model.log_probabilities(batch).sum())
                num_tokens += batch.num_target_tokens
                for layer, balance in model(batch).balances.items():
                    routed[layer] += balance.token_counts_E
            losses[part.name], counts[part.name] = (total, num_tokens), routed
            begin += part.num_pairs
    for name, (total, num_tokens) in losses.items():
        assert measured[f"loss.{name}"] == pytest.approx(total / num_tokens, rel=1e-4)
        for layer, token_counts_E in counts[name].items():
            shares = (token_counts_E / token_counts_E.sum()).tolist()
            assert measured[f"{layer}.token_share.{name}"] == pytest.approx(shares, abs=1e-5)
            assert 0 < measured[f"{layer}.routing_distance.{name}"] < 1
    totals, numbers = zip(*losses.values(), strict=True)
    assert measured["loss"] == pytest.approx(sum(totals) / sum(numbers), rel=1e-4)
