"""Recording: what the network does when it reads a source and writes a given translation.

Letters: B sentences, C the likeliest words, M pairs of a token and one of its experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtmoe.explanation.explanation import Alternative, ChosenExpert, PartExplanation, SourceToken, TargetToken
from mtmoe.explanation.stepping import Pair, steps
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.search.source_batching import group_by_length
from mtmoe.model.expert_layers import Routed, expert_layers, outputs_of_experts, watched
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import EOS

Choices = list[tuple[ChosenExpert, ...]]
"""The experts of one token after another."""


def record(
    model: TranslationModel, pairs: Sequence[Pair], pieces: Sequence[str], num_alternatives: int, batch_tokens: int
) -> list[PartExplanation]:
    """Return the explanation of each pair, without contributions.

    Args:
        pieces: the vocabulary, by id.
        num_alternatives: for each token of a translation.
        batch_tokens: source or target tokens that are computed at a time, padding included.
    """
    lengths = [max(len(source), len(target)) + 1 for source, target in pairs]
    found: dict[int, PartExplanation] = {}
    for group in group_by_length(lengths, batch_tokens):
        recorded = _record_together(model, [pairs[index] for index in group], pieces, num_alternatives)
        found.update(zip(group, recorded, strict=True))
    return [found[index] for index in range(len(pairs))]


@torch.inference_mode()
def _record_together(
    model: TranslationModel, pairs: Sequence[Pair], pieces: Sequence[str], num_alternatives: int
) -> list[PartExplanation]:
    layers = expert_layers(model)
    targets: list[list[TargetToken]] = [[] for _ in pairs]
    with full_precision(), watched(layers) as calls:
        for position, step in enumerate(steps(model, pairs)):
            num_likeliest = min(num_alternatives + 1, step.log_probabilities_BV.shape[1])
            likeliest = step.log_probabilities_BV.topk(num_likeliest, dim=1)
            values_BC, words_BC = likeliest.values.exp().tolist(), likeliest.indices.tolist()
            chosen_B = step.log_probabilities_BV.gather(1, step.labels_B[:, None])[:, 0].tolist()
            attention = step.attention_BS.float().tolist()
            for row, (source, target) in enumerate(pairs):
                if position > len(target):
                    continue
                label = [*target, EOS][position]
                others = zip(words_BC[row], values_BC[row], strict=True)
                alternatives = [Alternative(pieces[word], p) for word, p in others if word != label]
                looked_at = tuple(attention[row][: len(source) + 1])
                targets[row].append(
                    TargetToken(pieces[label], chosen_B[row], tuple(alternatives[:num_alternatives]), looked_at, {})
                )
        choices = {name: _choices(layers[name], of_layer) for name, of_layer in calls.items()}
    return _with_experts(pairs, targets, choices, pieces)


def _with_experts(
    pairs: Sequence[Pair],
    targets: Sequence[Sequence[TargetToken]],
    choices: Mapping[str, Choices],
    pieces: Sequence[str],
) -> list[PartExplanation]:
    """Hand the experts out to tokens: an encoder's layer has those of one sentence after another, a decoder's those of
    one position after another, of all sentences."""
    of_encoder = {name: iter(found) for name, found in choices.items() if name.startswith("encoder.")}
    of_decoder = {name: found for name, found in choices.items() if name not in of_encoder}
    parts = []
    for row, (source, _) in enumerate(pairs):
        read = tuple(
            SourceToken(pieces[i], {name: next(found) for name, found in of_encoder.items()}) for i in (*source, EOS)
        )
        written = tuple(
            token._replace(experts={name: found[position * len(pairs) + row] for name, found in of_decoder.items()})
            for position, token in enumerate(targets[row])
        )
        parts.append(PartExplanation(read, written, ()))
    return parts


def _choices(layer: MixtureOfExperts, calls: Sequence[Routed]) -> Choices:
    """Return the experts of all tokens that the layer was given, the largest gate of each first."""
    choices: Choices = []
    for call in calls:
        of_tokens: list[list[ChosenExpert]] = [[] for _ in range(call.x_ND.shape[0])]
        routing = call.routing
        columns = (routing.tokens_M, routing.experts_M, routing.gates_M, _shares(layer, call))
        for token, expert, gate, share in zip(*(column.tolist() for column in columns), strict=True):
            of_tokens[token].append(ChosenExpert(expert, gate, share))
        choices += [tuple(sorted(chosen, key=lambda it: (-it.gate, it.expert))) for chosen in of_tokens]
    return choices


def _shares(layer: MixtureOfExperts, call: Routed) -> Tensor:
    """Return what each expert adds along the sum over the experts of its token, as a share of it, [M]."""
    outputs_MD = outputs_of_experts(layer, call).float()
    sums_ND = outputs_MD.new_zeros(call.x_ND.shape[0], outputs_MD.shape[1])
    sums_MD = sums_ND.index_add(0, call.routing.tokens_M, outputs_MD).index_select(0, call.routing.tokens_M)
    squares_M = sums_MD.square().sum(1)
    return torch.where(squares_M > 0, (outputs_MD * sums_MD).sum(1) / squares_M, 0.0)
