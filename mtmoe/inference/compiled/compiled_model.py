"""Compiled model: a :class:`SearchModel` whose arithmetic is the library's.

It computes what `mtmoe/model/` does, in float32, or with weights and inputs of 8 bits in all products but the gates'
(`mtmoe/model/ops/int8.py` says how they are rounded). What a row gives depends, to the bit, on the row alone.

Letters: X rows, each a hypothesis of a sentence, Y rows of the step before, B sentences, N their tokens side by side,
A width of the attention's score function, Z numbers of the state of a row, W words wanted (as many as the beam is
wide), P proposed words, O outputs, I inputs of a matrix, G the four gates of an LSTM side by side.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from mtmoe.inference.compiled.compiled_search import CompiledSearch, can_search
from mtmoe.inference.compiled.library import FAMILIES, Shape, best_family, check, library
from mtmoe.inference.search.next_words.likeliest import SYMBOLS, Ban, NextWords
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SourceQueue, SourceSearch
from mtmoe.model.lstm import Lstm
from mtmoe.model.moe.gating import NoisyTopKGate, ScoredGate
from mtmoe.model.moe.moe_layer import DenseFeedForward, MixtureOfExperts
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import EOS, NUM_SPECIAL

_BOTTOMS = {"sum": 0, "concatenate": 1, "wide": 2}
_CONTEXTS = {"parallel": 0, "recurrent": 1, "recurrent-all": 2}
_MOST_CHOSEN = 64
"""Experts of a token."""
_PARENT, _VALUES, _KEYS, _LENGTH = range(4)  # columns of origins


class CompiledMemory(NamedTuple):
    """Encoded sources: values_ND and keys_NA of all tokens side by side; lengths_B, EOS counted (int32)."""

    values_ND: Tensor
    keys_NA: Tensor
    lengths_B: np.ndarray

    def is_used(self, origins_X: np.ndarray) -> bool:
        """Return whether the source of a row is in it."""
        begin = self.values_ND.data_ptr()
        addresses_X = origins_X[:, _VALUES]
        return bool(((addresses_X >= begin) & (addresses_X < begin + self.values_ND.nbytes)).any())


class CompiledState(NamedTuple):
    """The state of rows; nothing of it is copied until the next step.

    origins_X: where each row goes on from, as `Origin` in `source/model.h` says: its row of state_YZ, the addresses of
    the values and keys of its source, and how many positions that has, int64 [X, 4]. memories: what these addresses are
    in.
    """

    state_YZ: Tensor
    origins_X: np.ndarray
    memories: tuple[CompiledMemory, ...]

    def select(self, rows_X: Tensor) -> CompiledState:
        """Return some rows, as :class:`SearchState` says."""
        return CompiledState(self.state_YZ, self.origins_X[rows_X.numpy()], self.memories)

    def join(self, *others: CompiledState) -> CompiledState:
        """Return these rows and then the others, and the memories that their sources are in."""
        states = (self, *others)
        parts = [state.state_YZ[torch.from_numpy(state.origins_X[:, _PARENT])] for state in states]
        origins_X = np.concatenate([state.origins_X for state in states])
        memories = [memory for state in states for memory in state.memories if memory.is_used(origins_X)]
        return CompiledState(torch.cat(parts), _in_order(origins_X), tuple(memories))


def _in_order(origins_X: np.ndarray) -> np.ndarray:
    """Return origins of rows each of which goes on from the row of its own number."""
    origins_X = origins_X.copy()
    origins_X[:, _PARENT] = np.arange(len(origins_X))
    return origins_X


def can_compile(model: object) -> TypeGuard[TranslationModel]:
    """Return whether the library can compute a model: one that translates, on a processor, in float32, with gates of
    one level by which each token chooses k experts, and LSTMs without a Mogrifier."""
    if library() is None or not isinstance(model, TranslationModel):
        return False
    parameter = next(model.parameters())
    layers = [*model.encoder.moe_layers.values(), *model.decoder.moe_layers.values()]
    return (
        parameter.device.type == "cpu"
        and parameter.dtype == torch.float32
        and model.settings.mogrifier_rounds == 0
        and all(
            isinstance(layer, DenseFeedForward)
            or (
                isinstance(layer, MixtureOfExperts)
                and isinstance(layer.gate, NoisyTopKGate | ScoredGate)
                and layer.gate.experts_per_token <= _MOST_CHOSEN
                and layer.dispatch is None
                and len(layer.experts.first_EDH) == layer.experts.num_experts
            )
            for layer in layers
        )
    )


class CompiledModel:
    """A translation model's weights, laid out for the library; see the module's text."""

    def __init__(self, model: TranslationModel, *, in_int8: bool = False, family: str | None = None) -> None:
        """Lay out the weights as they are now.

        Args:
            model: for which :func:`can_compile` is true. Its embeddings are shared, everything else is copied.
            family: of processors (`library.FAMILIES`), to use less than this one can.
        """
        loaded = library()
        assert loaded is not None
        self._library, settings = loaded, model.settings
        self.vocabulary_size, self.hidden_width = model.vocabulary_size, model.hidden_width
        self._attention_width = settings.attention_units
        self._kept: list[np.ndarray] = []
        self._output_vectors_VD = model.output_VD.detach()
        shape = Shape(
            width=settings.width,
            attention_width=settings.attention_units,
            vocabulary=model.vocabulary_size,
            encoder_layers=settings.encoder_layers,
            decoder_layers=settings.decoder_layers,
            encoder_bottom=_BOTTOMS[settings.encoder_bottom],
            residual=settings.residual,
            bottom_residual=model.decoder.bottom_residual,
            additive=settings.attention == "additive",
            context=_CONTEXTS[settings.attention_context],
            output_attention=settings.output_attention,
            embedding_factor=1.0 / model.embedding_std,
        )
        number = FAMILIES.index(family or best_family() or FAMILIES[0])
        self._model = loaded.mtmoe_new(shape, in_int8, number)
        check(0 if self._model else 1)
        # Not at the end of the process, where a thread may still be in it.
        weakref.finalize(self, loaded.mtmoe_delete, self._model).atexit = False
        self._add(model)
        self._state_size = loaded.mtmoe_finish(self._model)
        if self._state_size < 0:
            raise ValueError("the compiled model lacks a weight")

    @property
    def num_bytes(self) -> int:
        """Return the memory of the weights that were copied, in bytes."""
        return int(self._library.mtmoe_num_bytes(self._model))

    # ----------------------------------------------------------------------------------------------- laying out

    def _add(self, model: TranslationModel) -> None:
        self._numbers("source_embedding", model.source_embedding_VD)
        self._numbers("target_embedding", model.target_embedding_VD)
        self._matrix("output", model.output_VD)
        encoder, decoder = model.encoder, model.decoder
        self._matrix("keys", decoder.attention.key_projection.weight)
        self._matrix("attention.query", decoder.attention.query_projection.weight)
        self._numbers("attention.scale", decoder.attention.scale_A)
        if decoder.output_attention is not None:
            attention = decoder.output_attention
            self._matrix("output_attention.query", attention.attention.query_projection.weight)
            self._numbers("output_attention.scale", attention.attention.scale_A)
            self._matrix("output_attention.projection", attention.projection.weight)
        self._encoder_lstm("encoder.forward", encoder.bottom.forward_direction)
        self._encoder_lstm("encoder.backward", encoder.bottom.backward_direction)
        for place, layer in enumerate(encoder.upper, start=2):
            self._encoder_lstm(f"encoder.{place}", layer)
        for place, layer in enumerate((decoder.bottom, *decoder.upper), start=1):
            input_GD, recurrent_GD, bias_G = _lstm_weights(layer)
            self._matrix(f"decoder.{place}.joined", torch.cat([input_GD, recurrent_GD], dim=1), bias_G)
            self._projection(f"decoder.{place}", layer)
        for stack in (encoder, decoder):
            for after, layer in stack.moe_layers.items():
                self._feed_forward(f"{stack.side}.moe{after}", layer)

    def _encoder_lstm(self, name: str, layer: nn.Module) -> None:
        input_GD, recurrent_GD, bias_G = _lstm_weights(layer)
        self._matrix(f"{name}.input", input_GD, bias_G)
        self._matrix(f"{name}.recurrent", recurrent_GD)
        self._projection(name, layer)

    def _projection(self, name: str, layer: nn.Module) -> None:
        projection_DH = getattr(layer.cell, "weight_hr_l0", None)
        if projection_DH is not None:
            self._matrix(f"{name}.projection", projection_DH)

    def _feed_forward(self, name: str, layer: nn.Module) -> None:
        if isinstance(layer, DenseFeedForward):
            matrices = [layer.first_DH, *layer.inner_HH, layer.second_HD]
            for place, matrix in enumerate(matrices):
                self._matrix(f"{name}.dense{place}", matrix.t())
            sizes = (0, 0, len(matrices))
        else:
            assert isinstance(layer, MixtureOfExperts)
            assert isinstance(layer.gate, NoisyTopKGate | ScoredGate)
            self._matrix(f"{name}.gate", layer.gate.gate_DE.t())
            for expert, (first_DH, second_HD) in enumerate(
                zip(layer.experts.first_EDH, layer.experts.second_EHD, strict=True)
            ):
                self._matrix(f"{name}.first{expert}", first_DH.t())
                self._matrix(f"{name}.second{expert}", second_HD.t())
            if layer.shared is not None:
                self._matrix(f"{name}.dense0", layer.shared.first_DH.t())
                self._matrix(f"{name}.dense1", layer.shared.second_HD.t())
            sizes = (layer.experts.num_experts, layer.gate.experts_per_token, 0 if layer.shared is None else 2)
        of_gate = (layer.sigmoid_output, *self._gate(name, layer))
        check(self._library.mtmoe_set_feed_forward(self._model, name.encode(), *sizes, *of_gate))

    def _gate(self, name: str, layer: nn.Module) -> tuple[bool, float]:
        """Add the bias on the choice of a layer; return whether its gates are sigmoids, and what they sum to."""
        gate = layer.gate if isinstance(layer, MixtureOfExperts) else None
        if not isinstance(gate, ScoredGate):
            return False, 1.0
        if gate.choice_bias_E is not None:
            self._numbers(f"{name}.choice_bias", gate.choice_bias_E)
        return gate.score == "sigmoid", gate.scale

    def _matrix(self, name: str, weights_OI: Tensor, bias_O: Tensor | None = None) -> None:
        weights = np.ascontiguousarray(weights_OI.detach().numpy(), dtype=np.float32)
        bias = None if bias_O is None else np.ascontiguousarray(bias_O.detach().numpy(), dtype=np.float32)
        address = None if bias is None else bias.ctypes.data
        outputs, inputs = weights.shape
        check(self._library.mtmoe_add_matrix(self._model, name.encode(), weights.ctypes.data, address, outputs, inputs))

    def _numbers(self, name: str, values: Tensor) -> None:
        numbers = np.ascontiguousarray(values.detach().numpy(), dtype=np.float32)
        self._kept.append(numbers)
        check(self._library.mtmoe_add_numbers(self._model, name.encode(), numbers.ctypes.data))

    # ------------------------------------------------------------------------------------------------ computing

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> CompiledMemory:
        """Encode source ids (EOS at the end, PAD behind)."""
        lengths_B = source_lengths_B.numpy().astype(np.int32)
        is_real_BS = np.arange(source_BS.shape[1]) < lengths_B[:, None]
        ids_N = source_BS.numpy()[is_real_BS]
        values_ND = torch.empty(len(ids_N), self.hidden_width)
        keys_NA = torch.empty(len(ids_N), self._attention_width)
        check(
            self._library.mtmoe_encode(
                self._model, ids_N.ctypes.data, lengths_B.ctypes.data, len(lengths_B), values_ND.data_ptr(),
                keys_NA.data_ptr(),
            )
        )  # fmt: skip
        return CompiledMemory(values_ND, keys_NA, lengths_B)

    def initial_state(self, memory: CompiledMemory) -> CompiledState:
        """Return the state before the first step: zeros, one row for each source."""
        num_sources = len(memory.lengths_B)
        begins_B = np.cumsum(memory.lengths_B, dtype=np.int64) - memory.lengths_B
        origins_X = np.empty((num_sources, 4), np.int64)
        origins_X[:, _PARENT] = np.arange(num_sources)
        for column, numbers in ((_VALUES, memory.values_ND), (_KEYS, memory.keys_NA)):
            origins_X[:, column] = numbers.data_ptr() + begins_B * numbers.shape[1] * numbers.element_size()
        origins_X[:, _LENGTH] = memory.lengths_B
        return CompiledState(torch.zeros(num_sources, self._state_size), origins_X, (memory,))

    def decode_step(self, tokens_X: Tensor, state: CompiledState) -> tuple[Tensor, Tensor, CompiledState]:
        """Compute one step: hidden_XD, which :meth:`project` reads, attention_XS (float32), next state."""
        num_rows, tokens_X, origins_X = len(tokens_X), tokens_X.contiguous(), state.origins_X
        state_XZ = torch.empty(num_rows, self._state_size)
        hidden_XD = torch.empty(num_rows, self.hidden_width)
        longest = int(origins_X[:, _LENGTH].max())
        attention_XS = torch.empty(num_rows, longest)
        check(
            self._library.mtmoe_step(
                self._model, num_rows, tokens_X.data_ptr(), origins_X.ctypes.data, state.state_YZ.data_ptr(),
                state_XZ.data_ptr(), hidden_XD.data_ptr(), attention_XS.data_ptr(), longest,
            )
        )  # fmt: skip
        return hidden_XD, attention_XS, CompiledState(state_XZ, _in_order(origins_X), state.memories)

    def output_vectors(self, words: Tensor) -> Tensor:
        """Return the rows of the output layer for some words: [words, D], float32."""
        return self._output_vectors_VD[words]

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the logits (float32) of the next token, [X, V]; into ``out`` where it is given."""
        logits_XV = torch.empty(len(hidden_XD), self.vocabulary_size) if out is None else out
        hidden_XD = hidden_XD.contiguous()
        check(self._library.mtmoe_project(self._model, len(hidden_XD), hidden_XD.data_ptr(), logits_XV.data_ptr()))
        return logits_XV

    def next_words(
        self,
        hidden_XD: Tensor,
        num_words: int,
        proposed_XP: Tensor | None = None,
        ban: Ban | None = None,
        not_words: slice | list[int] = SYMBOLS,
    ) -> NextWords:
        """Find what :func:`mtmoe.inference.search.next_words.likeliest.next_words` does; log-probabilities are
        float64."""
        num_rows, hidden_XD = len(hidden_XD), hidden_XD.contiguous()
        never = self._symbols(not_words)
        proposed_XP = torch.empty(num_rows, 0, dtype=torch.int64) if proposed_XP is None else proposed_XP.contiguous()
        banned = begins = None
        if ban is not None:  # its cells are sorted by row
            banned, begins = ban.words.contiguous(), np.searchsorted(ban.rows.numpy(), np.arange(num_rows + 1))
        words_XW = torch.empty(num_rows, num_words, dtype=torch.int64)
        log_probabilities_XW = torch.empty(num_rows, num_words, dtype=torch.float64)
        eos_X = torch.empty(num_rows, dtype=torch.float64)
        of_proposed_XP = torch.empty(proposed_XP.shape, dtype=torch.float64)
        check(
            self._library.mtmoe_next_words(
                self._model, num_rows, hidden_XD.data_ptr(), num_words, never.ctypes.data, len(never),
                None if banned is None else banned.data_ptr(), None if begins is None else begins.ctypes.data,
                proposed_XP.data_ptr(), proposed_XP.shape[1], EOS, words_XW.data_ptr(),
                log_probabilities_XW.data_ptr(), eos_X.data_ptr(), of_proposed_XP.data_ptr(),
            )
        )  # fmt: skip
        return NextWords(words_XW, log_probabilities_XW, eos_X, of_proposed_XP)

    def coverage_penalty(self, coverage_XS: Tensor, source_lengths_X: Tensor, beta: float) -> Tensor:
        """Return what :func:`mtmoe.inference.search.gnmt_score.coverage_penalty` does, float64; of a row alone, to the
        bit."""
        coverage_XS, lengths_X = coverage_XS.contiguous(), source_lengths_X.contiguous()
        penalty_X = torch.empty(len(coverage_XS), dtype=torch.float64)
        self._library.mtmoe_coverage_penalty(
            len(coverage_XS), coverage_XS.data_ptr(), coverage_XS.shape[1], lengths_X.data_ptr(), beta,
            penalty_X.data_ptr(),
        )  # fmt: skip
        return penalty_X

    def open_search(
        self,
        options: SearchOptions,
        batch_tokens: int,
        waiting: SourceQueue,
        others: Callable[[SourceQueue], SourceSearch],
        not_words: slice | list[int],
        *,
        takes_all: bool,
    ) -> CompiledSearch | None:
        """Return a search that is wholly the library's, as :class:`SearchesItself` says; None where it cannot do what
        the options say."""
        if not can_search(options):
            return None
        capacity, never = batch_tokens // options.width, self._symbols(not_words)
        return CompiledSearch(
            self._model, self, self.vocabulary_size, options, capacity, waiting, others, never, takes_all=takes_all
        )

    @staticmethod
    def _symbols(not_words: slice | list[int]) -> np.ndarray:
        """Return special symbols by their numbers."""
        return np.arange(NUM_SPECIAL)[not_words] if isinstance(not_words, slice) else np.array(not_words, np.int64)


def _lstm_weights(layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of the input [4H, I], those of the last output [4H, D], and the sum of the biases [4H]."""
    assert isinstance(layer, Lstm)
    input_GD, recurrent_GD, input_bias_G, recurrent_bias_G = layer.cell.all_weights[0][:4]
    return input_GD, recurrent_GD, input_bias_G + recurrent_bias_G
