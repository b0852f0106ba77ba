"""Model cards: what they tell, and the front matter as the hub reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mtmoe.checkpoint import Checkpoint
from mtmoe.checkpoint.packages.package_manifest import Member
from mtmoe.checkpoint.packages.package_writing import PackedModel
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.sharing.dev_quality import DevQuality
from mtmoe.sharing.model_card import CardFacts, model_card
from mtmoe.sharing.portable_recipe import portable_recipe
from tests.toy import toy_settings

BEFORE = DevQuality(30.0, 50.0, "nrefs:1|tok:13a", "nrefs:1|nc:6", 30)


def recipe_of(folder: Path, **data: Any) -> Recipe:
    settings = toy_settings(folder)
    settings["data"] |= data
    return recipe_from_dict(settings, folder / "toy.toml")


def card(recipe: Recipe, **facts: Any) -> tuple[dict[str, Any], str]:
    """Return the front matter and the rest."""
    model = PackedModel("0.1.0", (Checkpoint("step-00000012", 12, Path("x")),), "ab" * 16, "int8")
    told: dict[str, Any] = {
        "recipe": recipe,
        "model": model,
        "num_parameters": 1234,
        "members": {"recipe.toml": Member(num_bytes=10, sha256="c" * 64)},
        "before": BEFORE,
        "after": BEFORE._replace(bleu=29.96),
        "num_pairs": 1000,
        "license": "",
    }
    _, front, rest = model_card(CardFacts(**(told | facts))).split("---\n", 2)
    return yaml.safe_load(front), rest


def test_the_front_matter_is_what_the_hub_reads(tmp_path):
    front, _ = card(recipe_of(tmp_path), license="apache-2.0")
    assert front["license"] == "apache-2.0"
    assert front["language"] == ["en", "fr"]
    assert front["pipeline_tag"] == "translation"
    assert {"mtmoe", "translation", "mixture-of-experts"} <= set(front["tags"])
    assert front["metrics"] == ["bleu", "chrf"]
    [result] = front["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {"bleu": 29.96, "chrf": 50.0}
    assert "datasets" not in front


def test_it_tells_quality_with_signature_data_with_licences_and_hashes(tmp_path):
    text = [{"name": "books", "format": "huggingface", "dataset": "opus_books", "license": "public | domain"}]
    front, rest = card(recipe_of(tmp_path, train=text))
    assert front["datasets"] == ["opus_books"]
    assert front["license"] == "unknown"
    assert "| books | opus_books | public \\| domain |" in rest
    assert "| as in this package, int8 | 29.96 | 50.00 |" in rest
    assert "`nrefs:1|tok:13a`" in rest
    assert f"| recipe.toml | 10 | `{'c' * 64}` |" in rest
    assert "1,000 pairs" in rest
    assert "No licence of the weights was stated" in rest
    assert "[subwords]" in rest


def test_what_was_not_measured_is_not_told(tmp_path):
    front, rest = card(recipe_of(tmp_path), before=None, after=None, num_pairs=None)
    assert "model-index" not in front
    assert "Not measured when the package was made." in rest
    assert "BLEU |" not in rest


def test_a_portable_recipe_has_no_folder_of_this_machine(tmp_path):
    settings = toy_settings(tmp_path)
    settings["training"]["start"] = {"run": str(tmp_path / "customer" / "run")}
    settings["subwords"]["file"] = str(tmp_path / "own.model")
    settings["decoding"]["pass_through"] = ["/[A-Z]+-[0-9]+/"]
    recipe = portable_recipe(recipe_from_dict(settings, tmp_path / "toy.toml"))
    assert str(tmp_path) not in recipe.model_dump_json()
    assert recipe.training.start.run == "run"
    assert recipe.subwords.file == "own.model"
    assert recipe.data.train[0].source_file.path == "train.en"
    assert recipe.decoding.pass_through == ("/[A-Z]+-[0-9]+/",)


@pytest.mark.parametrize("url", ["https://anna:secret@example.org/a.gz", "https://anna@example.org/a.gz"])
def test_a_portable_recipe_has_no_password(tmp_path, url):
    file = {"url": url, "sha256": "a" * 64}
    text = {"name": "text", "format": "tsv", "file": file}
    recipe = portable_recipe(recipe_of(tmp_path, train=[text]))
    assert recipe.data.train[0].file.url == "https://example.org/a.gz"
