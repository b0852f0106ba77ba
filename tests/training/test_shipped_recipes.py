"""Every shipped recipe, shrunken until it is quick, learns in every precision: what it names fits together."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mtmoe.config import Recipe, load_recipe, recipe_from_dict
from mtmoe.config.settings import Model, Training
from mtmoe.data.batches.padding import ragged, text_batch
from mtmoe.data.batches.token_batches import Batch, batch_of
from mtmoe.data.prepared.translation_table import NO_TRANSLATIONS
from mtmoe.precision import DTYPES
from mtmoe.training import step as step_module
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import StepOutcome, Stepper
from tests.distributed.processes.workers import two_teachers
from tests.hardware import BF16_IS_SUPPORTED
from tests.shipped import recipes_of_all_kinds

_VOCABULARY = 40
_STEPS = 3
_ROWS = 13  # in bf16 not what products are padded to


def _shrunken(name: str) -> Recipe:
    """The recipe with small numbers, whose relations (which is larger, which are equal, what divides what) stay."""
    tables = load_recipe(name).model_dump()
    model, moe, training = tables["model"], tables["model"]["moe"], tables["training"]
    width, hidden = model["width"], model["lstm_hidden"]
    model |= {"width": 16, "lstm_hidden": hidden and (16 if hidden == width else 32)}
    model["attention_width"] = model["attention_width"] and (16 if model["attention_width"] == width else 8)
    if model["encoder_moe_after"] or model["decoder_moe_after"]:
        experts, levels = moe["num_experts"], moe["hierarchy"] or {"groups": 1}
        k = moe["experts_per_token"] // levels.get("groups_per_token", 1)
        of_group, groups = experts // levels["groups"], min(levels["groups"], levels.get("groups_per_token", 1) + 1)
        levels["groups"] = groups
        moe |= {"num_experts": groups * min(of_group, k + 1), "expert_hidden": 16}
    running = training["bptt_steps"] > 0
    training |= {"max_steps": _STEPS, "gradient_accumulation": min(2, training["gradient_accumulation"])}
    training["bptt_spread_tokens"] = min(2, training["bptt_spread_tokens"])
    training |= {"bptt_steps": 5, "batch_tokens": 5 * _ROWS} if running else {"batch_tokens": 1000}
    training["schedule"] |= {"warmup_steps": min(2, training["schedule"]["warmup_steps"])}
    if training["sampled_softmax"] is not None:
        training["sampled_softmax"]["num_samples"] = 20
    return recipe_from_dict(tables, Path("small.toml"))


def _batch(recipe: Recipe, number: int) -> Batch:
    """Made-up sentences; of running text, rows without padding."""
    generator = torch.Generator().manual_seed(number)
    is_text, runs_on = recipe.task == "language-model", recipe.training.bptt_steps > 0

    def sentence() -> list[int]:
        length = 4 if runs_on else int(torch.randint(1, 7, (1,), generator=generator))
        return torch.randint(4, _VOCABULARY, (length,), generator=generator).tolist()

    targets = [sentence() for _ in range(_ROWS)]
    return text_batch(ragged(targets)) if is_text else batch_of([sentence() for _ in range(_ROWS)], targets)


@functools.cache
def _losses(base: str, model: str, training: str) -> list[float]:
    """Per token, of each step. Recipes that differ in nothing but sizes are the same ones when they are small."""
    tables = {"model": Model.model_validate_json(model), "training": Training.model_validate_json(training)}
    recipe = load_recipe(base).model_copy(update=tables)
    table = NO_TRANSLATIONS if recipe.training.guided_alignment is not None else None
    stepper = Stepper(recipe, _VOCABULARY, torch.device("cpu"), teachers=two_teachers(recipe), translation_table=table)
    assert stepper.precision == recipe.training.precision
    losses, count = [], recipe.training.gradient_accumulation
    for step in range(_STEPS):
        before = {name: p.detach().clone() for name, p in stepper.model.named_parameters()}
        group = [_batch(recipe, step * count + number) for number in range(count)]
        result = stepper(group, ExpertUsage())
        assert result.outcome is StepOutcome.APPLIED
        after = dict(stepper.model.named_parameters())
        assert all(p.isfinite().all() for p in after.values())
        assert any(not torch.equal(p, before[name]) for name, p in after.items())
        losses.append(result.loss_sum / result.num_target_tokens)
    return losses


@pytest.fixture(autouse=True)
def _bf16_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also on a processor without instructions for it, where oneDNN refuses it and torch itself is slow: what is small
    is quick all the same."""
    if BF16_IS_SUPPORTED:
        yield
        return
    monkeypatch.setattr(step_module, "choose_precision", lambda device, precision: precision)
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    yield
    torch._C._set_mkldnn_enabled(before)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", recipes_of_all_kinds())
def test_every_shipped_recipe_takes_three_steps_in_every_precision(name, precision):
    recipe = _shrunken(name)
    base, model = "demo" if recipe.task == "translation" else "demo-lm", recipe.model.model_dump_json()
    exact, narrow = (
        _losses(base, model, recipe.training.model_copy(update={"precision": of}).model_dump_json())
        for of in ("fp32", precision)
    )
    assert narrow == pytest.approx(exact, rel=0.02)
