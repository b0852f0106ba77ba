"""Gate interface: tokens in, their experts and the balance out.

Letters: R rows of logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.moe.gating.load_balancing import z_loss, z_sums
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Routing
from mtmoe.model.ops.keyed_noise import TokenNoise


class Gate(nn.Module):
    """Chooses the experts of each token.

    num_experts: E, all experts of the layer. experts_per_token: k in all, the mean where the number varies.

    z_loss_weight: of the router z-loss (`load_balancing.py`); where it is 0, there is no such loss.

    parallelism: how the gate reaches the other processes. The vectors in ``Balance`` are those of this process.

    noise: where the random numbers come from; None for torch's own generator.
    """

    divides_by_sum = True
    """Whether the gates of a token are divided by their sum, so that those that are left grow where one is left out."""

    def __init__(
        self,
        num_experts: int,
        experts_per_token: int,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
        noise: TokenNoise | None = None,
        z_loss_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_experts, self.experts_per_token = num_experts, experts_per_token
        self.z_loss_weight = z_loss_weight
        self.parallelism, self.noise = parallelism, noise

    def expert_parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters that are stacked over groups of experts: none, with one level."""
        return ()

    def choice_biases(self) -> tuple[str, ...]:
        """Return the names of the parameters that no gradient changes: none, in most gates."""
        return ()

    @property
    def noise_operations(self) -> int:
        """Return how many of the :attr:`operations` are for the noise alone."""
        return 0

    def forward(self, x_ND: Tensor) -> Routing:
        """Route N tokens, x_ND of any float type: in float32, or in float64 where x_ND is."""
        with torch.autocast(x_ND.device.type, enabled=False):
            return self._route(self.in_own_type(x_ND))

    @staticmethod
    def in_own_type(x_ND: Tensor) -> Tensor:
        """Return x_ND in the type of the gates: float32, or float64 where it is that."""
        return x_ND if x_ND.dtype == torch.float64 else x_ND.float()

    @property
    def operations(self) -> int:
        """Return the multiply-adds of the gate for one token in training (`docs/explanation/paper.md#counting`)."""
        raise NotImplementedError

    def _route(self, x_ND: Tensor) -> Routing:
        raise NotImplementedError

    def _normal(self, like_NE: Tensor) -> Tensor:
        """Draw standard normal numbers as ``like_NE``, for each token."""
        return torch.randn_like(like_NE) if self.noise is None else self.noise.normal(like_NE)

    def _z_sums(self, logits_RE: Tensor) -> tuple[Tensor, ...]:
        """Return what the z-loss of some rows of logits [..., E] is made of: a sum and the number of rows, or nothing
        where it has no weight."""
        return z_sums(logits_RE) if self.z_loss_weight else ()

    def _z_losses(self, reduced: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the z-loss of the sums of :meth:`_z_sums`, of one level after another; nothing without a weight."""
        return {"z": self.z_loss_weight * z_loss(reduced)} if reduced else {}

    def _reduced(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """Return the sums over the tokens of all processes, in the shapes they have here; in evaluation, to which
        processes do not come together, those that were given."""
        if not self.training:
            return sums
        total = self.parallelism.reduce_sum(torch.cat([part.flatten() for part in sums]))
        parts = total.split([part.numel() for part in sums])
        return tuple(part.view(given.shape) for part, given in zip(parts, sums, strict=True))


def random_weights(*shape: int, shard: slice = slice(None)) -> nn.Parameter:
    """Draw the weights of a gate without noise: logits of standard deviation 0.1 for inputs of unit variance.

    ``shard`` is the part along the first dimension that is wanted, with the weights that it has in the whole.

    The paper's zeros are for the noisy gate. Without noise they would be ties, and every token would take the same
    experts, or every expert the same tokens.
    """
    return nn.Parameter(torch.empty(shape).normal_(std=0.1 * shape[-2] ** -0.5)[shard].clone())
