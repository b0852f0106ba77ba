"""Experts: many small feed-forward networks, with one dispatch of the tokens and one combination of the outputs.

Dropless: every token reaches each of its experts, so a sentence's result never depends on its neighbours.

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.moe.expert_operator import compute_experts, experts_operator
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, ExpertShard
from mtmoe.model.moe.routing import Routing
from mtmoe.model.ops.rows import inverse_permutation


class Experts(nn.Module):
    """``E_i(x) = relu(x W1_i) W2_i``, without biases (`docs/explanation/paper.md#expert`); parameters stacked over
    experts.

    num_experts: of the layer. shard: those of them that are here, which are the only ones that it can be called for.
    """

    def __init__(
        self,
        num_experts: int,
        width: int,
        hidden: int,
        *,
        recompute: bool = False,
        shard: ExpertShard = ONE_PROCESS_LAYER.shard,
    ) -> None:
        """Build the experts of the shard.

        With ``recompute`` the hidden activations are computed again in the backward pass, not kept (paper, app. D).
        """
        super().__init__()
        self.recompute, self.num_experts, self.shard = recompute, num_experts, shard(num_experts)
        num_here = self.shard.stop - self.shard.start
        self.first_EDH = nn.Parameter(torch.empty(num_here, width, hidden))
        self.second_EHD = nn.Parameter(torch.empty(num_here, hidden, width))
        if not self.first_EDH.is_meta:  # without memory there is nothing to fill
            self.draw()

    def expert_parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters that are stacked over experts: all of them."""
        return tuple(name for name, _ in self.named_parameters())

    @property
    def num_weights(self) -> int:
        """Return the number of weights of the experts that are here."""
        return sum(stack.numel() for stack in self.parameters())

    def draw(self) -> None:
        """Draw Glorot weights, one matrix at a time: the stack is not one big layer.

        Each expert has random numbers of its own, so that its weights do not depend on which others are here.
        """
        seed = int(torch.randint(1 << 62, (), device="cpu"))
        for place, number in enumerate(range(self.shard.start, self.shard.stop)):
            generator = torch.Generator(self.first_EDH.device).manual_seed(seed + number)
            for stack in (self.first_EDH, self.second_EHD):
                nn.init.xavier_uniform_(stack.detach()[place], generator=generator)

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """Compute ``y = sum_i G(x)_i E_i(x)`` (eq. 1) over the chosen experts of each token, [N, D] -> [N, D].

        Dispatch is a stable sort by expert; combine gathers and sums, forward and backward, so that the result
        is the same bits every time. y has autocast's type where that is on, else that of x.
        """
        order_M = routing.experts_M.argsort(stable=True)
        is_plain = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        y_ND, _ = (compute_experts if is_plain else experts_operator)(
            x_ND,
            routing.gates_M,
            self.first_EDH,
            self.second_EHD,
            routing.tokens_M,
            routing.experts_M,
            order_M,
            inverse_permutation(order_M),
            routing.token_counts_E,
            routing.experts_per_token,
            compute_dtype(x_ND),
            torch.is_grad_enabled() and not self.recompute,
        )
        return y_ND


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type that autocast would choose: it does not know the operator."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def loop_over_experts(x_ND: Tensor, routing: Routing, first_EDH: Tensor, second_EHD: Tensor) -> Tensor:
    """Compute eq. 1 as it is written, expert by expert, in any precision: the reference of the fast path."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(first_EDH.shape[0]):
        gates_M = torch.where(routing.experts_M == expert, routing.gates_M, 0.0).to(x_ND.dtype)
        gate_N1 = x_ND.new_zeros(x_ND.shape[0]).index_add(0, routing.tokens_M, gates_M).unsqueeze(1)
        y_ND = y_ND + gate_N1 * ((x_ND @ first_EDH[expert]).relu() @ second_EHD[expert])
    return y_ND
