"""Frozen layers keep their bits, and all others change."""

from __future__ import annotations

import pytest
import torch

from mtmoe.checkpoint import RunFiles, create_run, find_checkpoint, load_training
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.errors import UserError
from mtmoe.model.building import meta_model
from mtmoe.model.layer_names import layer_of, named_layers
from tests.toy import counting_recipe

ONE = {"max_steps": 3, "precision": "fp32", "validation": {"every_steps": 9, "translate_sentences": 4}}


@pytest.mark.parametrize(
    "frozen",
    [["encoder", "embeddings"], ["decoder.lstm1", "attention"], ["experts"], ["encoder.moe1", "gates"]],
    ids=str,
)
def test_frozen_layers_keep_their_bits_and_have_no_moments(toy, train, tmp_path, frozen):
    train(toy(**ONE), tmp_path / "base")
    recipe = toy(**ONE, weight_decay=0.1, start={"run": str(tmp_path / "base"), "frozen": frozen})
    told = train(recipe, tmp_path / "run")
    before, after = (find_checkpoint(RunFiles(tmp_path / "run"), step).path for step in ("0", "3"))
    begun, moments, _ = load_training(after)
    layers = named_layers(meta_model(recipe, 300))
    still = set().union(*(layers[name] for name in frozen))
    for name, weight in load_training(before)[0].items():
        assert torch.equal(weight, begun[name]) == (name in still), name
        assert (f"exp_avg.{name}" in moments) == (name not in still)
    (record,) = told.starts
    assert record.frozen[0].startswith(", ".join(frozen))


def test_every_parameter_is_of_one_layer_of_a_name(toy, tmp_path):
    for recipe in (toy(), counting_recipe(tmp_path)):
        model = meta_model(recipe, 300)
        layers = named_layers(model)
        single = [layers[layer] for layer in {layer_of(name) for name, _ in model.named_parameters()}]
        assert sorted(name for layer in single for name in layer) == sorted(
            name for name, _ in model.named_parameters()
        )
    assert layer_of("encoder.upper.1.cell.weight_ih_l0") == "encoder.lstm3"
    assert layer_of("layers.0.cell.weight_ih_l0") == "decoder.lstm1"


def test_a_misspelt_layer_is_told_with_the_nearest_and_nothing_left_is_an_error(toy, toy_data, train, tmp_path):
    create_run(tmp_path / "base", toy(), open_prepared(toy_data).subwords_path)
    for frozen, told in (
        (["encodr"], "names 'encodr', which is no layer of the network; did you mean 'encoder'"),
        (["decoder.moe2"], "names 'decoder.moe2'.*; did you mean 'decoder.moe1'"),
        (["encoder", "attention", "decoder", "embeddings"], "names all layers: nothing is left to train"),
    ):
        with pytest.raises(UserError, match=told):
            train(toy(**ONE, start={"run": str(tmp_path / "base"), "frozen": frozen}), tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()
