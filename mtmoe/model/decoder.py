"""The decoder: LSTM layers with experts in between, looking at the source through attention.

``parallel``: the output of the bottom layer at the same step is the query, and the context goes into the
layers above (GNMT v2), so that a whole target sequence is one pass. ``recurrent``: the query is the bottom
layer's output at the previous step, and the context goes into the bottom layer (paper, app. E);
``recurrent-all``: the same, and the context goes into all layers (GNMT). With ``output_attention`` the top layer's
output looks at the source, too, on its way to the output layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.attention import Attention, Memory, OutputAttention
from mtmoe.model.dropout import Dropout
from mtmoe.model.feed_forward import feed_forward
from mtmoe.model.lstm import Lstm, LstmState
from mtmoe.model.routing import Balance
from mtmoe.model.rows import put_rows, take_rows


class DecoderState(NamedTuple):
    """Everything that the next step needs, as a value.

    layers: the state of each LSTM. query_BD: output of the bottom layer at the last step, which the
    recurrent wiring attends with. memory: the encoded source.
    """

    layers: tuple[LstmState, ...]
    query_BD: Tensor
    memory: Memory

    def select(self, rows: Tensor) -> DecoderState:
        """The sentences ``rows`` in that order, repeated where an index is: for beams and finished ones."""
        layers = tuple(state.select(rows) for state in self.layers)
        return DecoderState(layers, self.query_BD.index_select(0, rows), self.memory.select(rows))


class Decoder(nn.Module):
    """See the module's text; residual connections add only the part that is not context (spec 8, row 17)."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        width = settings.width
        hidden = settings.lstm_hidden or width
        self.residual = settings.residual
        self.recurrent = settings.attention_context != "parallel"
        self.context_above = settings.attention_context != "recurrent"
        self.dropout = Dropout(settings.dropout)
        attention_width = settings.attention_width or width
        self.attention = Attention(width, attention_width, settings.attention)
        self.output_attention = (
            OutputAttention(width, attention_width, settings.attention) if settings.output_attention else None
        )
        with_context, plain = 2 * width, width
        projection = settings.lstm_projection
        upper_input = with_context if self.context_above else plain
        self.bottom = Lstm(with_context if self.recurrent else plain, width, hidden, projection)
        self.upper = nn.ModuleList(
            Lstm(upper_input, width, hidden, projection) for _ in range(settings.decoder_layers - 1)
        )
        self.mixtures = nn.ModuleDict(
            {str(place): feed_forward(width, settings.moe) for place in sorted(settings.decoder_moe_after)}
        )

    def forward(self, embedded_BTD: Tensor, memory: Memory, positions_N: Tensor) -> tuple[Tensor, dict[str, Balance]]:
        """Teacher forcing: the top layer's outputs at the real target tokens, [N, D], and the balances."""
        balances: dict[str, Balance] = {}
        x_BTD = self.dropout(embedded_BTD)
        context_BTD: Tensor | None
        if self.recurrent:
            x_BTD, context_BTD = self._bottom_recurrent(x_BTD, memory)
        else:
            x_BTD = self._add(x_BTD, self.bottom(x_BTD))
            context_BTD, _ = self.attention(x_BTD, memory)
        x_BTD = self._mix(1, x_BTD, positions_N, balances)
        for place, layer in enumerate(self.upper, start=2):
            x_BTD = self._add(x_BTD, layer(_with_context(x_BTD, context_BTD)))
            x_BTD = self._mix(place, x_BTD, positions_N, balances)
        if self.output_attention is not None:
            seen_BTD, _ = self.output_attention(x_BTD, memory)
            x_BTD = self._add(x_BTD, seen_BTD)
        return take_rows(x_BTD, positions_N), balances

    def _bottom_recurrent(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        state = self.bottom.initial_state(x_BTD.shape[0], x_BTD)
        query_BD = torch.zeros_like(x_BTD[:, 0])
        outputs, contexts = [], []
        for x_BD in x_BTD.unbind(1):
            context_B1D, _ = self.attention(query_BD[:, None], memory)
            state = self.bottom.step(_with_context(x_BD, context_B1D[:, 0]), state)
            query_BD = self._add(x_BD, state.output_BD)
            outputs.append(query_BD)
            contexts.append(context_B1D)
        return torch.stack(outputs, dim=1), torch.cat(contexts, dim=1) if self.context_above else None

    def initial_state(self, memory: Memory) -> DecoderState:
        """Before the first step: zeros."""
        num_sentences, values = memory.values_BSD.shape[0], memory.values_BSD
        layers = tuple(layer.initial_state(num_sentences, values) for layer in (self.bottom, *self.upper))
        return DecoderState(layers, torch.zeros_like(values[:, 0]), memory)

    def step(self, embedded_BD: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """One target position without dropout: (output_BD, attention_BS, next state)."""
        memory = state.memory
        x_BD, context_BD = embedded_BD, None
        if self.recurrent:
            context_B1D, weights_B1S = self.attention(state.query_BD[:, None], memory)
            bottom = self.bottom.step(_with_context(x_BD, context_B1D[:, 0]), state.layers[0])
            x_BD = query_BD = self._add(x_BD, bottom.output_BD)
            context_BD = context_B1D[:, 0] if self.context_above else None
        else:
            bottom = self.bottom.step(x_BD, state.layers[0])
            x_BD = query_BD = self._add(x_BD, bottom.output_BD)
            context_B1D, weights_B1S = self.attention(query_BD[:, None], memory)
            context_BD = context_B1D[:, 0]
        x_BD = self._mix_rows(1, x_BD)
        layers = [bottom]
        for place, layer in enumerate(self._upper_layers(), start=2):
            layers.append(layer.step(_with_context(x_BD, context_BD), state.layers[place - 1]))
            x_BD = self._mix_rows(place, self._add(x_BD, layers[-1].output_BD))
        if self.output_attention is not None:  # its weights are the ones that say what this token was read off
            seen_B1D, weights_B1S = self.output_attention(x_BD[:, None], memory)
            x_BD = self._add(x_BD, seen_B1D[:, 0])
        return x_BD, weights_B1S[:, 0], DecoderState(tuple(layers), query_BD, memory)

    def _upper_layers(self) -> Iterator[Lstm]:
        yield from self.upper  # type: ignore[misc]

    def _add(self, below: Tensor, output: Tensor) -> Tensor:
        dropped = self.dropout(output)
        return below + dropped if self.residual else dropped

    def _mix(self, place: int, x_BTD: Tensor, positions_N: Tensor, balances: dict[str, Balance]) -> Tensor:
        if str(place) not in self.mixtures:
            return x_BTD
        x_ND = take_rows(x_BTD, positions_N)
        y_ND, balance = self.mixtures[str(place)](x_ND)
        if balance is not None:
            balances[f"decoder.moe{place}"] = balance
        return put_rows(self._add(x_ND, y_ND), positions_N, *x_BTD.shape[:2])

    def _mix_rows(self, place: int, x_BD: Tensor) -> Tensor:
        if str(place) not in self.mixtures:
            return x_BD
        y_BD, _ = self.mixtures[str(place)](x_BD)
        return self._add(x_BD, y_BD)


def _with_context(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat((x, context.to(x.dtype)), dim=-1)
