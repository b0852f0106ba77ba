"""The encoder: a bidirectional layer at the bottom, unidirectional ones above, experts in between.

How the paper's three layers are counted: `docs/explanation/paper.md#decision-13`.
"""

from __future__ import annotations

from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.lstm import BidirectionalLstm, Lstm
from mtmoe.model.moe.layer_parallelism import ModelParallelism, one_process
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.keyed_noise import TokenNoise
from mtmoe.model.residual_stack import ResidualStack


class Encoder(ResidualStack):
    """``h_0 = drop(embedding)``, then a residual stack (paper, appendix C.1)."""

    def __init__(
        self,
        settings: Model,
        parallelism: ModelParallelism = one_process,
        noise: TokenNoise | None = None,
    ) -> None:
        super().__init__(settings, "encoder", noise)
        width, hidden = settings.width, settings.lstm_units
        projection = settings.lstm_projection
        self.wide = settings.encoder_bottom == "wide"
        self.bottom = BidirectionalLstm(
            width, hidden, settings.encoder_bottom, projection, self.weight_dropout, settings.mogrifier_rounds
        )
        self.upper = nn.ModuleList(
            Lstm(
                2 * width if self.wide and place == 0 else width,
                width,
                hidden,
                projection,
                self.weight_dropout,
                settings.mogrifier_rounds,
            )
            for place in range(settings.encoder_layers - 1)
        )
        self.moe_layers = self.build_moe_layers(settings, settings.encoder_moe_after, parallelism, noise)

    def forward(
        self, embedded_BSD: Tensor, lengths_B: Tensor, positions_N: Tensor
    ) -> tuple[Tensor, dict[str, Balance]]:
        """Return the top layer's outputs [B, S, D] (padding holds no meaning) and the balance of each MoE layer.

        positions_N: flat indices of the real tokens in [B, S].
        """
        balances: dict[str, Balance] = {}
        x_BSD = self.dropout(embedded_BSD)
        bottom_BSD = self.bottom(x_BSD, lengths_B)
        x_BSD = self.dropout(bottom_BSD) if self.wide else self.add_residual(x_BSD, bottom_BSD)
        x_BSD = self.add_experts(1, x_BSD, positions_N, balances)
        for place, layer in enumerate(self.upper, start=2):
            output_BSD = layer(x_BSD)
            x_BSD = self.dropout(output_BSD) if self.wide and place == 2 else self.add_residual(x_BSD, output_BSD)
            x_BSD = self.add_experts(place, x_BSD, positions_N, balances)
        return x_BSD, balances
