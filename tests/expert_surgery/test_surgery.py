"""Surgery on runs: of one language among several, and of language models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from mtmoe.checkpoint import CheckpointState, RunFiles, create_run, load_language_model, save_checkpoint
from mtmoe.checkpoint.run_data import link_data
from mtmoe.config import Recipe
from mtmoe.data.prepared.preparation import Prepared, open_prepared, prepare
from mtmoe.errors import UserError
from mtmoe.expert_surgery.dev_use import dev_sets_into, measure_use, use_of_experts
from mtmoe.expert_surgery.pruning import prune
from mtmoe.expert_surgery.surgery import ALL_DEV_SETS, operate
from mtmoe.model.building import build_model
from tests.data.prepared.test_multilingual import multilingual
from tests.toy import counting_recipe


def _run(recipe: Recipe, directory: Path) -> RunFiles:
    """A run with random weights and its text."""
    prepare(recipe, directory / "data", directory / "cache")
    prepared = open_prepared(directory / "data")
    run = create_run(directory / "run", recipe, prepared.subwords_path)
    torch.manual_seed(5)
    model = build_model(recipe, prepared.valid.vocabulary_size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".gate." in name or name.startswith("moe_layers.1.gate"):
                parameter.normal_(std=0.7)
    save_checkpoint(run, dict(model.named_parameters()), {}, CheckpointState(step=1))
    link_data(run.directory, prepared.directory)
    return run


@pytest.mark.parametrize("bptt_steps", [10, 0])
def test_a_language_model_can_be_operated_on(tmp_path: Path, bptt_steps: int) -> None:
    more = {} if bptt_steps else {"max_tokens_per_sentence": 60}
    run = _run(counting_recipe(tmp_path, bptt_steps=bptt_steps, **more), tmp_path)
    outcome = operate(run.directory, tmp_path / "new", partial(prune, num_kept=3, by="share"), device="cpu")
    assert outcome.num_experts == (4, 3)
    [(name, before)] = outcome.before.items()
    assert before.bleu is None
    assert before.perplexity != outcome.after[name].perplexity
    assert load_language_model(tmp_path / "new").model.moe_layers["1"].gate.num_experts == 3


def names_of(prepared: Prepared) -> list[str]:
    """The dev sets."""
    return [part.name for part in prepared.valid.parts]


def test_a_language_is_measured_on_the_dev_sets_into_it(tmp_path: Path) -> None:
    recipe = multilingual(tmp_path)
    run = _run(recipe, tmp_path)
    prepared = open_prepared(tmp_path / "data")
    model = build_model(recipe, prepared.valid.vocabulary_size).eval()
    languages = [prepared.target_language("valid", part.name) for part in prepared.valid.parts]
    assert len(set(languages)) > 1
    with_each = [measure_use(model, recipe, prepared, language) for language in sorted(set(languages))]
    whole = measure_use(model, recipe, prepared)
    for layer, of_layer in whole.items():
        parts = [use[layer].tokens_E for use in with_each]
        assert torch.equal(sum(parts), of_layer.tokens_E)
        assert all(int(part.sum()) > 0 for part in parts)
    directions = [str(prepared.direction("valid", part.name)) for part in prepared.valid.parts]
    assert len(set(directions)) > 1
    for direction in sorted(set(directions)):
        sets = [name for name, its in zip(names_of(prepared), directions, strict=True) if its == direction]
        assert dev_sets_into(prepared, direction) == sets
    there = ", ".join(sorted({*languages, *directions}))
    for wrong in ("fi", "fi-sv", "no direction"):
        with pytest.raises(UserError, match=f"there are: {there}"):
            measure_use(model, recipe, prepared, wrong)

    def operation(weights, moe, use):
        assert use.keys() == whole.keys()
        assert all(int(use[layer].tokens_E.sum()) < int(whole[layer].tokens_E.sum()) for layer in use)
        return prune(weights, moe, use, moe.experts_per_token, "importance")

    outcome = operate(run.directory, tmp_path / "new", operation, language=languages[0], num_sentences=0)
    assert set(outcome.before) == {*(part.name for part in prepared.valid.parts), ALL_DEV_SETS}


def test_use_is_what_the_layers_count(patient, large_batch) -> None:
    it = patient("softmax", False, large_batch)
    with torch.inference_mode():
        balances = it.model(large_batch).balances
    use = use_of_experts(it.model, [large_batch, large_batch])
    for layer, balance in balances.items():
        assert torch.equal(use[layer].tokens_E, 2 * balance.token_counts_E)
        torch.testing.assert_close(use[layer].importance_E.float(), 2 * balance.importance_E)
        assert len(use[layer].sample_RD) == 512
