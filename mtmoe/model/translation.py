"""The whole translation model (paper, section 5.3 and appendix E).

Letters: X hypotheses, each of a sentence.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mtmoe.config.settings import Model
from mtmoe.model.attention import Memory
from mtmoe.model.decoder import Decoder, DecoderState
from mtmoe.model.embedding import embed, embedding_matrix, label_log_probabilities
from mtmoe.model.encoder import Encoder
from mtmoe.model.moe.layer_parallelism import ModelParallelism, one_process
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.int8 import Int8Matrix
from mtmoe.model.ops.keyed_noise import SideNoise
from mtmoe.model.ops.rows import put_rows, real_positions, with_common_number_of_rows


class TranslationBatch(Protocol):
    """What the model reads of a batch (``mtmoe.data.batches.token_batches.Batch`` is one).

    source_BS ends in EOS, target_BT begins with BOS and ends in EOS; target_lengths_B counts predictions.
    """

    @property
    def source_BS(self) -> Tensor: ...

    @property
    def source_lengths_B(self) -> Tensor: ...

    @property
    def target_BT(self) -> Tensor: ...

    @property
    def target_lengths_B(self) -> Tensor: ...


class TopOutputs(NamedTuple):
    """Of the top LSTM layer at each position, padding too: its output, and that with dropout."""

    plain_BTD: Tensor
    dropped_BTD: Tensor


class Output(NamedTuple):
    """hidden_ND: what the output layer reads at each of the N target tokens that are not padding;
    labels_N: the tokens to predict there; balances: how each MoE layer used its experts; top: of a language model;
    attentions: where each attention looked, [B, T, S], if that was asked for."""

    hidden_ND: Tensor
    labels_N: Tensor
    balances: dict[str, Balance]
    top: TopOutputs | None = None
    attentions: tuple[Tensor, ...] = ()


class TranslationModel(nn.Module):
    """Encoder, attention, decoder and output layer over one shared subword vocabulary."""

    def __init__(
        self,
        settings: Model,
        vocabulary_size: int,
        parallelism: ModelParallelism = one_process,
        noise: SideNoise | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.vocabulary_size = settings, vocabulary_size
        width, self.embedding_std = settings.width, settings.embedding_std_or_default
        self.target_embedding_VD = nn.Parameter(embedding_matrix(vocabulary_size, width, self.embedding_std))
        self.source_embedding_VD = (
            self.target_embedding_VD
            if settings.tied_embeddings == "all"
            else nn.Parameter(embedding_matrix(vocabulary_size, width, self.embedding_std))
        )
        self.output_VD = (
            nn.Parameter(embedding_matrix(vocabulary_size, width, self.embedding_std))
            if settings.tied_embeddings == "none"
            else self.target_embedding_VD
        )
        self.int8_output: Int8Matrix | None = None
        self.encoder = Encoder(settings, parallelism, noise and noise.source)
        self.decoder = Decoder(settings, parallelism, noise and noise.target)

    def forward(self, batch: TranslationBatch, *, with_attention: bool = False) -> Output:
        """Compute a batch by teacher forcing, up to but without the output layer (see ``training/losses/``)."""
        seen: list[Tensor] | None = [] if with_attention else None
        memory, balances = self._encode(batch.source_BS, batch.source_lengths_B)
        inputs_BT, labels_BT = batch.target_BT[:, :-1], batch.target_BT[:, 1:]
        positions_N = real_positions(batch.target_lengths_B, inputs_BT.shape[1])
        embedded_BTD = embed(inputs_BT, self.target_embedding_VD, self.embedding_std)
        embedded_BTD = self.decoder.word_dropout(embedded_BTD, inputs_BT)
        hidden_ND, decoder_balances = self.decoder(embedded_BTD, memory, positions_N, seen)
        labels_N = labels_BT.reshape(-1).index_select(0, positions_N)
        return Output(hidden_ND, labels_N, balances | decoder_balances, attentions=tuple(seen or ()))

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> Memory:
        """Encode source ids (EOS at the end, PAD behind): what the decoder looks at."""
        return self._encode(source_BS, source_lengths_B)[0]

    @property
    def hidden_width(self) -> int:
        """Return D of what :meth:`project` reads."""
        return self.settings.width

    def initial_state(self, memory: Memory) -> DecoderState:
        """Return the decoder's state before the first step, whose token is BOS."""
        return self.decoder.initial_state(memory)

    def decode_step(self, tokens_X: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """Compute one step: hidden_XD, which :meth:`project` reads, attention_XS (float32), next state."""
        embedded_XD = embed(tokens_X, self.target_embedding_VD, self.embedding_std)
        return self.decoder.step(embedded_XD, state)

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the logits (float32) of the next token, [X, V].

        out: where to write them, contiguous and float32; without gradients only.
        """
        if self.int8_output is not None:
            return self.int8_output.product(hidden_XD) if out is None else self.int8_output.written(hidden_XD, out)
        weights_DV = self.output_VD.t()
        if out is None:
            return self._product(hidden_XD, weights_DV).float()
        if hidden_XD.dtype == out.dtype:
            return torch.mm(hidden_XD, weights_DV, out=out)
        return out.copy_(self._product(hidden_XD, weights_DV))

    def project_in_int8(self) -> None:
        """Make :meth:`project` multiply the weights as they are now in 8 bits, from now on.

        Raises:
            UserError: as :class:`mtmoe.model.ops.int8.Int8Matrix`.
        """
        self.int8_output = Int8Matrix(self.output_VD)

    def join_step_weights(self, *, in_int8: bool = False) -> None:
        """Make :meth:`decode_step` multiply the weights of the decoder's LSTMs as they are now in fewer products, from
        now on; with ``in_int8`` in 8 bits."""
        self.decoder.join_step_weights(in_int8=in_int8)

    def output_vectors(self, words: Tensor) -> Tensor:
        """Return the rows of the output layer for some words: [words, D]."""
        return self.output_VD[words]

    @staticmethod
    def _product(hidden_XD: Tensor, weights_DV: Tensor) -> Tensor:
        return (with_common_number_of_rows(hidden_XD) @ weights_DV)[: hidden_XD.shape[0]]

    def log_probabilities(self, batch: TranslationBatch) -> Tensor:
        """Return log P of each target token given those before it: float32 [B, T], zero at padding."""
        output = self(batch)
        log_N = label_log_probabilities(output.hidden_ND, self.output_VD, output.labels_N)
        num_sentences, length = batch.target_BT.shape[0], batch.target_BT.shape[1] - 1
        positions_N = real_positions(batch.target_lengths_B, length)
        return put_rows(log_N[:, None], positions_N, num_sentences, length)[:, :, 0]

    def _encode(self, source_BS: Tensor, lengths_B: Tensor) -> tuple[Memory, dict[str, Balance]]:
        positions_N = real_positions(lengths_B, source_BS.shape[1])
        embedded_BSD = embed(source_BS, self.source_embedding_VD, self.embedding_std)
        embedded_BSD = self.encoder.word_dropout(embedded_BSD, source_BS)
        encoded_BSD, balances = self.encoder(embedded_BSD, lengths_B, positions_N)
        return self.decoder.attention.memory(encoded_BSD, lengths_B), balances
