"""Attention of the target on the source (paper, appendix G).

Letters: A width of the score function, X hypotheses, each of a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.model.ops.chunked_inference import ATTENTION_ELEMENTS, in_pieces, places_at_once
from mtmoe.model.ops.rows import with_common_number_of_rows


class Memory(NamedTuple):
    """An encoded source: what the decoder may look at.

    values_BSD: the encoder's outputs. keys_BSA: their projection, made once a sentence.
    source_lengths_B: tokens of each sentence; what lies behind is padding.
    """

    values_BSD: Tensor
    keys_BSA: Tensor
    source_lengths_B: Tensor

    @property
    def num_sources(self) -> int:
        return self.values_BSD.shape[0]

    @property
    def mask_BS(self) -> Tensor:
        """Return a mask that is true at real source tokens."""
        positions_S = torch.arange(self.values_BSD.shape[1], device=self.values_BSD.device)
        return positions_S < self.source_lengths_B[:, None]

    def select(self, rows: Tensor) -> Memory:
        """Return the memory of the sentences ``rows``, in that order, with no more padding than they need."""
        lengths_B = self.source_lengths_B.index_select(0, rows)
        longest = int(lengths_B.max()) if len(rows) else 0
        values_BSD, keys_BSA = (t[:, :longest].index_select(0, rows) for t in (self.values_BSD, self.keys_BSA))
        return Memory(values_BSD, keys_BSA, lengths_B)

    def join(self, *others: Memory) -> Memory:
        """Return the memory of these sentences and then of the others; the shorter ones are padded."""
        memories = (self, *others)
        longest = max(memory.values_BSD.shape[1] for memory in memories)
        num_sources = sum(memory.num_sources for memory in memories)

        def joined(parts: Sequence[Tensor]) -> Tensor:
            together_BSD = parts[0].new_empty(num_sources, longest, parts[0].shape[2])
            begin = 0
            for part in parts:
                end = begin + part.shape[0]
                together_BSD[begin:end, : part.shape[1]] = part
                together_BSD[begin:end, part.shape[1] :] = 0
                begin = end
            return together_BSD

        return Memory(
            joined([memory.values_BSD for memory in memories]),
            joined([memory.keys_BSA for memory in memories]),
            torch.cat([memory.source_lengths_B for memory in memories]),
        )


class Attention(nn.Module):
    """score(x, y) = sum_d V_d tanh((xU)_d + (yW)_d)        additive, eq. 21 (GNMT)
    score(x, y) = sum_d V_d tanh((xU)_d) tanh((yW)_d)      product, eq. 22: one matrix product
    """

    def __init__(self, width: int, attention_width: int, kind: str, *, own_keys: bool = True) -> None:
        """Build the score function.

        ``own_keys`` is false for a second attention, which looks at the memory that the first made.
        """
        super().__init__()
        self.kind = kind
        if own_keys:
            self.key_projection = nn.Linear(width, attention_width, bias=False)  # U
            nn.init.xavier_uniform_(self.key_projection.weight)
        self.query_projection = nn.Linear(width, attention_width, bias=False)  # W
        # V. As small as in scaled dot products: with scores far apart at the start, attention settles on one
        # position (the end of the sentence) and has no gradient left to leave it.
        self.scale_A = nn.Parameter(torch.full((attention_width,), attention_width**-0.5))
        nn.init.xavier_uniform_(self.query_projection.weight)

    def memory(self, values_BSD: Tensor, source_lengths_B: Tensor) -> Memory:
        """Project the keys, once for all target positions."""
        keys_BSA = self.key_projection(values_BSD)
        if self.kind == "product":
            keys_BSA = keys_BSA.tanh()
        return Memory(values_BSD, keys_BSA, source_lengths_B)

    def forward(self, query_BTD: Tensor, memory: Memory, seen: list[Tensor] | None = None) -> Tensor:
        """Return context_BTD. Without gradients the weights, [B, T, S], are never there as a whole, unless a list is
        given, which they are added to."""
        if seen is not None:
            context_BTD, weights_BTS = self.look(self.project_query(query_BTD), memory)
            seen.append(weights_BTS)
            return context_BTD

        def contexts(query_BtD: Tensor) -> Tensor:
            return self.look(self.project_query(query_BtD), memory)[0]

        num_scores = memory.keys_BSA.shape[0] * memory.keys_BSA.shape[1]
        row_elements = num_scores * (memory.keys_BSA.shape[2] if self.kind == "additive" else 1)
        return in_pieces(contexts, query_BTD, 1, row_elements, ATTENTION_ELEMENTS)

    def project_query(self, query_XD: Tensor) -> Tensor:
        """Project queries for :meth:`look`: rows of any shape, each by itself."""
        query_XA = self.query_projection(query_XD)
        output: Tensor = query_XA.tanh() * self.scale_A if self.kind == "product" else query_XA
        return output

    def look(self, query_BTA: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return the context that :meth:`forward` gives for projected queries, and the weights_BTS (float32; zero on
        padding)."""
        if self.kind == "product":
            scores_BTS = query_BTA @ memory.keys_BSA.transpose(1, 2)
        else:
            scores_BTS = self._additive_scores(query_BTA, memory.keys_BSA)
        masked_BTS = scores_BTS.to(torch.promote_types(torch.float32, scores_BTS.dtype)).masked_fill(
            ~memory.mask_BS[:, None, :], -torch.inf
        )
        weights_BTS = masked_BTS.softmax(dim=-1)
        return weights_BTS.to(memory.values_BSD.dtype) @ memory.values_BSD, weights_BTS

    def _additive_scores(self, query_BTA: Tensor, keys_BSA: Tensor) -> Tensor:
        """Compute eq. 21; without gradients for some source positions at a time, as even one query's sums may be
        large."""
        length = places_at_once(keys_BSA.shape[1], query_BTA.numel(), ATTENTION_ELEMENTS)
        parts = [
            (query_BTA[:, :, None, :] + keys_BsA[:, None, :, :]).tanh() @ self.scale_A
            for keys_BsA in keys_BSA.split(length, 1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def project_context(self, context_XD: Tensor) -> Tensor:
        """Return the output of the attention for contexts, row by row."""
        return context_XD


class OutputAttention(nn.Module):
    """``A c(y)``: a second look at the source, with what the top layer says as the query (Luong et al. 2015).

    The paper's attention reaches the output layer through an LSTM alone, and its query is the bottom layer's, which
    in the parallel wiring has not seen the source. With this the output can be read off the source directly.
    """

    def __init__(self, width: int, attention_width: int, kind: str) -> None:
        super().__init__()
        self.attention = Attention(width, attention_width, kind, own_keys=False)
        self.projection = nn.Linear(width, width, bias=False)
        nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, query_BTD: Tensor, memory: Memory, seen: list[Tensor] | None = None) -> Tensor:
        """Return what is added to the top layer's output, [B, T, D]; ``seen`` is that of :class:`Attention`."""
        output: Tensor = self.projection(self.attention(query_BTD, memory, seen))
        return output

    def project_query(self, query_XD: Tensor) -> Tensor:
        """Project queries as :meth:`Attention.project_query` does."""
        return self.attention.project_query(query_XD)

    def look(self, query_BTA: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return context and weights as :meth:`Attention.look` does."""
        return self.attention.look(query_BTA, memory)

    def project_context(self, context_XD: Tensor) -> Tensor:
        """Return the output as :meth:`Attention.project_context` does."""
        output: Tensor = self.projection(with_common_number_of_rows(context_XD))[: context_XD.shape[0]]
        return output
