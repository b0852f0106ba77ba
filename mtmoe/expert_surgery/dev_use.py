"""Use of the experts on dev text: how many tokens each is given, its importance, and a sample of what it reads.

Letters: R rows of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.config import Recipe
from mtmoe.data.batches.running_text import rows_of_text
from mtmoe.data.batches.token_batches import Batch, sequential_batches
from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.errors import UserError
from mtmoe.languages import Direction, parse_direction, same_language
from mtmoe.model.building import Network
from mtmoe.model.expert_layers import expert_layers, watched
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.training.validation import ROWS_OF_TEXT, TOKENS_AT_ONCE

SAMPLE_ROWS = 512
"""Tokens of a layer by which experts are compared."""


class LayerUse(NamedTuple):
    """One layer on dev text.

    tokens_E: that each expert was given (int64). importance_E: the sum of its gates (eq. 6, float64). sample_RD: inputs
    of the layer, of tokens all over the text.
    """

    tokens_E: Tensor
    importance_E: Tensor
    sample_RD: Tensor


def dev_sets_into(prepared: Prepared, language: str | None) -> list[str]:
    """Return the names of the dev sets that translate into a language, or in a direction; of all, if none is named.

    Args:
        language: a code, or a direction such as en-de.

    Raises:
        UserError: there is none; it names the languages and directions that there are.
    """
    names = [part.name for part in prepared.valid.parts]
    if language is None:
        return names
    if prepared.data_settings.monolingual:
        there = {prepared.data_settings.target_language}
        found = [name for name in names if same_language(prepared.data_settings.target_language, language)]
    else:
        directions = {name: prepared.direction("valid", name) for name in names}
        there = {direction.target for direction in directions.values()} | set(map(str, directions.values()))
        found = [name for name, direction in directions.items() if same_language(direction.target, language)]
        wanted = _as_direction(language)
        if not found and wanted is not None:
            found = [name for name, direction in directions.items() if _same_direction(direction, wanted)]
    if not found:
        raise UserError(
            f"--language {language}: no dev set translates into it, or in this direction",
            fix=f"there are: {', '.join(sorted(there))}",
        )
    return found


def _as_direction(text: str) -> Direction | None:
    try:
        return parse_direction(text)
    except UserError:
        return None


def _same_direction(one: Direction, other: Direction) -> bool:
    return same_language(one.source, other.source) and same_language(one.target, other.target)


def measure_use(model: Network, recipe: Recipe, prepared: Prepared, language: str | None = None) -> dict[str, LayerUse]:
    """Read the dev text by teacher forcing, and return the use of the experts of each layer.

    Args:
        language: that dev sets translate into, or their direction; None for all of them.

    Raises:
        UserError: no dev set translates into the language.
    """
    batches = list(_batches(recipe, prepared, dev_sets_into(prepared, language)))
    return use_of_experts(model, batches, runs_on=bool(recipe.training.bptt_steps))


@torch.inference_mode()
def use_of_experts(model: Network, batches: Sequence[Batch], *, runs_on: bool = False) -> dict[str, LayerUse]:
    """Return the use of the experts of each layer on batches; ``runs_on``: each goes on where the one before ended."""
    layers = expert_layers(model)
    device = next(model.parameters()).device
    tokens = {name: torch.zeros(layer.gate.num_experts, dtype=torch.int64) for name, layer in layers.items()}
    importance = {name: torch.zeros(layer.gate.num_experts, dtype=torch.float64) for name, layer in layers.items()}
    samples: dict[str, list[Tensor]] = {name: [] for name in layers}
    rows_of_batch = max(1, -(-SAMPLE_ROWS // max(len(batches), 1)))
    state: LanguageModelState | None = None
    for batch in batches:
        with watched(layers) as calls:
            if isinstance(model, LanguageModel):
                _, after = model.continued(batch.to(device), state)
                state = after if runs_on else None
            else:
                model(batch.to(device))
        for name, of_layer in calls.items():
            for _, routing in of_layer:
                assert routing.balance is not None
                tokens[name] = tokens[name] + routing.token_counts_E.cpu()
                importance[name] = importance[name] + routing.balance.importance_E.double().cpu()
            x_ND = torch.cat([call.x_ND for call in of_layer])
            every = max(1, x_ND.shape[0] // rows_of_batch)
            samples[name].append(x_ND[::every][:rows_of_batch].float().cpu())
    return {name: LayerUse(tokens[name], importance[name], torch.cat(samples[name])[:SAMPLE_ROWS]) for name in layers}


def _batches(recipe: Recipe, prepared: Prepared, names: list[str]) -> Iterator[Batch]:
    """Yield the dev text, as a validation reads it."""
    settings, begin = recipe.training, 0
    if settings.bptt_steps:
        yield from rows_of_text(prepared.valid, ROWS_OF_TEXT, TOKENS_AT_ONCE)
        return
    for part in prepared.valid.parts:
        pairs = slice(begin, begin + part.num_pairs)
        if part.name in names:
            yield from sequential_batches(prepared.valid, settings.batch_tokens, pairs)
        begin = pairs.stop
