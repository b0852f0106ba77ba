"""The decoder: LSTM layers with experts in between, looking at the source through attention.

``parallel``: the output of the bottom layer at the same step is the query, and the context goes into the
layers above (GNMT v2), so that a whole target sequence is one pass. ``recurrent``: the query is the bottom
layer's output at the previous step, and the context goes into the bottom layer (paper, app. E);
``recurrent-all``: the same, and the context goes into all layers (GNMT). With ``output_attention`` the top layer's
output looks at the source, too, on its way to the output layer.

Which is the paper's, and why another is the default: `docs/explanation/paper.md#decision-14` and `#decision-15`.

Letters: X rows, each a hypothesis of a sentence, W rows of a sentence in the grid, as many as its beam, C cells of the
grid, A width of the attention's score function.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.attention import Attention, Memory, OutputAttention
from mtmoe.model.lstm import Lstm, LstmState
from mtmoe.model.moe.layer_parallelism import ModelParallelism, one_process
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.keyed_noise import TokenNoise
from mtmoe.model.ops.rows import take_rows, with_common_number_of_rows
from mtmoe.model.residual_stack import ResidualStack


class DecoderState(NamedTuple):
    """Everything that the next step needs, as a value. A row is one target being written, and many rows may
    belong to one source, whose memory they share: nothing of it is copied for a row or at a step.

    layers: the state of each LSTM. query_XD: output of the bottom layer at the last step, which the
    recurrent wiring attends with; without columns in the parallel one. memory: the encoded sources. sources_X: the
    source of each row, a number in ``memory`` (int64, on the CPU, where the layout of a step is decided without waiting
    for the device).
    """

    layers: tuple[LstmState, ...]
    query_XD: Tensor
    memory: Memory
    sources_X: Tensor

    def select(self, rows_X: Tensor) -> DecoderState:
        """Return the rows ``rows_X`` (on the CPU) in that order, repeated where an index is."""
        rows_on_device_X = rows_X.to(self.query_XD.device)
        layers = tuple(state.select(rows_on_device_X) for state in self.layers)
        query_XD = self.query_XD.index_select(0, rows_on_device_X)
        state = DecoderState(layers, query_XD, self.memory, self.sources_X[rows_X])
        # Memory of sources without rows goes once it is a quarter of all: until then they are attended to for nothing,
        # and so a source is moved but few times.
        # (Rows of a source stand side by side as a rule; where they do not, it goes later.)
        is_due = 4 * len(state.sources_X.unique_consecutive()) <= 3 * self.memory.num_sources
        return state.without_idle_sources() if is_due else state

    def without_idle_sources(self) -> DecoderState:
        """Return the same rows, with memory of the sources that they have and of no others."""
        busy_B = self.sources_X.unique()
        if len(busy_B) == self.memory.num_sources:
            return self
        memory = self.memory.select(busy_B.to(self.query_XD.device))
        return self._replace(memory=memory, sources_X=torch.searchsorted(busy_B, self.sources_X))

    def join(self, *others: DecoderState) -> DecoderState:
        """Return these rows and then the others, with the memory of those of its own sources that have rows and of all
        others."""
        states = [self.without_idle_sources(), *others]
        firsts = itertools.accumulate((state.memory.num_sources for state in states[:-1]), initial=0)
        own_memory, *memories = (state.memory for state in states)
        return DecoderState(
            tuple(own.join(*theirs) for own, *theirs in zip(*(state.layers for state in states), strict=True)),
            torch.cat([state.query_XD for state in states]),
            own_memory.join(*memories),
            torch.cat([state.sources_X + first for state, first in zip(states, firsts, strict=True)]),
        )


class _Grid(NamedTuple):
    """Rows set out as [B, W], those of a source side by side, so that they attend in one matrix product.

    cells_X: where in the flattened grid each row is; None if the rows are the grid, in order.
    """

    num_sources: int
    width: int
    cells_X: Tensor | None

    @classmethod
    def of(cls, state: DecoderState) -> _Grid:
        num_sources = state.memory.num_sources
        sorted_X, order_X = state.sources_X.sort(stable=True)
        places_X = torch.arange(len(order_X))
        rank_X = torch.empty_like(order_X)
        rank_X[order_X] = places_X - torch.searchsorted(sorted_X, sorted_X)
        width = int(rank_X.max()) + 1
        cells_X = state.sources_X * width + rank_X
        if len(cells_X) == num_sources * width and torch.equal(cells_X, places_X):
            return cls(num_sources, width, None)
        return cls(num_sources, width, cells_X.to(state.query_XD.device))

    def spread(self, x_XD: Tensor) -> Tensor:
        """Set out rows [X, D] as [B, W, D]; a cell without a row holds anything, or zeros where gradients could carry
        it on."""
        if self.cells_X is not None:
            new = x_XD.new_zeros if torch.is_grad_enabled() else x_XD.new_empty
            x_XD = new((self.num_sources * self.width, x_XD.shape[1])).index_copy_(0, self.cells_X, x_XD)
        return x_XD.view(self.num_sources, self.width, -1)

    def collect(self, x_BWD: Tensor) -> Tensor:
        """Return the rows [X, D] of a grid [B, W, D]."""
        x_CD = x_BWD.reshape(-1, x_BWD.shape[2])
        return x_CD if self.cells_X is None else x_CD.index_select(0, self.cells_X)

    def attend(self, attention: Attention | OutputAttention, query_XD: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what ``attention`` gives, [X, D], and weights_XS; a source's rows are its target positions, as in
        teacher forcing. What needs no memory is done for the rows alone: up to half of the grid is empty."""
        num_rows = query_XD.shape[0]
        query_XA = attention.project_query(with_common_number_of_rows(query_XD))[:num_rows]
        context_BWD, weights_BWS = attention.look(self.spread(query_XA), memory)
        return attention.project_context(self.collect(context_BWD)), self.collect(weights_BWS)


class Decoder(ResidualStack):
    """See the module's text; residual connections add only the part that is not context
    (`docs/explanation/paper.md#decision-17`)."""

    def __init__(
        self,
        settings: Model,
        parallelism: ModelParallelism = one_process,
        noise: TokenNoise | None = None,
    ) -> None:
        super().__init__(settings, "decoder", noise)
        width, hidden = settings.width, settings.lstm_units
        self.bottom_residual = settings.residual and settings.bottom_residual
        self.recurrent = settings.attention_context != "parallel"
        self.context_above = settings.attention_context != "recurrent"
        attention_width = settings.attention_units
        self.attention = Attention(width, attention_width, settings.attention)
        self.output_attention = (
            OutputAttention(width, attention_width, settings.attention) if settings.output_attention else None
        )
        with_context, plain = 2 * width, width
        projection = settings.lstm_projection
        upper_input = with_context if self.context_above else plain
        self.bottom = Lstm(
            with_context if self.recurrent else plain,
            width,
            hidden,
            projection,
            self.weight_dropout,
            settings.mogrifier_rounds,
        )
        self.upper = nn.ModuleList(
            Lstm(upper_input, width, hidden, projection, self.weight_dropout, settings.mogrifier_rounds)
            for _ in range(settings.decoder_layers - 1)
        )
        self.moe_layers = self.build_moe_layers(settings, settings.decoder_moe_after, parallelism, noise)

    def forward(
        self, embedded_BTD: Tensor, memory: Memory, positions_N: Tensor, seen: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Balance]]:
        """Return the top layer's outputs at the real target tokens, [N, D], by teacher forcing, and the balances.

        seen: a list that the weights of each attention, [B, T, S], are added to.
        """
        balances: dict[str, Balance] = {}
        x_BTD = self.dropout(embedded_BTD)
        context_BTD: Tensor | None
        if self.recurrent:
            x_BTD, context_BTD = self._bottom_recurrent(x_BTD, memory, seen)
        else:
            x_BTD = self.add_residual(x_BTD, self.bottom(x_BTD), self.bottom_residual)
            context_BTD = self.attention(x_BTD, memory, seen)
        x_BTD = self.add_experts(1, x_BTD, positions_N, balances)
        for place, layer in enumerate(self.upper, start=2):
            x_BTD = self.add_residual(x_BTD, layer(_with_context(x_BTD, context_BTD)))
            x_BTD = self.add_experts(place, x_BTD, positions_N, balances)
        if self.output_attention is not None:
            x_BTD = self.add_residual(x_BTD, self.output_attention(x_BTD, memory, seen))
        return take_rows(x_BTD, positions_N), balances

    def _bottom_recurrent(
        self, x_BTD: Tensor, memory: Memory, seen: list[Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        state = self.bottom.initial_state(x_BTD.shape[0], x_BTD)
        query_BD = torch.zeros_like(x_BTD[:, 0])
        outputs, contexts = [], []
        seen_at_step: list[Tensor] | None = None if seen is None else []
        mask_BTD, weights = self.dropout.mask(x_BTD), self.bottom.dropped_weights()
        for position, x_BD in enumerate(x_BTD.unbind(1)):
            context_B1D = self.attention(query_BD[:, None], memory, seen_at_step)
            state = self.bottom.step(_with_context(x_BD, context_B1D[:, 0]), state, weights)
            dropped_BD = state.output_BD if mask_BTD is None else state.output_BD * mask_BTD[:, position]
            query_BD = x_BD + dropped_BD if self.bottom_residual else dropped_BD
            outputs.append(query_BD)
            contexts.append(context_B1D)
        if seen is not None and seen_at_step is not None:
            seen.append(torch.cat(seen_at_step, dim=1))
        return torch.stack(outputs, dim=1), torch.cat(contexts, dim=1) if self.context_above else None

    def initial_state(self, memory: Memory) -> DecoderState:
        """Return the state before the first step: zeros, one row for each source."""
        num_sources, values = memory.num_sources, memory.values_BSD
        layers = tuple(layer.initial_state(num_sources, values) for layer in (self.bottom, *self.upper))
        query_XD = torch.zeros_like(values[:, 0])
        return DecoderState(layers, self._kept_query(query_XD), memory, torch.arange(num_sources))

    def step(self, embedded_XD: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """Compute one target position without dropout: (output_XD, attention_XS, next state)."""
        x_XD, context_XD, grid = embedded_XD, None, _Grid.of(state)
        if self.recurrent:
            attended_XD, weights_XS = grid.attend(self.attention, state.query_XD, state.memory)
            bottom = self.bottom.step(_with_context(x_XD, attended_XD), state.layers[0])
            x_XD = query_XD = self.add_residual(x_XD, bottom.output_BD, self.bottom_residual)
            context_XD = attended_XD if self.context_above else None
        else:
            bottom = self.bottom.step(x_XD, state.layers[0])
            x_XD = query_XD = self.add_residual(x_XD, bottom.output_BD, self.bottom_residual)
            context_XD, weights_XS = grid.attend(self.attention, query_XD, state.memory)
        x_XD = self.add_experts_of_step(1, x_XD)
        layers = [bottom]
        for place, layer in enumerate(self._upper_layers(), start=2):
            layers.append(layer.step(_with_context(x_XD, context_XD), state.layers[place - 1]))
            x_XD = self.add_experts_of_step(place, self.add_residual(x_XD, layers[-1].output_BD))
        if self.output_attention is not None:  # its weights are the ones that say what this token was read off
            seen_XD, weights_XS = grid.attend(self.output_attention, x_XD, state.memory)
            x_XD = self.add_residual(x_XD, seen_XD)
        return x_XD, weights_XS, state._replace(layers=tuple(layers), query_XD=self._kept_query(query_XD))

    def _kept_query(self, query_XD: Tensor) -> Tensor:
        return query_XD if self.recurrent else query_XD[:, :0]

    def join_step_weights(self, *, in_int8: bool = False) -> None:
        """Join the weights of each layer (:meth:`mtmoe.model.lstm.Lstm.join_weights`)."""
        for layer in (self.bottom, *self._upper_layers()):
            layer.join_weights(in_int8=in_int8)

    def _upper_layers(self) -> Iterator[Lstm]:
        yield from self.upper  # type: ignore[misc]


def _with_context(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat((x, context.to(x.dtype)), dim=-1)
