"""Residual stack: what encoder, decoder and language model have in common, LSTM layers with MoE layers in between.

Letters: L positions of the side.
"""

from __future__ import annotations

from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.dropout import Dropout, WeightDropout, WordDropout
from mtmoe.model.moe.layer_parallelism import ModelParallelism
from mtmoe.model.moe.moe_layer import build_feed_forward, call_in_parts
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.keyed_noise import TokenNoise
from mtmoe.model.ops.rows import put_rows, take_rows


class ResidualStack(nn.Module):
    """Layers of which each adds to what is below it: ``h_l = h_(l-1) + drop(f_l(h_(l-1)))`` (paper, appendix C.1).

    A subclass makes its LSTM layers, and after them ``moe_layers`` by :meth:`build_moe_layers`.

    noise: where dropout and gates have their random numbers from; None for torch's own generator.
    """

    moe_layers: nn.ModuleDict

    def __init__(self, settings: Model, side: str, noise: TokenNoise | None) -> None:
        """Set what all layers share. ``side``: "encoder" or "decoder", in the names of the layers."""
        super().__init__()
        self.side, self.residual = side, settings.residual
        self.dropout = Dropout(settings.dropout, noise, locked=settings.locked_dropout)
        self.word_dropout = WordDropout(settings.embedding_dropout, noise)
        self.weight_dropout = WeightDropout(settings.weight_dropout, noise)

    def build_moe_layers(
        self, settings: Model, after: tuple[int, ...], parallelism: ModelParallelism, noise: TokenNoise | None
    ) -> nn.ModuleDict:
        """Build the layers that follow the LSTM layers ``after``, which are counted from 1.

        Args:
            parallelism: how the experts of each layer are spread over processes.
        """
        return nn.ModuleDict(
            {
                str(place): build_feed_forward(settings.width, settings.moe, parallelism(self.layer_name(place)), noise)
                for place in sorted(after)
            }
        )

    def layer_name(self, place: int) -> str:
        """Return the name of the MoE layer after LSTM layer ``place``, such as ``encoder.moe1``."""
        return f"{self.side}.moe{place}"

    def add_residual(self, below: Tensor, output: Tensor, residual: bool | None = None) -> Tensor:
        """Return a layer's output with dropout, added to its input unless ``residual``, or the setting, is false."""
        return self.add_dropped(below, self.dropout(output), residual)

    def add_dropped(self, below: Tensor, dropped: Tensor, residual: bool | None = None) -> Tensor:
        """Return what :meth:`add_residual` does, of an output that has had its dropout."""
        return below + dropped if (self.residual if residual is None else residual) else dropped

    def add_experts(self, place: int, x_BLD: Tensor, positions_N: Tensor, balances: dict[str, Balance]) -> Tensor:
        """Return x_BLD with the output of the MoE layer after LSTM layer ``place``; x_BLD itself where there is none.

        positions_N: flat indices of the real tokens. The layer's balance is put into ``balances`` by its name.
        """
        if str(place) not in self.moe_layers:
            return x_BLD
        x_ND = take_rows(x_BLD, positions_N)
        y_ND, balance = call_in_parts(self.moe_layers[str(place)], x_ND, x_BLD.shape[1])
        if balance is not None:
            balances[self.layer_name(place)] = balance
        return put_rows(self.add_residual(x_ND, y_ND), positions_N, *x_BLD.shape[:2])

    def add_experts_of_step(self, place: int, x_ND: Tensor) -> Tensor:
        """Return what :meth:`add_experts` does, of one position of each sentence."""
        if str(place) not in self.moe_layers:
            return x_ND
        y_ND, _ = self.moe_layers[str(place)](x_ND)
        return self.add_residual(x_ND, y_ND)
