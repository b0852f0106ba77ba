"""The encoder: a bidirectional layer at the bottom, unidirectional ones above, experts in between.

How the paper's three layers are counted: `docs/explanation/paper.md#decision-13`.
"""

from __future__ import annotations

from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.dropout import Dropout
from mtmoe.model.lstm import BidirectionalLstm, Lstm
from mtmoe.model.moe.moe_layer import feed_forward, mixed
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.rows import put_rows, take_rows


class Encoder(nn.Module):
    """``h_0 = drop(embedding)``, ``h_l = h_(l-1) + drop(f_l(h_(l-1)))`` (paper, appendix C.1)."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        width = settings.width
        hidden = settings.lstm_hidden or width
        self.residual = settings.residual
        self.dropout = Dropout(settings.dropout)
        projection = settings.lstm_projection
        self.wide = settings.encoder_bottom == "wide"
        self.bottom = BidirectionalLstm(width, hidden, settings.encoder_bottom, projection)
        self.upper = nn.ModuleList(
            Lstm(2 * width if self.wide and place == 0 else width, width, hidden, projection)
            for place in range(settings.encoder_layers - 1)
        )
        self.moe_layers = nn.ModuleDict(
            {str(place): feed_forward(width, settings.moe) for place in sorted(settings.encoder_moe_after)}
        )

    def forward(
        self, embedded_BSD: Tensor, lengths_B: Tensor, positions_N: Tensor
    ) -> tuple[Tensor, dict[str, Balance]]:
        """Top layer's outputs [B, S, D] (padding holds no meaning) and the balance of each MoE layer.

        positions_N: flat indices of the real tokens in [B, S].
        """
        balances: dict[str, Balance] = {}
        x_BSD = self.dropout(embedded_BSD)
        bottom_BSD = self.bottom(x_BSD, lengths_B)
        x_BSD = self.dropout(bottom_BSD) if self.wide else self._add(x_BSD, bottom_BSD)
        x_BSD = self._mix(1, x_BSD, positions_N, balances)
        for place, layer in enumerate(self.upper, start=2):
            output_BSD = layer(x_BSD)
            x_BSD = self.dropout(output_BSD) if self.wide and place == 2 else self._add(x_BSD, output_BSD)
            x_BSD = self._mix(place, x_BSD, positions_N, balances)
        return x_BSD, balances

    def _add(self, below: Tensor, output: Tensor) -> Tensor:
        dropped = self.dropout(output)
        return below + dropped if self.residual else dropped

    def _mix(self, place: int, x_BSD: Tensor, positions_N: Tensor, balances: dict[str, Balance]) -> Tensor:
        if str(place) not in self.moe_layers:
            return x_BSD
        x_ND = take_rows(x_BSD, positions_N)
        y_ND, balance = mixed(self.moe_layers[str(place)], x_ND, x_BSD.shape[1])
        if balance is not None:
            balances[f"encoder.moe{place}"] = balance
        return put_rows(self._add(x_ND, y_ND), positions_N, *x_BSD.shape[:2])
