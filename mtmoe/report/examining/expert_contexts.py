"""What each expert is given: the contexts in which its gate is largest, and its favourite subwords (as Table 9 of the
paper, which shows such contexts of an encoder's experts).

Letters: N tokens, M pairs of a token and one of its experts, B sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mtmoe.data.batches.padding import batch_of
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.model.expert_layers import expert_layers, watched
from mtmoe.model.translation import TranslationModel
from mtmoe.report.examining.frequency_routing import FrequencyRouting, routing_by_frequency
from mtmoe.vocabulary import BOS, EOS

_NUM_CONTEXTS, _NUM_SUBWORDS = 6, 8
_BEFORE, _BEHIND = 6, 4  # subwords of a context
_LEAST_TIMES = 3
SENTENCES_AT_ONCE = 50


class Context(NamedTuple):
    """Text around a token that an expert was given, and the gate that it had there, 0 to 1."""

    before: str
    token: str
    behind: str
    gate: float


class FavouriteSubword(NamedTuple):
    """A subword that an expert is given more often than others. ratio: of its share among the expert's tokens to its
    share among all tokens of the layer."""

    text: str
    times: int
    ratio: float


class ExpertProfile(NamedTuple):
    """One expert of a layer. share: of the layer's tokens that it was given."""

    number: int
    share: float
    mean_gate: float
    contexts: tuple[Context, ...]
    subwords: tuple[FavouriteSubword, ...]


class _Tokens(NamedTuple):
    """What one layer did with the tokens of all sentences: for each of M pairs, the place of its token among all the
    layer's tokens, the expert, and the gate."""

    tokens_M: np.ndarray
    experts_M: np.ndarray
    gates_M: np.ndarray


class LayerProfile(NamedTuple):
    """A layer: its experts, and how frequent and rare subwords are routed, where it is known which are rare."""

    experts: Sequence[ExpertProfile]
    by_frequency: FrequencyRouting | None


def profile_experts(
    model: TranslationModel,
    subwords: SubwordModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    times: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, LayerProfile]:
    """Return the profile of each layer, by its name.

    Args:
        pairs: ids of source and target sentences, without special symbols; at least one.
        times: how often each subword comes in the source and the target side of the training text, [V].
    """
    texts: dict[str, list[list[int]]] = {"encoder": [], "decoder": []}
    layers = expert_layers(model)
    found: dict[str, list[_Tokens]] = {name: [] for name in layers}
    num_tokens = dict.fromkeys(layers, 0)
    device = next(model.parameters()).device
    for begin in range(0, len(pairs), SENTENCES_AT_ONCE):
        part = pairs[begin : begin + SENTENCES_AT_ONCE]
        texts["encoder"] += [[*source, EOS] for source, _ in part]
        texts["decoder"] += [[BOS, *target] for _, target in part]
        batch = batch_of([source for source, _ in part], [target for _, target in part]).to(device)
        with torch.inference_mode(), watched(layers) as calls:
            model(batch)
        for name, of_layer in calls.items():
            for x_ND, routing in of_layer:
                tokens_M = routing.tokens_M.cpu().numpy() + num_tokens[name]
                found[name].append(
                    _Tokens(tokens_M, routing.experts_M.cpu().numpy(), routing.gates_M.float().cpu().numpy())
                )
                num_tokens[name] += len(x_ND)
    profiles = {}
    for name, layer in layers.items():
        side = name.partition(".")[0]
        tokens = _Tokens(*(np.concatenate(parts) for parts in zip(*found[name], strict=True)))
        num_experts = layer.gate.num_experts
        by_frequency = None
        if times is not None:
            ids_M = np.concatenate([np.array(sentence) for sentence in texts[side]])[tokens.tokens_M]
            times_V = times[0 if side == "encoder" else 1]
            by_frequency = routing_by_frequency(ids_M, tokens.experts_M, num_experts, times_V)
        experts = _profiles(tokens, texts[side], num_experts, subwords.pieces)
        profiles[name] = LayerProfile(experts, by_frequency)
    return profiles


def _profiles(
    tokens: _Tokens, sentences: Sequence[Sequence[int]], num_experts: int, pieces: Sequence[str]
) -> list[ExpertProfile]:
    ids_N = np.concatenate([np.array(sentence) for sentence in sentences])
    ends_B = np.cumsum([len(sentence) for sentence in sentences])
    times_V = np.bincount(ids_N, minlength=len(pieces))
    profiles = []
    for expert in range(num_experts):
        own = np.flatnonzero(tokens.experts_M == expert)
        own_tokens, gates = tokens.tokens_M[own], tokens.gates_M[own]
        order = np.lexsort((own_tokens, -gates))
        contexts: dict[str, Context] = {}
        for place in order:
            if len(contexts) == _NUM_CONTEXTS:
                break
            token = int(own_tokens[place])
            sentence = int(np.searchsorted(ends_B, token, side="right"))
            ids = sentences[sentence]
            context = _context(ids, token - (int(ends_B[sentence]) - len(ids)), pieces, float(gates[place]))
            contexts.setdefault(f"{context.before}|{context.token}|{context.behind}", context)
        profiles.append(
            ExpertProfile(
                expert,
                len(own) / max(len(ids_N), 1),
                float(gates.mean()) if len(own) else 0.0,
                tuple(contexts.values()),
                _favourites(ids_N[own_tokens], times_V, len(ids_N), pieces),
            )
        )
    return profiles


def _favourites(
    ids: np.ndarray, times_V: np.ndarray, num_tokens: int, pieces: Sequence[str]
) -> tuple[FavouriteSubword, ...]:
    """Return the subwords that an expert's tokens have more often than all tokens, those first that add most."""
    found = []
    for piece, times in Counter(ids.tolist()).items():
        ratio = (times / len(ids)) / (times_V[piece] / num_tokens)
        if times >= _LEAST_TIMES and ratio > 1:
            found.append((-times * float(np.log(ratio)), _shown(piece, pieces).strip(), times, float(ratio)))
    return tuple(FavouriteSubword(text, times, ratio) for _, text, times, ratio in sorted(found)[:_NUM_SUBWORDS])


def _context(ids: Sequence[int], place: int, pieces: Sequence[str], gate: float) -> Context:
    before = "".join(_shown(i, pieces) for i in ids[max(0, place - _BEFORE) : place])
    behind = "".join(_shown(i, pieces) for i in ids[place + 1 : place + 1 + _BEHIND])
    return Context(before.lstrip(), _shown(ids[place], pieces), behind, gate)


def _shown(piece: int, pieces: Sequence[str]) -> str:
    """Return what a subword looks like in a text: white space in front of a word, special symbols by name."""
    if piece == EOS:
        return " (end)"
    return "(begin)" if piece == BOS else pieces[piece].replace("▁", " ")
