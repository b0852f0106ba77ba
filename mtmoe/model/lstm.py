"""LSTM layers, with the forget gate's bias of 1; one a module, as residual connections and experts go between them.

No ``PackedSequence``: on a CPU the padded form takes oneDNN's fast path. Padding stands at the end of a
row, so it cannot influence what stands before it; the backward direction reverses each sentence by its own
length instead.

Letters: L positions of either side, G the four gates side by side, each of H units, I input and recurrent output side
by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.dropout import WeightDropout
from mtmoe.model.ops.chunked_inference import LAYER_ELEMENTS, places_at_once
from mtmoe.model.ops.int8 import Int8Matrix
from mtmoe.model.ops.rows import permute_rows, with_common_number_of_rows
from mtmoe.system.torch_internals import fused_lstm_cell

FORGET_BIAS = 1.0  # at the start (Jozefowicz et al. 2015): a new layer remembers


class LstmState(NamedTuple):
    """Output and cell of one layer after a step: output_BD, cell_BH (a cell is a sum over all steps, so it is float32
    even where weights are narrower)."""

    output_BD: Tensor
    cell_BH: Tensor

    def select(self, rows: Tensor) -> LstmState:
        """Return the state of the sentences ``rows``."""
        return LstmState(self.output_BD.index_select(0, rows), self.cell_BH.index_select(0, rows))

    def join(self, *others: LstmState) -> LstmState:
        """Return the state of these sentences and then of the others."""
        return LstmState(*(torch.cat(parts) for parts in zip(self, *others, strict=True)))


class JoinedWeights(NamedTuple):
    """Those of both products of a step, [4 x hidden, input_width + width], and the sum of both biases. What makes the
    candidate (third of i, f, g, o) is doubled: see :meth:`Lstm.join_weights`."""

    both_GI: Tensor | Int8Matrix
    bias_G: Tensor

    def gates(self, x_BD: Tensor, output_BD: Tensor) -> Tensor:
        """Compute the gates before the sigmoid: [B, 4 x hidden], of the type of the weights, or float32."""
        both_BI = torch.cat((x_BD, output_BD), dim=1)
        if isinstance(self.both_GI, Int8Matrix):
            return self.both_GI.product(both_BI, self.bias_G)
        gates_BG = torch.addmm(self.bias_G, with_common_number_of_rows(both_BI), self.both_GI.t())
        return gates_BG[: x_BD.shape[0]]


class Lstm(nn.Module):
    """One unidirectional layer; with ``hidden != width`` a projection back to ``width`` that is also what
    recurs (Sak et al.; paper app. C and E). ``projection``: one where ``hidden == width``, too."""

    def __init__(
        self,
        input_width: int,
        width: int,
        hidden: int,
        projection: bool = False,
        weight_dropout: WeightDropout | None = None,
        mogrifier_rounds: int = 0,
    ) -> None:
        """Make the layer.

        Args:
            weight_dropout: of its recurrent matrix; None for none.
            mogrifier_rounds: in which input and last output gate each other, at first with gates of 1 everywhere.
        """
        super().__init__()
        self.weight_dropout = weight_dropout
        self.width, self.hidden = width, hidden
        self.cell = nn.LSTM(input_width, hidden, batch_first=True, proj_size=width if hidden != width else 0)
        # nn.LSTM has no projection to the same size: it gets the matrix, and `forward` goes step by step.
        is_projected_alike = projection and hidden == width
        self.is_looped = is_projected_alike or mogrifier_rounds > 0
        shapes = [
            (input_width, width) if number % 2 == 0 else (width, input_width) for number in range(mogrifier_rounds)
        ]
        self.mogrifier = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in shapes)
        if is_projected_alike:
            self.cell.register_parameter("weight_hr_l0", nn.Parameter(torch.empty(width, hidden)))
        self.joined: JoinedWeights | None = None
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.cell.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)
        with torch.no_grad():  # the order of the gates is i, f, g, o
            dict(self.cell.named_parameters())["bias_ih_l0"][self.hidden : 2 * self.hidden] = FORGET_BIAS

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Compute all positions at once from a zero state: [B, L, input_width] -> [B, L, width]."""
        return self.continued(x_BLD, None)[0]

    def continued(self, x_BLD: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        """Compute all positions at once from ``state`` (None: zeros): [B, L, width], and the state after the last
        one."""
        if x_BLD.device.type == "cpu" and _autocast_is_fp16():
            with torch.autocast("cpu", enabled=False):  # oneDNN has no fp16 LSTM for most processors
                return self.continued(x_BLD.float(), state)
        weights = self.dropped_weights()
        if self.is_looped:
            return self._step_by_step(x_BLD, state, weights)
        # The gates of all positions are there at once.
        length = places_at_once(x_BLD.shape[1], x_BLD.shape[0] * 4 * self.hidden, LAYER_ELEMENTS)
        if length < x_BLD.shape[1]:
            outputs = []
            for part_BtD in x_BLD.split(length, 1):
                output_BtD, state = self._at_once(part_BtD, state, weights)
                outputs.append(output_BtD)
            assert state is not None
            return torch.cat(outputs, dim=1), state
        return self._at_once(x_BLD, state, weights)

    def dropped_weights(self) -> list[Tensor] | None:
        """Return the layer's weights with some recurrent ones dropped, for all positions of a batch: in torch's order;
        None where nothing is dropped."""
        if self.weight_dropout is None:
            return None
        weights: list[Tensor] = list(self.cell.all_weights[0])
        dropped_GD = self.weight_dropout.dropped(weights[1])
        return None if dropped_GD is None else [weights[0], dropped_GD, *weights[2:]]

    def _at_once(
        self, x_BLD: Tensor, state: LstmState | None, weights: list[Tensor] | None
    ) -> tuple[Tensor, LstmState]:
        """Compute all positions by a library's layer. weights: in place of the layer's own."""
        if x_BLD.is_cuda and (torch.is_autocast_enabled("cuda") or weights is not None):
            return self._by_cudnn(x_BLD, state, weights)
        if weights is not None:  # what nn.LSTM calls, and as fast
            begin = state or self.initial_state(x_BLD.shape[0], x_BLD)
            start = [part.to(x_BLD.dtype)[None] for part in begin]
            outputs_BLD, output_1BD, cell_1BH = torch.lstm(
                x_BLD, start, weights, True, 1, 0.0, self.training, False, True
            )
            return outputs_BLD, LstmState(output_1BD[0], cell_1BH[0])
        start_1BD = None
        if state is not None:  # autocast casts the input alone
            start_1BD = (state.output_BD.to(x_BLD.dtype)[None], state.cell_BH.to(x_BLD.dtype)[None])
        outputs_BLD, (output_1BD, cell_1BH) = self.cell(x_BLD, start_1BD)
        return outputs_BLD, LstmState(output_1BD[0], cell_1BH[0])

    def _by_cudnn(
        self, x_BLD: Tensor, state: LstmState | None, weights: list[Tensor] | None
    ) -> tuple[Tensor, LstmState]:
        """Compute with cuDNN in the type of autocast, or of the input.

        Autocast itself takes float16 for LSTMs, whatever its type is, and gradients of bf16 training, whose loss is not
        scaled, would be lost there.
        """
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x_BLD.dtype
        with torch.autocast("cuda", enabled=False):
            x_BLD = x_BLD.to(dtype)
            start = tuple(part.to(dtype)[None] for part in state or self.initial_state(x_BLD.shape[0], x_BLD))
            outputs_BLD, output_1BD, cell_1BH = torch.lstm(
                x_BLD,
                start,
                self._side_by_side(weights or self.cell.all_weights[0], dtype),
                True,
                1,
                0.0,
                self.training,
                False,
                True,
            )
        return outputs_BLD, LstmState(output_1BD[0], cell_1BH[0])

    @staticmethod
    def _side_by_side(weights: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """Return weights in another type, in torch's order, and in memory as cuDNN has them: matrices, then biases."""
        in_memory = [*weights[:2], *weights[4:], *weights[2:4]]
        flat = torch.cat([weight.flatten() for weight in in_memory]).to(dtype)
        parts = flat.split([weight.numel() for weight in in_memory])
        input_GD, recurrent_GD, *projection, input_bias_G, recurrent_bias_G = (
            part.view_as(weight) for part, weight in zip(parts, in_memory, strict=True)
        )
        return [input_GD, recurrent_GD, input_bias_G, recurrent_bias_G, *projection]

    def _step_by_step(
        self, x_BLD: Tensor, state: LstmState | None, weights: list[Tensor] | None
    ) -> tuple[Tensor, LstmState]:
        state = state or self.initial_state(x_BLD.shape[0], x_BLD)
        outputs = []
        for x_BD in x_BLD.unbind(1):
            state = self.step(x_BD, state, weights)
            outputs.append(state.output_BD)
        return torch.stack(outputs, dim=1), state

    def initial_state(self, num_sentences: int, like: Tensor) -> LstmState:
        """Return zeros (`docs/explanation/paper.md#decision-21`)."""
        cell_dtype = torch.promote_types(like.dtype, torch.float32)
        return LstmState(
            like.new_zeros(num_sentences, self.width), like.new_zeros(num_sentences, self.hidden, dtype=cell_dtype)
        )

    @torch.no_grad()
    def join_weights(self, *, in_int8: bool = False) -> None:
        """Make :meth:`step` on a CPU, without gradients, multiply both matrices at once from now on, with the weights
        as they are. It gets tanh(x) from 2 sigmoid(2x) - 1, as torch's tanh takes several times as long as its
        sigmoid.

        It is a second copy of them.

        in_int8: the products are those of :class:`mtmoe.model.ops.int8.Int8Matrix`, and gates float32.
        """
        input_GD, recurrent_GD, input_bias_G, recurrent_bias_G = self.cell.all_weights[0][:4]
        both_GI, bias_G = torch.cat([input_GD, recurrent_GD], dim=1), input_bias_G + recurrent_bias_G
        for part in (both_GI, bias_G):
            part[2 * self.hidden : 3 * self.hidden] *= 2
        self.joined = JoinedWeights(Int8Matrix(both_GI), bias_G.float()) if in_int8 else JoinedWeights(both_GI, bias_G)

    def step(self, x_BD: Tensor, state: LstmState, weights: list[Tensor] | None = None) -> LstmState:
        """Compute one position: [B, input_width] -> the state whose ``output_BD`` is the layer's output.

        weights: those of :meth:`dropped_weights`, the same for all positions.
        """
        x_BD, state = self._mogrified(x_BD, state)
        if weights is None and not torch.is_grad_enabled():
            if x_BD.is_cuda:
                return self._projected(*self._fused_step(x_BD, state), x_BD)
            if self.joined is not None:
                return self._projected(*self._joined_step(x_BD, state, self.joined), x_BD)
        input_GD, recurrent_GD, input_bias_G, recurrent_bias_G = (weights or self.cell.all_weights[0])[:4]
        bias_G = input_bias_G + recurrent_bias_G
        gates_BG = torch.addmm(bias_G, with_common_number_of_rows(x_BD), input_GD.t())
        gates_BG = torch.addmm(gates_BG, with_common_number_of_rows(state.output_BD), recurrent_GD.t())
        gates_BG = gates_BG[: x_BD.shape[0]]
        # In place, which plain chunks are not made for: as in torch's own cell, nothing else reads the gates.
        enter_BH, forget_BH, candidate_BH, leave_BH = gates_BG.to(state.cell_BH.dtype).unsafe_chunk(4, dim=1)
        cell_BH = forget_BH.sigmoid_() * state.cell_BH + enter_BH.sigmoid_() * candidate_BH.tanh_()
        return self._projected(leave_BH.sigmoid_() * cell_BH.tanh(), cell_BH, x_BD)

    def _mogrified(self, x_BD: Tensor, state: LstmState) -> tuple[Tensor, LstmState]:
        """Return input and state after the rounds of the Mogrifier (arXiv 1909.01792, section 2): in odd ones
        ``x = 2 sigmoid(Q h) x``, in even ones ``h = 2 sigmoid(R x) h``, h the last output."""
        num_rows, output_BD = x_BD.shape[0], state.output_BD
        for number, matrix in enumerate(self.mogrifier):
            by_BD = output_BD if number % 2 == 0 else x_BD
            gate_BD = 2 * torch.sigmoid(F.linear(with_common_number_of_rows(by_BD), matrix)[:num_rows])
            if number % 2 == 0:
                x_BD = x_BD * gate_BD.to(x_BD.dtype)
            else:
                output_BD = output_BD * gate_BD.to(output_BD.dtype)
        return x_BD, state._replace(output_BD=output_BD)

    def _joined_step(self, x_BD: Tensor, state: LstmState, weights: JoinedWeights) -> tuple[Tensor, Tensor]:
        """Return output, not yet projected, and cell."""
        gates_BG = weights.gates(x_BD, state.output_BD).to(state.cell_BH.dtype).sigmoid_()
        enter_BH, forget_BH, candidate_BH, leave_BH = gates_BG.unsafe_chunk(4, dim=1)
        kept_BH = forget_BH.mul_(state.cell_BH).sub_(enter_BH)
        cell_BH = torch.addcmul(kept_BH, enter_BH, candidate_BH, value=2)
        half_BH = (2 * cell_BH).sigmoid_()
        return half_BH.mul_(leave_BH).mul_(2).sub_(leave_BH), cell_BH

    def _fused_step(self, x_BD: Tensor, state: LstmState) -> tuple[Tensor, Tensor]:
        """Return output, not yet projected, and cell, by torch's kernel for the gates: one launch for them all."""
        input_GD, recurrent_GD, *biases_G = self.cell.all_weights[0][:4]
        dtype = state.cell_BH.dtype
        gates = (x_BD @ input_GD.t()).to(dtype), (state.output_BD @ recurrent_GD.t()).to(dtype)
        with torch.autocast("cuda", enabled=False):  # which would round the cell
            output_BH, cell_BH, _ = fused_lstm_cell(*gates, state.cell_BH, *(bias_G.to(dtype) for bias_G in biases_G))
        return output_BH, cell_BH

    def _projected(self, output_BH: Tensor, cell_BH: Tensor, x_BD: Tensor) -> LstmState:
        output_BH = output_BH.to(x_BD.dtype)
        projection_DH: Tensor | None = getattr(self.cell, "weight_hr_l0", None)
        return LstmState(output_BH if projection_DH is None else output_BH @ projection_DH.t(), cell_BH)


def _autocast_is_fp16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16


class BidirectionalLstm(nn.Module):
    """The bottom encoder layer. Its two directions are set side by side ("concatenate": half as wide, "wide": of
    full width), or added ("sum")."""

    def __init__(
        self,
        width: int,
        hidden: int,
        combination: str,
        projection: bool = False,
        weight_dropout: WeightDropout | None = None,
        mogrifier_rounds: int = 0,
    ) -> None:
        """Make both directions; the last two arguments are those of each (:class:`Lstm`)."""
        super().__init__()
        self.concatenate = combination != "sum"
        part, part_hidden = (width // 2, hidden // 2) if combination == "concatenate" else (width, hidden)
        self.forward_direction = Lstm(width, part, part_hidden, projection, weight_dropout, mogrifier_rounds)
        self.backward_direction = Lstm(width, part, part_hidden, projection, weight_dropout, mogrifier_rounds)

    def forward(self, x_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """Compute [B, S, width] -> [B, S, width], or twice that if wide; what is behind a sentence's end has no
        influence."""
        ahead_BSD = self.forward_direction(x_BSD)
        order_BS = _reversed_positions(lengths_B, x_BSD.shape[1])
        back_BSD = _reorder(self.backward_direction(_reorder(x_BSD, order_BS)), order_BS)
        return torch.cat((ahead_BSD, back_BSD), dim=-1) if self.concatenate else ahead_BSD + back_BSD


def _reversed_positions(lengths_B: Tensor, length: int) -> Tensor:
    """Return flat indices that turn each sentence round and leave its padding in place; its own inverse."""
    positions_S = torch.arange(length, device=lengths_B.device)
    last_B1 = lengths_B[:, None] - 1
    turned_BS = torch.where(positions_S <= last_B1, last_B1 - positions_S, positions_S)
    starts_B1 = torch.arange(lengths_B.numel(), device=lengths_B.device)[:, None] * length
    return (starts_B1 + turned_BS).flatten()


def _reorder(x_BSD: Tensor, order_N: Tensor) -> Tensor:
    return permute_rows(x_BSD.reshape(-1, x_BSD.shape[-1]), order_N, order_N).view(x_BSD.shape)
