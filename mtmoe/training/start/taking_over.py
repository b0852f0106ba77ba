"""Taking over: for each parameter of the new network the rule by which it begins, and the sentences that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.config import Recipe
from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.data.subwords.vocabularies import Vocabulary
from mtmoe.model.building import meta_model
from mtmoe.model.layer_names import layer_of
from mtmoe.model.moe.expert_selection import select_experts
from mtmoe.training.start.architecture import FeedForwardChange, feed_forward_change
from mtmoe.training.start.frozen_layers import frozen_parameters
from mtmoe.training.start.start_run import StartRun
from mtmoe.training.start.vocabulary_change import VocabularyChange, vocabulary_change

Rule = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""A function of the start run's whole weights and of the new parameter as it was drawn: the whole parameter, on the
CPU. Parameters that are spread over processes are not looked at as they were drawn."""


class TakingOver(NamedTuple):
    """rules: by the parameter's name; a parameter without a rule stays as it was drawn. taken, new, frozen: sentences
    for people."""

    rules: dict[str, Rule]
    taken: tuple[str, ...]
    new: tuple[str, ...]
    frozen: tuple[str, ...]


def plan_taking_over(start: StartRun, recipe: Recipe, vocabulary: Vocabulary) -> TakingOver:
    """Decide how each parameter begins.

    Raises:
        UserError: the vocabularies have nothing in common. Architectures have been compared before
            (:func:`mtmoe.training.start.start_run.open_start`).
    """
    same_bytes = start.vocabulary.path.read_bytes() == vocabulary.path.read_bytes()
    of_vocabulary = None if same_bytes else vocabulary_change(start.vocabulary, vocabulary)
    model = meta_model(recipe, vocabulary.size)
    new = dict(model.named_parameters())
    old = {name: p.shape for name, p in meta_model(start.recipe, start.vocabulary.size).named_parameters()}
    rules = {name: rule for name, p in new.items() if (rule := _rule(name, p, old, start, recipe, of_vocabulary))}
    frozen = frozen_parameters(model, recipe.training.start)
    num_frozen = sum(new[name].numel() for name in frozen)
    names = recipe.training.start.frozen if recipe.training.start is not None else ()
    return TakingOver(
        rules,
        tuple(_taken(start, recipe, of_vocabulary)),
        tuple(_begun_anew(new, rules, of_vocabulary)),
        (f"{', '.join(names)}: {num_frozen:,} parameters",) if frozen else (),
    )


# ------------------------------------------------------------------------------------------------- rules


def _rule(
    name: str,
    parameter: Tensor,
    old: Mapping[str, torch.Size],
    start: StartRun,
    recipe: Recipe,
    of_vocabulary: VocabularyChange | None,
) -> Rule | None:
    """Return how a parameter begins; None where it stays as it was drawn."""
    layer = layer_of(name)
    if layer == "embeddings":
        return _of_matrix(_old_matrix(name, old), of_vocabulary)
    if ".moe" not in layer:
        return lambda weights, _: weights[name]
    place, _, inside = name.rpartition(".experts.") if ".experts." in name else name.rpartition(".gate.")
    if not any(other.startswith(f"{place or name.rpartition('.')[0]}.") for other in old):
        return _of_new_layer(name, parameter.shape)
    if ".shared." in name:
        return lambda weights, _: weights[name]
    change = feed_forward_change(start.recipe.model, recipe.model)
    if change is FeedForwardChange.UPCYCLED:
        return _copies_of_dense(f"{place}.{_DENSE[inside]}", parameter.shape) if inside in _DENSE else None
    if name not in old:  # the noise or the bias of a gate that had none
        return None
    if change is FeedForwardChange.MORE_EXPERTS:
        return _more_experts(name, inside, start.recipe.model.moe, recipe.model.moe)
    return lambda weights, _: weights[name]


_DENSE = {"first_EDH": "first_DH", "second_EHD": "second_HD"}
"""The matrix of a dense network that each stack of experts begins as copies of."""


def _old_matrix(name: str, old: Mapping[str, torch.Size]) -> str:
    """Return the old name of a matrix over the vocabulary; one that was shared begins as several."""
    shared = (name, "target_embedding_VD", "embedding_VD")
    return next(other for other in shared if other in old)


def _of_matrix(name: str, of_vocabulary: VocabularyChange | None) -> Rule:
    if of_vocabulary is None:
        return lambda weights, _: weights[name]
    return lambda weights, fresh_VD: of_vocabulary.applied(weights[name], fresh_VD)


def _of_new_layer(name: str, shape: torch.Size) -> Rule | None:
    """Return zeros for the second matrices of a layer, or of shared experts, that the start run has not: their output
    begins as 0."""
    is_second = name.rpartition(".")[2] in ("second_EHD", "second_HD")
    return (lambda weights, _: torch.zeros(()).expand(shape)) if is_second else None


def _copies_of_dense(name: str, shape: torch.Size) -> Rule:
    return lambda weights, _: weights[name].expand(shape)


def _more_experts(
    name: str, inside: str, before: MixtureOfExpertsSettings, now: MixtureOfExpertsSettings
) -> Rule | None:
    """Return copies of what each expert has, side by side within each group; a gate over groups stays as it is."""
    copied = copies_of_experts(before, now.num_experts)
    groups = before.hierarchy.groups if before.hierarchy is not None else 1
    return lambda weights, _: select_experts(inside, weights[name], copied, groups)


def copies_of_experts(before: MixtureOfExpertsSettings, num_experts: int) -> list[int]:
    """Return of which old expert each of ``num_experts`` is a copy: within a group, expert i is one of i modulo the
    number that there were."""
    groups = before.hierarchy.groups if before.hierarchy is not None else 1
    had = before.experts_per_group
    return [group * had + place % had for group in range(groups) for place in range(num_experts // groups)]


# ------------------------------------------------------------------------------------------------- sentences


def _taken(start: StartRun, recipe: Recipe, of_vocabulary: VocabularyChange | None) -> Iterator[str]:
    """Yield what was taken over."""
    old, new = start.recipe.model, recipe.model
    change = feed_forward_change(old, new)
    mixed = "but for feed-forward layers" if change is not FeedForwardChange.NONE else "with all their weights"
    sides = "encoder, attention and decoder" if recipe.task == "translation" else "decoder"
    yield f"{sides}, {mixed}"
    if of_vocabulary is None:
        yield f"embeddings of all {start.vocabulary.size:,} subwords"
    else:
        yield f"embeddings of {of_vocabulary.num_same:,} subwords that both vocabularies have"
    if change is FeedForwardChange.UPCYCLED:
        hidden = new.moe.expert_hidden
        yield f"the dense network of {hidden:,} hidden units as each of {new.moe.num_experts} experts of a layer"
    if change is FeedForwardChange.MORE_EXPERTS:
        yield _sentence_of_more(old.moe, new.moe)


def _sentence_of_more(before: MixtureOfExpertsSettings, now: MixtureOfExpertsSettings) -> str:
    times = now.num_experts // before.num_experts
    text = f"{before.num_experts} experts as {now.num_experts}, {times} copies of each with its gate"
    if now.experts_per_token == times * before.experts_per_token:
        return f"{text}: the layers compute what they did"
    if before.top_k_in_group == now.top_k_in_group == 1:
        return f"{text}: the layers compute what they did without noise"
    wanted = times * before.experts_per_token
    return (
        f"{text}: a token's {now.experts_per_token} may be copies of one, so that the loss begins higher (it would not "
        f"with model.moe.experts_per_token = {wanted})"
    )


def _begun_anew(
    parameters: Mapping[str, Tensor], rules: Mapping[str, Rule], of_vocabulary: VocabularyChange | None
) -> Iterator[str]:
    """Yield what was not taken over."""
    yield "moments of the optimizer, learning-rate schedule, step"
    if of_vocabulary is not None:
        mean, random, left = of_vocabulary.num_mean, of_vocabulary.num_random, of_vocabulary.num_left
        told = f"{mean:,} subwords, each the mean of what the old model splits it into"
        at_random = f"; {random:,} at random" if random else ""
        yield f"{told}{at_random}; {left:,} old ones are left behind"
    drawn = dict.fromkeys(_module_of(name) for name in parameters if name not in rules)
    if drawn:
        yield f"as in any new network: {', '.join(drawn)}"


def _module_of(parameter: str) -> str:
    """Return ``encoder.moe1.gate`` of a gate's parameter, and ``encoder.moe1`` of any other of its layer."""
    return f"{layer_of(parameter)}.gate" if ".gate." in parameter else layer_of(parameter)
