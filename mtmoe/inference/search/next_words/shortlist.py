"""The output layer for likely words alone: those that are frequent in the target language, and those that the lexicon
knows for a subword of the source.

The words of a source are its own: neither its translation nor a probability depends on what else is in the batch.
Probabilities are normalised over these words, so they are higher than those of the whole vocabulary.

Letters: X rows, A sources, F words that are allowed always (the first is EOS), C further words of a source or of a
block, U blocks, B blocks of a source, K = F + C columns of a row, W words wanted, or rows of a source, E words asked
for, D width, V vocabulary, N candidates of a source subword.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.config.settings import Decoding
from mtmoe.config.settings import Shortlist as ShortlistSettings
from mtmoe.data.prepared.lexicon import Lexicon, load_lexicon
from mtmoe.inference.search.finished_hypotheses import group_starts
from mtmoe.inference.search.next_words.likeliest import Ban, NextWords
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.model.ops.rows import with_common_number_of_rows
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD


class Shortlist:
    """Which words may be in the translation of a source."""

    def __init__(self, lexicon: Lexicon, settings: ShortlistSettings) -> None:
        frequent_F = lexicon.frequent_F[: settings.frequent].astype(np.int64)
        self.always_F = np.concatenate([[EOS], frequent_F])
        is_free_V = np.zeros(len(lexicon.candidates_VN), dtype=bool)
        is_free_V[self.always_F] = is_free_V[:NUM_SPECIAL] = True
        self._is_free_V = is_free_V
        # Those that are allowed anyway take no place among the candidates.
        candidates_VN = np.where(is_free_V[lexicon.candidates_VN], PAD, lexicon.candidates_VN)
        order_VN = np.argsort(candidates_VN == PAD, axis=1, kind="stable")[:, : settings.per_source_token]
        self._candidates_VN = np.take_along_axis(candidates_VN, order_VN, axis=1)

    def own_words(self, source_ids: Sequence[int], wanted: Iterable[int] = ()) -> np.ndarray:
        """Words for one source besides those that are allowed always, ascending (int64): the candidates of its
        subwords, those subwords themselves (a name is copied), and ``wanted`` ones."""
        source = np.asarray(source_ids, dtype=np.int64)
        wanted_words = np.fromiter(wanted, dtype=np.int64)
        words = np.unique(np.concatenate([self._candidates_VN[source].ravel(), source, wanted_words]))
        found: np.ndarray = words[~self._is_free_V[words]]
        return found


def shortlist_of(decoding: Decoding, lexicon_path: Path, vocabulary_size: int) -> Shortlist | None:
    """What ``decoding.shortlist`` says; None where it is absent.

    Raises:
        UserError: there is no lexicon, a damaged one, or one of another vocabulary.
    """
    if decoding.shortlist is None:
        return None
    return Shortlist(load_lexicon(lexicon_path, vocabulary_size), decoding.shortlist)


_BLOCK_WORDS = 64
_FEW_BLOCKS = 16  # with no more than that it does not matter which of them are free


class _Own:
    """Words of sources besides those that are allowed always, and their vectors, in blocks of equal size: those of a
    source are as many as it needs, anywhere, and are taken over by others when it leaves. So no source costs more for
    another one that has many words, what stays is seldom moved, and products have few shapes (on a CPU in bf16
    oneDNN compiles each anew)."""

    def __init__(self, like: Tensor) -> None:
        """``like``: a vector."""
        self.words_UC = torch.full((1, _BLOCK_WORDS), PAD, device=like.device)
        """Of each block; PAD behind the last word of a source, and in block 0, which no source has."""
        self.vectors_UDC = like.new_zeros(1, len(like), _BLOCK_WORDS)
        """As the product reads them: it takes a third less time than with [U, C, D] (bf16, a CPU)."""
        self.no_word_UC = like.new_full((1, _BLOCK_WORDS), -torch.inf)
        """What is added to the logits of a block: 0, and -inf where there is no word."""
        self._blocks: dict[int, np.ndarray] = {}
        self._num_taken = 1

    def blocks_of(self, sources: Sequence[int]) -> np.ndarray:
        """Blocks of each source, filled up with 0: int64 [A, blocks of the source with the most]."""
        found = [self._blocks[source] for source in sources]
        blocks_AB = np.zeros((len(found), max(map(len, found))), dtype=np.int64)
        for row_B, blocks in zip(blocks_AB, found, strict=True):
            row_B[: len(blocks)] = blocks
        return blocks_AB

    def put(self, sources: Sequence[int], lists: Sequence[np.ndarray], vectors_of: Callable[[Tensor], Tensor]) -> None:
        """``lists``: the words of each source."""
        taken = set(itertools.chain((0,), *(blocks.tolist() for blocks in self._blocks.values())))
        free = itertools.filterfalse(taken.__contains__, itertools.count())
        filled = [np.pad(words, (0, -len(words) % _BLOCK_WORDS), constant_values=PAD) for words in lists]
        for source, words in zip(sources, filled, strict=True):
            num_blocks = len(words) // _BLOCK_WORDS
            self._blocks[source] = np.fromiter(itertools.islice(free, num_blocks), np.int64, num_blocks)
            self._num_taken += num_blocks
        self._make_room()
        words_NC = torch.from_numpy(np.concatenate([*filled, np.zeros(0, np.int64)])).view(-1, _BLOCK_WORDS)
        words_NC = words_NC.to(self.words_UC.device)
        blocks_N = np.concatenate([*(self._blocks[source] for source in sources), np.zeros(0, np.int64)])
        at_N = torch.from_numpy(blocks_N).to(words_NC.device)
        vectors_NCD = vectors_of(words_NC.flatten()).unflatten(0, words_NC.shape)
        no_word_NC = torch.zeros_like(words_NC, dtype=vectors_NCD.dtype).masked_fill_(words_NC == PAD, -torch.inf)
        self.words_UC.index_copy_(0, at_N, words_NC)
        self.vectors_UDC.index_copy_(0, at_N, vectors_NCD.transpose(1, 2))
        self.no_word_UC.index_copy_(0, at_N, no_word_NC)

    def leave(self, source: int) -> None:
        """Once a quarter of the blocks are free, the others are moved together."""
        self._num_taken -= len(self._blocks.pop(source))
        if 4 * self._num_taken > 3 * len(self.words_UC) or len(self.words_UC) <= _FEW_BLOCKS:
            return
        stays = np.concatenate([np.zeros(1, np.int64), *self._blocks.values()])
        at = torch.from_numpy(stays).to(self.words_UC.device)
        self.words_UC, self.vectors_UDC, self.no_word_UC = (
            part[at] for part in (self.words_UC, self.vectors_UDC, self.no_word_UC)
        )
        first = 1
        for other, blocks in self._blocks.items():
            self._blocks[other] = np.arange(first, first + len(blocks))
            first += len(blocks)
        self._make_room()

    def _make_room(self) -> None:
        most = 1 + max((int(blocks.max(initial=0)) for blocks in self._blocks.values()), default=0)
        step = max(1, 1 << max(0, most.bit_length() - 4))  # few numbers of blocks, too
        missing = max(0, -(-most // step) * step - len(self.words_UC))
        if missing:
            self.words_UC = F.pad(self.words_UC, (0, 0, 0, missing), value=PAD)
            self.vectors_UDC = F.pad(self.vectors_UDC, (0, 0, 0, 0, 0, missing))
            self.no_word_UC = F.pad(self.no_word_UC, (0, 0, 0, missing), value=-torch.inf)


class ListedWords:
    """The next words of many hypotheses, each among the words of its source.

    Sources enter and leave as they are translated; the vectors of their words are gathered once.
    """

    def __init__(self, model: SearchModel, shortlist: Shortlist, device: torch.device | str) -> None:
        self._model, self._shortlist, self._device = model, shortlist, device
        self._always_F = torch.from_numpy(shortlist.always_F).to(device)
        self._vectors_FD = model.output_vectors(self._always_F)
        self._own = _Own(self._vectors_FD[0])

    def enter(
        self,
        sources: Sequence[int],
        sources_ids: Sequence[Sequence[int]],
        wanted: Sequence[Iterable[int]] | None = None,
    ) -> None:
        """``sources``: their numbers from here on; ``wanted``: words of each that are allowed besides."""
        wanted = [()] * len(sources) if wanted is None else wanted
        lists = [self._shortlist.own_words(ids, more) for ids, more in zip(sources_ids, wanted, strict=True)]
        self._own.put(sources, lists, self._model.output_vectors)

    def leave(self, source: int) -> None:
        """Its words are forgotten."""
        self._own.leave(source)

    def next_words(
        self,
        hidden_XD: Tensor,
        source_X: np.ndarray,
        num_words: int,
        asked_XE: Tensor | None = None,
        ban: Ban | None = None,
    ) -> NextWords:
        """As `likeliest.next_words`, of the words of the row's source; -inf for others.

        Args:
            source_X: the source of each row; rows of a source stand side by side.
        """
        starts_A, group_X = group_starts(source_X)
        blocks_XB = self._own.blocks_of(source_X[starts_A].tolist())[group_X]
        own_XC = self._own_logits(hidden_XD, blocks_XB, np.arange(len(source_X)) - starts_A[group_X])
        always_XF = (with_common_number_of_rows(hidden_XD) @ self._vectors_FD.t())[: len(hidden_XD)]
        logits_XK = torch.cat([always_XF, own_XC], dim=1).float()
        missing = num_words + 1 - logits_XK.shape[1]
        if missing > 0:
            logits_XK = F.pad(logits_XK, (0, missing), value=-torch.inf)
        values_XK = torch.log_softmax(logits_XK, 1, out=logits_XK)
        eos_X = values_XK[:, 0].clone()
        words = _Columns(self._always_F, self._own.words_UC, torch.from_numpy(blocks_XB), values_XK.shape[1])
        asked = values_XK[:, :0] if asked_XE is None else words.values_of(asked_XE, values_XK)
        if ban is not None:
            words.put_out(ban, values_XK)
        best = values_XK[:, 1:].topk(num_words, dim=1)
        return NextWords(words.at(best.indices + 1), best.values, eos_X, asked)

    def _own_logits(self, hidden_XD: Tensor, blocks_XB: np.ndarray, rank_X: np.ndarray) -> Tensor:
        """[X, C]: one product a block, of all its words and all rows (``rank_X``: 0, 1, ...) of its source; -inf where
        there is no word."""
        vectors_UDC, device, width = self._own.vectors_UDC, hidden_XD.device, int(rank_X.max()) + 1
        cells_XB = blocks_XB * width + rank_X[:, None]
        rows, columns = np.nonzero(blocks_XB)
        read, written = (torch.from_numpy(places).to(device) for places in (rows, cells_XB[rows, columns]))
        # Where no row is written to, none is read but those of block 0, in place of blocks that a source has not.
        grid_GD = hidden_XD.new_empty(len(vectors_UDC) * width, hidden_XD.shape[1])
        grid_GD[:width] = 0
        grid_GD.index_copy_(0, written, hidden_XD.index_select(0, read))
        logits_UWC = grid_GD.unflatten(0, (len(vectors_UDC), width)) @ vectors_UDC
        logits_UWC += self._own.no_word_UC[:, None]
        own_NC = logits_UWC.flatten(0, 1).index_select(0, torch.from_numpy(cells_XB).to(device).flatten())
        output: Tensor = own_NC.view(len(hidden_XD), blocks_XB.shape[1] * _BLOCK_WORDS)
        return output


class _Columns:
    """Which word each column of a row stands for, the words of its blocks behind those that are allowed always; PAD
    where a row has no word."""

    def __init__(self, always_F: Tensor, own_words_UC: Tensor, blocks_XB: Tensor, num_columns: int) -> None:
        self._always_F, self._own_words_UC, self._num_columns = always_F, own_words_UC, num_columns
        # Of no words for a column that is past the last block.
        self._blocks_XB = F.pad(blocks_XB.to(always_F.device), (0, 1))

    def at(self, columns_XW: Tensor) -> Tensor:
        """The words of some columns of each row."""
        num_always = len(self._always_F)
        place_XW = columns_XW - num_always
        own_place_XW = place_XW.clamp(0, (self._blocks_XB.shape[1] - 1) * _BLOCK_WORDS)
        block_XW = self._blocks_XB.gather(1, own_place_XW // _BLOCK_WORDS)
        own_XW = self._own_words_UC[block_XW, own_place_XW % _BLOCK_WORDS]
        return torch.where(place_XW < 0, self._always_F[columns_XW.clamp(max=num_always - 1)], own_XW)

    def values_of(self, asked_XE: Tensor, values_XK: Tensor) -> Tensor:
        """The values of the asked words; -inf for those that are not of the row's."""
        is_it_XEK = self._everything()[:, None, :] == asked_XE[:, :, None]
        column_XE = is_it_XEK.int().argmax(2)
        return values_XK.gather(1, column_XE).masked_fill(~is_it_XEK.any(2), -torch.inf)

    def put_out(self, ban: Ban, values_XK: Tensor) -> None:
        """-inf for words that must not be found, in place."""
        cells, columns = (self._everything()[ban.rows] == ban.words[:, None]).nonzero(as_tuple=True)
        values_XK[ban.rows[cells], columns] = -torch.inf

    def _everything(self) -> Tensor:
        columns_K = torch.arange(self._num_columns, device=self._always_F.device)
        return self.at(columns_K.expand(len(self._blocks_XB), -1))
