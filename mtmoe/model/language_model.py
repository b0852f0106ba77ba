"""The language model (paper, section 5.1 and appendix C): embedding, LSTM layers with experts in between, softmax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.config.settings import Model
from mtmoe.model.embedding import embed, embedding_matrix, label_log_probabilities
from mtmoe.model.lstm import Lstm, LstmState
from mtmoe.model.moe.layer_parallelism import ModelParallelism, one_process
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.int8 import Int8Matrix
from mtmoe.model.ops.keyed_noise import SideNoise
from mtmoe.model.ops.rows import put_rows, real_positions, take_rows
from mtmoe.model.residual_stack import ResidualStack
from mtmoe.model.softmax_mixture import SoftmaxMixture
from mtmoe.model.translation import Output, TopOutputs, TranslationBatch


class LanguageModelState(NamedTuple):
    """Everything that the next token needs, as a value: the state of each LSTM, from the bottom."""

    layers: tuple[LstmState, ...]

    def select(self, rows: Tensor) -> LanguageModelState:
        """Return the texts ``rows`` in that order, repeated where an index is."""
        return LanguageModelState(tuple(state.select(rows) for state in self.layers))

    def join(self, *others: LanguageModelState) -> LanguageModelState:
        """Return these texts and then the others."""
        of_layers = zip(self.layers, *(other.layers for other in others), strict=True)
        return LanguageModelState(tuple(own.join(*theirs) for own, *theirs in of_layers))

    def detached(self) -> LanguageModelState:
        """Return the same numbers without gradients: where back-propagation through time is cut."""
        return LanguageModelState(tuple(LstmState(*(part.detach() for part in state)) for state in self.layers))

    def to(self, device: torch.device | str) -> LanguageModelState:
        """Copy the state to a device."""
        return LanguageModelState(tuple(LstmState(*(part.to(device) for part in state)) for state in self.layers))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, for a checkpoint."""
        return {
            f"{place}.{name}": part
            for place, state in enumerate(self.layers, start=1)
            for name, part in state._asdict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LanguageModelState:
        """Return the state of which :meth:`tensors` made the tensors."""
        places = sorted({int(name.partition(".")[0]) for name in tensors})
        return cls(tuple(LstmState(*(tensors[f"{place}.{name}"] for name in LstmState._fields)) for place in places))


class LanguageModel(ResidualStack):
    """``h_0 = drop(embedding)``, ``h_l = h_(l-1) + drop(f_l(h_(l-1)))`` (paper, appendix C.1; l = 1 without
    ``h_(l-1)`` where the settings say so), and a softmax without bias.

    Of a batch it reads the target side alone: a sentence that begins with BOS, or a stretch of running text whose
    first token was predicted before.
    """

    def __init__(
        self,
        settings: Model,
        vocabulary_size: int,
        parallelism: ModelParallelism = one_process,
        noise: SideNoise | None = None,
    ) -> None:
        token_noise = noise and noise.target
        super().__init__(settings, "decoder", token_noise)
        self.settings, self.vocabulary_size = settings, vocabulary_size
        width, hidden = settings.width, settings.lstm_units
        self.embedding_std = settings.embedding_std_or_default
        self.bottom_residual = settings.residual and settings.bottom_residual
        self.embedding_VD = nn.Parameter(embedding_matrix(vocabulary_size, width, self.embedding_std))
        self.output_VD = (
            nn.Parameter(embedding_matrix(vocabulary_size, width, self.embedding_std))
            if settings.tied_embeddings == "none"
            else self.embedding_VD
        )
        self.softmax_mixture = SoftmaxMixture(width, settings.softmaxes) if settings.softmaxes > 1 else None
        self.int8_output: Int8Matrix | None = None
        self.layers = nn.ModuleList(
            Lstm(width, width, hidden, settings.lstm_projection, self.weight_dropout, settings.mogrifier_rounds)
            for _ in range(settings.decoder_layers)
        )
        self.moe_layers = self.build_moe_layers(settings, settings.decoder_moe_after, parallelism, token_noise)

    def forward(self, batch: TranslationBatch) -> Output:
        """Compute each row from a zero state, up to but without the output layer (see ``training/losses/``)."""
        return self.continued(batch, None)[0]

    def continued(self, batch: TranslationBatch, state: LanguageModelState | None) -> tuple[Output, LanguageModelState]:
        """Compute each row from ``state`` (None: zeros); return also the state after the batch's last position.

        The state means something only for rows without padding.
        """
        inputs_BT, labels_BT = batch.target_BT[:, :-1], batch.target_BT[:, 1:]
        positions_N = real_positions(batch.target_lengths_B, inputs_BT.shape[1])
        balances: dict[str, Balance] = {}
        embedded_BTD = embed(inputs_BT, self.embedding_VD, self.embedding_std)
        x_BTD = self.dropout(self.word_dropout(embedded_BTD, inputs_BT))
        states = []
        for place, layer in enumerate(self._lstms(), start=1):
            output_BTD, after = layer.continued(x_BTD, None if state is None else state.layers[place - 1])
            states.append(after)
            top = TopOutputs(output_BTD, self.dropout(output_BTD))
            x_BTD = self.add_dropped(x_BTD, top.dropped_BTD, self.bottom_residual if place == 1 else self.residual)
            x_BTD = self.add_experts(place, x_BTD, positions_N, balances)
        labels_N = labels_BT.reshape(-1).index_select(0, positions_N)
        return Output(take_rows(x_BTD, positions_N), labels_N, balances, top), LanguageModelState(tuple(states))

    def initial_state(self, num_texts: int) -> LanguageModelState:
        """Return the state before the first token: zeros."""
        like = self.embedding_VD.detach()
        return LanguageModelState(tuple(layer.initial_state(num_texts, like) for layer in self._lstms()))

    def decode_step(self, tokens_B: Tensor, state: LanguageModelState) -> tuple[Tensor, LanguageModelState]:
        """Compute one token of each text, without dropout: logits_BV of the next (float32), next state."""
        x_BD = embed(tokens_B, self.embedding_VD, self.embedding_std)
        states = []
        for place, layer in enumerate(self._lstms(), start=1):
            states.append(layer.step(x_BD, state.layers[place - 1]))
            x_BD = self.add_residual(x_BD, states[-1].output_BD, self.bottom_residual if place == 1 else self.residual)
            x_BD = self.add_experts_of_step(place, x_BD)
        state = LanguageModelState(tuple(states))
        if self.softmax_mixture is not None:
            return self.softmax_mixture.log_probabilities(x_BD, self.output_VD), state
        if self.int8_output is not None:
            return self.int8_output.product(x_BD), state
        return F.linear(x_BD, self.output_VD).float(), state

    def project_in_int8(self) -> None:
        """Multiply the output weights in 8 bits in :meth:`decode_step` from now on (see :class:`TranslationModel`); a
        mixture of softmaxes stays as it is."""
        if self.softmax_mixture is None:
            self.int8_output = Int8Matrix(self.output_VD)

    def join_step_weights(self, *, in_int8: bool = False) -> None:
        """Join the weights of each LSTM (see :meth:`mtmoe.model.lstm.Lstm.join_weights`)."""
        for layer in self._lstms():
            layer.join_weights(in_int8=in_int8)

    def log_probabilities(self, batch: TranslationBatch) -> Tensor:
        """Return log P of each token given those of its row before it: float32 [B, T], zero at padding."""
        return self.continued_log_probabilities(batch, None)[0]

    def continued_log_probabilities(
        self, batch: TranslationBatch, state: LanguageModelState | None
    ) -> tuple[Tensor, LanguageModelState]:
        """Return log P as :meth:`log_probabilities`, after the text in ``state``, and the state after the batch."""
        output, after = self.continued(batch, state)
        log_N = self.label_log_probabilities(output)
        num_rows, length = batch.target_BT.shape[0], batch.target_BT.shape[1] - 1
        positions_N = real_positions(batch.target_lengths_B, length)
        return put_rows(log_N[:, None], positions_N, num_rows, length)[:, :, 0], after

    def label_log_probabilities(self, output: Output) -> Tensor:
        """Return log P of each real token that :meth:`continued` has computed up to the output layer: float32 [N]."""
        if self.softmax_mixture is not None:
            return self.softmax_mixture.label_log_probabilities(output.hidden_ND, self.output_VD, output.labels_N)
        return label_log_probabilities(output.hidden_ND, self.output_VD, output.labels_N)

    def _lstms(self) -> Iterator[Lstm]:
        yield from self.layers  # type: ignore[misc]
