"""Merging: experts that compute nearly the same become one, the mean of them weighted by their tokens.

How alike two experts are is the cosine of what they compute of the same inputs, a sample of those that the layer has
on dev text. The most alike groups of experts are merged first (average linkage, weighted by tokens), until as many are
left as are wanted. Hidden units have no order, so those of an expert are first put into the order of those that they
are most like (greedily, by the cosine of their weights in both matrices): two experts that differ in nothing but the
order of their units become one that computes the same.

The column of the gate is the weighted mean, too, and so is the bias on the choice. Outputs stay as they were where the
merged experts are equal, with equal gates, and each token is sent to one expert (k = 1), or where all experts are
merged in pairs and k is halved. In general the merged expert has one place among the k of a token where its parts had
two, and a further expert comes in.

Letters: R rows of a sample, U hidden units of an expert, X those of another, C weights of a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.expert_surgery.dev_use import LayerUse
from mtmoe.expert_surgery.operation import Operation, Weights, number_of_groups, parameter_of, with_selected
from mtmoe.expert_surgery.pruning import check_fewer

_ROWS_AT_ONCE = 64


def merge(
    weights: Weights,
    moe: MixtureOfExpertsSettings,
    use: Mapping[str, LayerUse],
    num_kept: int,
    experts_per_token: int,
) -> Operation:
    """Merge the experts of each layer that are most alike; of two levels, those of the same group alone.

    Raises:
        UserError: as :func:`mtmoe.expert_surgery.pruning.check_fewer`.
    """
    check_fewer(moe, num_kept, experts_per_token, "merge")
    groups = number_of_groups(moe)
    of_group = moe.num_experts // groups
    merged = dict(weights)
    origins: dict[str, list[list[int]]] = {}
    least = 1.0
    for layer, of_layer in use.items():
        names = [parameter_of(weights, layer, inside) for inside in ("first_EDH", "second_EHD")]
        alike_EE = similarity(of_layer.sample_RD, *(weights[name].float() for name in names))
        tokens = of_layer.tokens_E.double().numpy()
        origins[layer] = []
        for begin in range(0, moe.num_experts, of_group):
            inner = slice(begin, begin + of_group)
            found, lowest = clusters(alike_EE[inner, inner], tokens[inner], num_kept // groups)
            origins[layer] += [[begin + expert for expert in cluster] for cluster in found]
            least = min(least, lowest)
        merged |= _averaged(weights, layer, origins[layer], tokens)
    firsts = {layer: [cluster[0] for cluster in found] for layer, found in origins.items()}
    new = moe.model_copy(update={"num_experts": num_kept, "experts_per_token": experts_per_token})
    why = (
        f"{moe.num_experts} experts of each layer merged into {num_kept} by the cosine of their outputs on dev text, "
        f"{least:.3f} or more, weighted by their tokens"
    )
    return Operation("merge", new, origins, with_selected(merged, firsts, moe), why)


def similarity(sample_RD: Tensor, first_EDH: Tensor, second_EHD: Tensor) -> np.ndarray:
    """Return the cosine of the outputs of any two experts over a sample, [E, E]; 0 for one whose output is 0."""
    num_experts = first_EDH.shape[0]
    products_EE = torch.zeros(num_experts, num_experts, dtype=torch.float64)
    for rows_RD in sample_RD.split(_ROWS_AT_ONCE):
        outputs_ERD = torch.bmm(torch.matmul(rows_RD, first_EDH).relu(), second_EHD)
        flat = outputs_ERD.flatten(1).double()
        products_EE += flat @ flat.t()
    norms_E = products_EE.diagonal().sqrt()
    scale_E = torch.where(norms_E > 0, 1 / norms_E, 0.0)
    return np.asarray((products_EE * scale_E[:, None] * scale_E).numpy())


def clusters(alike_EE: np.ndarray, tokens: np.ndarray, num_clusters: int) -> tuple[list[list[int]], float]:
    """Join the two most alike clusters, beginning with single experts, until so many are left.

    Returns:
        The clusters by their first experts, each ascending; and the least similarity at which two were joined.
    """
    members: dict[int, list[int]] = {expert: [expert] for expert in range(len(alike_EE))}
    alike = alike_EE.copy()
    np.fill_diagonal(alike, -np.inf)
    weight = np.maximum(tokens, 1.0)
    lowest = 1.0
    while len(members) > num_clusters:
        place = int(alike.argmax())
        first, second = sorted(divmod(place, len(alike)))
        lowest = min(lowest, float(alike[first, second]))
        total = weight[first] + weight[second]
        row = (weight[first] * alike[first] + weight[second] * alike[second]) / total
        weight[first] = total
        members[first] += members.pop(second)
        alike[first], alike[:, first] = row, row
        alike[first, first] = -np.inf
        alike[second], alike[:, second] = -np.inf, -np.inf
    return [sorted(cluster) for _, cluster in sorted(members.items())], lowest


def _averaged(weights: Weights, layer: str, origins: Sequence[Sequence[int]], tokens: np.ndarray) -> dict[str, Tensor]:
    """Return the parameters of a layer in which the first expert of each cluster is the mean of the cluster."""
    first_name, second_name = (parameter_of(weights, layer, inside) for inside in ("first_EDH", "second_EHD"))
    gates = [name for name in weights if name.rpartition(".")[0] == f"{first_name.rpartition('.experts.')[0]}.gate"]
    new = {name: weights[name].clone() for name in (first_name, second_name, *gates)}
    for cluster in origins:
        if len(cluster) == 1:
            continue
        shares = np.maximum(tokens[list(cluster)], 1.0)
        shares = shares / shares.sum()
        target = cluster[0]
        first_DH, second_HD = weights[first_name][target].float(), weights[second_name][target].float()
        sums = [first_DH * shares[0], second_HD * shares[0]]
        for expert, share in zip(cluster[1:], shares[1:], strict=True):
            other_first_DH, other_second_HD = weights[first_name][expert].float(), weights[second_name][expert].float()
            order_H = matching_units((first_DH, second_HD), (other_first_DH, other_second_HD))
            sums[0] = sums[0] + share * other_first_DH[:, order_H]
            sums[1] = sums[1] + share * other_second_HD[order_H]
        new[first_name][target], new[second_name][target] = sums
        for name in gates:
            _average_columns(new[name], weights[name], name, cluster, torch.from_numpy(shares))
    return new


def _average_columns(new: Tensor, old: Tensor, name: str, cluster: Sequence[int], shares: Tensor) -> None:
    """Put the mean of the columns of a cluster where its first expert has its own, in place."""
    if name.endswith("_DE"):
        new[:, cluster[0]] = (old[:, list(cluster)].double() @ shares).to(new.dtype)
    elif name.endswith("choice_bias_E"):
        new[cluster[0]] = (old[list(cluster)].double() @ shares).to(new.dtype)
    elif name.endswith("_GDL"):
        of_group = old.shape[2]
        group, places = cluster[0] // of_group, [expert % of_group for expert in cluster]
        new[group][:, places[0]] = (old[group][:, places].double() @ shares).to(new.dtype)


def matching_units(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Return for each hidden unit of an expert the unit of another that is in its place: the most alike pair of all
    first, then the most alike of those that are left.

    Args:
        one, other: both matrices, [D, H] and [H, D].
    """
    units_UC, units_XC = (torch.cat((first_DH.t(), second_HD), dim=1) for first_DH, second_HD in (one, other))
    units_UC, units_XC = (
        units / units.norm(dim=1, keepdim=True).clamp(min=1e-12) for units in (units_UC.double(), units_XC.double())
    )
    alike_UX = (units_UC @ units_XC.t()).numpy()
    num_units = len(alike_UX)
    order = np.full(num_units, -1)
    is_taken = np.zeros(num_units, dtype=bool)
    for place in np.argsort(-alike_UX, axis=None, kind="stable"):
        unit, its_like = divmod(int(place), num_units)
        if order[unit] < 0 and not is_taken[its_like]:
            order[unit], is_taken[its_like] = its_like, True
    return torch.from_numpy(order)
