"""Ablation: what each expert contributes to the log-probability of a translation.

Letters: B sentences: the same one in every row, each row without another expert; T target positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mtmoe.explanation.explanation import Contribution, PartExplanation
from mtmoe.explanation.stepping import Pair, steps
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.model.expert_layers import NONE, expert_layers, without_experts
from mtmoe.model.translation import TranslationModel

LeftOut = tuple[str, int] | None
"""An expert by its layer and number; None for the whole network."""


def contributions(
    model: TranslationModel, pair: Pair, part: PartExplanation, batch_tokens: int
) -> tuple[Contribution, ...]:
    """Return the contributions of all experts that were chosen for any token of the pair, the largest first.

    Args:
        part: what was recorded of the pair.
        batch_tokens: source or target tokens that are computed at a time.
    """
    choices = [token.experts for token in part.source] + [token.experts for token in part.target]
    times = Counter((layer, it.expert) for experts in choices for layer, chosen in experts.items() for it in chosen)
    if not times:
        return ()
    variants: list[LeftOut] = [None, *sorted(times)]
    num_rows = max(1, batch_tokens // (max(map(len, pair)) + 1))
    found = [
        row
        for begin in range(0, len(variants), num_rows)
        for row in token_log_probabilities_without(model, pair, variants[begin : begin + num_rows]).tolist()
    ]
    whole, *others = found
    made = []
    for left_out, row in zip(variants[1:], others, strict=True):
        assert left_out is not None
        of_tokens = tuple(with_it - without for with_it, without in zip(whole, row, strict=True))
        made.append(Contribution(*left_out, times[left_out], sum(of_tokens), of_tokens))
    return tuple(sorted(made, key=lambda it: (-it.log_probability, it.layer, it.expert)))


@torch.inference_mode()
def token_log_probabilities_without(model: TranslationModel, pair: Pair, variants: Sequence[LeftOut]) -> Tensor:
    """Return log P of each token of the pair's translation, float64 [B, T], a row for each expert that is left out."""
    device = next(model.parameters()).device
    source, target = pair
    layers = expert_layers(model)
    left_out = {}
    for name in layers:
        experts = [variant[1] if variant is not None and variant[0] == name else NONE for variant in variants]
        experts_B = torch.tensor(experts, device=device)
        # An encoder's layer is given one sentence after another, a decoder's one position after another.
        is_read = name.startswith("encoder.")
        left_out[name] = experts_B.repeat_interleave(len(source) + 1) if is_read else experts_B.repeat(len(target) + 1)
    with full_precision(), without_experts(layers, left_out):
        columns = [
            step.log_probabilities_BV.gather(1, step.labels_B[:, None]) for step in steps(model, [pair] * len(variants))
        ]
    return torch.cat(columns, dim=1).double().cpu()
