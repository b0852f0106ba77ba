"""Growing: each expert becomes several, which begin as copies of it, and training makes different ones of them.

A gate of k logits decides which copies a token gets. Where the copies of an expert have the same column, the best
expert of a token fills its k places with its copies. So there are two ways, which both leave outputs as they were:

- *k grows as the number of experts does*. A token gets all copies of its experts, with the gates divided among them.
- *k stays*. The columns of copy c of every expert get the same vector ``d_c`` added. As ``x d_c`` is added to the
  logits of all experts of that copy alike, the softmax of eq. 3 does not see it; but the copies with the largest
  ``x d_c`` win all k places, if they lead by more than the best logit of the token is above its kth. The directions
  are drawn, orthogonal to the mean of the layer's inputs, so that each copy gets a like share; their length is such
  that 99 % of the tokens of the dev text keep their experts. The copies learn from different tokens from the first
  step on.

With noise the copies differ from the beginning, and outputs are no longer quite the same. The noise's matrix of the
gate is copied. A strictly balanced gate, or one of expert choice, has its softmax over t times as many experts, each
value a tth, and so is its threshold, ``T = exp(log nT) / n``, without any change: k grows. So does it with a sigmoid,
which what is added to all logits does change, and with a bias on the choice, which is copied; beside a softmax, whose
values become a tth, it becomes a tth, too.

Letters: R rows of a sample, P copies of an expert, G groups of experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.errors import UserError
from mtmoe.expert_surgery.dev_use import LayerUse
from mtmoe.expert_surgery.operation import Operation, Weights, number_of_groups, parameter_of, with_selected
from mtmoe.training.start.taking_over import copies_of_experts

TOKENS_THAT_KEEP_THEIR_EXPERTS = 0.99


def check_more(moe: MixtureOfExpertsSettings, num_experts: int, experts_per_token: int) -> int:
    """Return of how many copies each expert is to become.

    Raises:
        UserError: the numbers do not suit each other, or the gate.
    """
    times, rest = divmod(num_experts, moe.num_experts)
    if rest or times < 2:
        raise UserError(
            f"--experts {num_experts}: each of {moe.num_experts} experts is copied equally often",
            fix=f"give a multiple, such as --experts {2 * moe.num_experts}",
        )
    k = moe.experts_per_token
    if (moe.has_thresholds or moe.gate == "sigmoid" or moe.choice_bias_rate) and experts_per_token != times * k:
        bias = f" and choice_bias_rate = {moe.choice_bias_rate:g}" if moe.choice_bias_rate else ""
        raise UserError(
            f'with gate = "{moe.gate}"{bias} a token goes to all {times} copies of its experts',
            fix=f"--experts-per-token {times * k}",
        )
    if experts_per_token not in (k, times * k):
        raise UserError(
            f"--experts-per-token {experts_per_token}: with {times} copies of each expert it stays {k} or becomes "
            f"{times} times as many, {times * k}; else the layers would compute something else",
            fix=f"leave it out, or give {times * k}",
        )
    return times


def grow(
    weights: Weights,
    moe: MixtureOfExpertsSettings,
    use: Mapping[str, LayerUse],
    num_experts: int,
    experts_per_token: int,
    *,
    noise: float,
    seed: int,
) -> Operation:
    """Make several experts of each.

    Args:
        noise: standard deviation of what is added to the weights of all copies but the first, as a share of that of the
            expert's matrix.
        seed: of noise and directions.

    Raises:
        UserError: as :func:`check_more`.
    """
    times = check_more(moe, num_experts, experts_per_token)
    copied = copies_of_experts(moe, num_experts)
    new = with_selected(weights, dict.fromkeys(use, copied), moe)
    generator = torch.Generator().manual_seed(seed)
    stays = experts_per_token == moe.experts_per_token
    for layer in use:
        for inside in ("first_EDH", "second_EHD") if noise else ():
            _add_noise(new[parameter_of(new, layer, inside)], moe, times, noise, generator)
        if moe.gate == "softmax" and moe.choice_bias_rate:
            new[parameter_of(new, layer, "choice_bias_E")] /= times
        if stays:
            _divide_tokens(new, weights, layer, moe, use[layer].sample_RD, times, generator)
    settings = moe.model_copy(update={"num_experts": num_experts, "experts_per_token": experts_per_token})
    why = f"{moe.num_experts} experts as {num_experts}, {times} copies of each" + (
        f", which divide its tokens; {TOKENS_THAT_KEEP_THEIR_EXPERTS:.0%} of those of the dev text keep their experts"
        if stays
        else f"; a token goes to {experts_per_token} and not to {moe.experts_per_token}"
    )
    noisy = f"; noise of {noise:g} of the weights' standard deviation, seed {seed}" if noise else "; without noise"
    return Operation("grow", settings, {layer: [[it] for it in copied] for layer in use}, new, why + noisy)


def _add_noise(
    stack: Tensor, moe: MixtureOfExpertsSettings, times: int, noise: float, generator: torch.Generator
) -> None:
    """Add noise to all copies but the first of each expert, in place."""
    had, groups = moe.experts_per_group, number_of_groups(moe)
    for group in range(groups):
        for place in range(had, times * had):
            matrix = stack[group * times * had + place]
            matrix += noise * matrix.std() * torch.randn(matrix.shape, generator=generator).to(matrix.dtype)


def _divide_tokens(
    new: dict[str, Tensor],
    weights: Weights,
    layer: str,
    moe: MixtureOfExpertsSettings,
    sample_RD: Tensor,
    times: int,
    generator: torch.Generator,
) -> None:
    """Add a vector to the columns of each copy, the same for all experts of a group, in place."""
    inside = "gate_DE" if moe.hierarchy is None else "gate_GDL"
    name = parameter_of(weights, layer, inside)
    old_GDE = weights[name] if moe.hierarchy is not None else weights[name][None]
    new_GDE = new[name] if moe.hierarchy is not None else new[name][None]
    for old_DE, new_DE in zip(old_GDE, new_GDE, strict=True):
        directions_DP = dividing_directions(sample_RD, old_DE, moe.top_k_in_group, times, generator)
        new_DE += directions_DP.repeat_interleave(old_DE.shape[1], dim=1).to(new_DE.dtype)


def dividing_directions(sample_RD: Tensor, gate_DE: Tensor, k: int, times: int, generator: torch.Generator) -> Tensor:
    """Return a vector for each copy, [D, P]: so long that nearly all tokens of the sample get k experts of one copy.

    Args:
        gate_DE: the columns of the old experts.
    """
    directions_DP = torch.randn(gate_DE.shape[0], times, generator=generator)
    mean_D = sample_RD.mean(0)
    directions_DP -= torch.outer(mean_D, mean_D @ directions_DP) / mean_D.square().sum().clamp(min=1e-12)
    directions_DP -= directions_DP.mean(1, keepdim=True)
    directions_DP /= directions_DP.norm(dim=0, keepdim=True).clamp(min=1e-12)
    best_RK = (sample_RD @ gate_DE.float()).topk(k, dim=1).values
    lead_RP = (sample_RD @ directions_DP).topk(2, dim=1).values
    needed_R = (best_RK[:, 0] - best_RK[:, -1]) / (lead_RP[:, 0] - lead_RP[:, 1]).clamp(min=1e-12)
    if not len(needed_R):
        return directions_DP
    length = torch.quantile(needed_R, TOKENS_THAT_KEEP_THEIR_EXPERTS)
    return directions_DP * torch.clamp(1.01 * length, min=1e-3)
