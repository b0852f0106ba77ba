"""Shortlist: the output layer for likely words alone, those that are frequent in the target language and those that
the lexicon knows for a subword of the source.

The words of a source are its own: neither its translation nor a probability depends on what else is in the batch.
Probabilities are normalised over these words, so they are higher than those of the whole vocabulary.

Letters: X rows, G sources that have rows, F words that are allowed always (the first is EOS), L further words of a
source, R = F + L columns of a row, U blocks of words, J blocks of a source, I words of a block, Y new blocks, Z rows of
a source, W words wanted (as many as the beam is wide), P proposed words, C candidates of a source
subword, O those of them that are not allowed always.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.config.settings import Decoding
from mtmoe.config.settings import Shortlist as ShortlistSettings
from mtmoe.data.prepared.lexicon import Lexicon
from mtmoe.inference.search.beam_groups import group_starts
from mtmoe.inference.search.next_words.likeliest import Ban, NextWords
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.model.ops.rows import with_common_number_of_rows
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD


class Shortlist:
    """The words that may be in the translation of a source."""

    def __init__(self, lexicon: Lexicon, settings: ShortlistSettings) -> None:
        frequent_F = lexicon.frequent_F[: settings.frequent].astype(np.int64)
        self.always_F = np.concatenate([[EOS], frequent_F])
        is_free_V = np.zeros(len(lexicon.candidates_VC), dtype=bool)
        is_free_V[self.always_F] = is_free_V[:NUM_SPECIAL] = True
        self._is_free_V = is_free_V
        # Those that are allowed anyway take no place among the candidates.
        candidates_VO = np.where(is_free_V[lexicon.candidates_VC], PAD, lexicon.candidates_VC)
        order_VO = np.argsort(candidates_VO == PAD, axis=1, kind="stable")[:, : settings.per_source_token]
        self._candidates_VO = np.take_along_axis(candidates_VO, order_VO, axis=1)

    def own_words(self, source_ids: Sequence[int], wanted: Iterable[int] = ()) -> np.ndarray:
        """Return words for one source besides those that are allowed always, ascending (int64): the candidates of its
        subwords, those subwords themselves (a name is copied), and ``wanted`` ones."""
        source = np.asarray(source_ids, dtype=np.int64)
        wanted_words = np.fromiter(wanted, dtype=np.int64)
        words = np.unique(np.concatenate([self._candidates_VO[source].ravel(), source, wanted_words]))
        own: np.ndarray = words[~self._is_free_V[words]]
        return own


def shortlist_of(decoding: Decoding, lexicon: Callable[[], Lexicon]) -> Shortlist | None:
    """Build what ``decoding.shortlist`` says, of a lexicon that is loaded if it is needed; None where it is absent."""
    return None if decoding.shortlist is None else Shortlist(lexicon(), decoding.shortlist)


_BLOCK_WORDS = 64
_FEW_BLOCKS = 16  # with no more than that it does not matter which of them are free


class _Own:
    """Words of sources besides those that are allowed always, and their vectors, in blocks of equal size: those of a
    source are as many as it needs, anywhere, and are taken over by others when it leaves. So no source costs more for
    another one that has many words, what stays is seldom moved, and products have few shapes (on a CPU in bf16
    oneDNN compiles each anew)."""

    def __init__(self, like: Tensor) -> None:
        """Start without sources; ``like``: a vector."""
        self.words_UI = torch.full((1, _BLOCK_WORDS), PAD, device=like.device)
        """Of each block; PAD behind the last word of a source, and in block 0, which no source has."""
        self.vectors_UDI = like.new_zeros(1, len(like), _BLOCK_WORDS)
        """As the product reads them: it takes a third less time than with [U, I, D] (bf16, a CPU)."""
        self.no_word_UI = like.new_full((1, _BLOCK_WORDS), -torch.inf)
        """What is added to the logits of a block: 0, and -inf where there is no word."""
        self._blocks: dict[int, np.ndarray] = {}
        self._num_taken = 1

    def blocks_of(self, sources: Sequence[int]) -> np.ndarray:
        """Return the blocks of each source, filled up with 0: int64 [G, J], J of the source with the most."""
        found = [self._blocks[source] for source in sources]
        blocks_GJ = np.zeros((len(found), max(map(len, found))), dtype=np.int64)
        for row_J, blocks in zip(blocks_GJ, found, strict=True):
            row_J[: len(blocks)] = blocks
        return blocks_GJ

    def put(self, sources: Sequence[int], lists: Sequence[np.ndarray], vectors_of: Callable[[Tensor], Tensor]) -> None:
        """Take in sources; ``lists``: the words of each."""
        taken = set(itertools.chain((0,), *(blocks.tolist() for blocks in self._blocks.values())))
        free = itertools.filterfalse(taken.__contains__, itertools.count())
        filled = [np.pad(words, (0, -len(words) % _BLOCK_WORDS), constant_values=PAD) for words in lists]
        for source, words in zip(sources, filled, strict=True):
            num_blocks = len(words) // _BLOCK_WORDS
            self._blocks[source] = np.fromiter(itertools.islice(free, num_blocks), np.int64, num_blocks)
            self._num_taken += num_blocks
        self._make_room()
        words_YI = torch.from_numpy(np.concatenate([*filled, np.zeros(0, np.int64)])).view(-1, _BLOCK_WORDS)
        words_YI = words_YI.to(self.words_UI.device)
        blocks_Y = np.concatenate([*(self._blocks[source] for source in sources), np.zeros(0, np.int64)])
        at_Y = torch.from_numpy(blocks_Y).to(words_YI.device)
        vectors_YID = vectors_of(words_YI.flatten()).unflatten(0, words_YI.shape)
        no_word_YI = torch.zeros_like(words_YI, dtype=vectors_YID.dtype).masked_fill_(words_YI == PAD, -torch.inf)
        self.words_UI.index_copy_(0, at_Y, words_YI)
        self.vectors_UDI.index_copy_(0, at_Y, vectors_YID.transpose(1, 2))
        self.no_word_UI.index_copy_(0, at_Y, no_word_YI)

    def leave(self, source: int) -> None:
        """Forget a source. Once a quarter of the blocks are free, the others are moved together."""
        self._num_taken -= len(self._blocks.pop(source))
        if 4 * self._num_taken > 3 * len(self.words_UI) or len(self.words_UI) <= _FEW_BLOCKS:
            return
        stays = np.concatenate([np.zeros(1, np.int64), *self._blocks.values()])
        at = torch.from_numpy(stays).to(self.words_UI.device)
        self.words_UI, self.vectors_UDI, self.no_word_UI = (
            part[at] for part in (self.words_UI, self.vectors_UDI, self.no_word_UI)
        )
        first = 1
        for other, blocks in self._blocks.items():
            self._blocks[other] = np.arange(first, first + len(blocks))
            first += len(blocks)
        self._make_room()

    def _make_room(self) -> None:
        most = 1 + max((int(blocks.max(initial=0)) for blocks in self._blocks.values()), default=0)
        step = max(1, 1 << max(0, most.bit_length() - 4))  # few numbers of blocks, too
        missing = max(0, -(-most // step) * step - len(self.words_UI))
        if missing:
            self.words_UI = F.pad(self.words_UI, (0, 0, 0, missing), value=PAD)
            self.vectors_UDI = F.pad(self.vectors_UDI, (0, 0, 0, 0, 0, missing))
            self.no_word_UI = F.pad(self.no_word_UI, (0, 0, 0, missing), value=-torch.inf)


class ListedWords:
    """The next words of many hypotheses, each among the words of its source.

    Sources enter and leave as they are translated; the vectors of their words are gathered once.
    """

    def __init__(self, model: SearchModel[Any, Any], shortlist: Shortlist, device: torch.device | str) -> None:
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
        """Take in sources.

        Args:
            sources: their numbers from here on.
            sources_ids: their subwords.
            wanted: words of each that are allowed besides.
        """
        wanted = [()] * len(sources) if wanted is None else wanted
        lists = [self._shortlist.own_words(ids, more) for ids, more in zip(sources_ids, wanted, strict=True)]
        self._own.put(sources, lists, self._model.output_vectors)

    def leave(self, source: int) -> None:
        """Forget the words of a source."""
        self._own.leave(source)

    def next_words(
        self,
        hidden_XD: Tensor,
        source_X: np.ndarray,
        num_words: int,
        proposed_XP: Tensor | None = None,
        ban: Ban | None = None,
    ) -> NextWords:
        """Find what `likeliest.next_words` does, of the words of the row's source; -inf for others.

        Args:
            source_X: the source of each row; rows of a source stand side by side.
        """
        starts_G, group_X = group_starts(source_X)
        blocks_XJ = self._own.blocks_of(source_X[starts_G].tolist())[group_X]
        own_XL = self._own_logits(hidden_XD, blocks_XJ, np.arange(len(source_X)) - starts_G[group_X])
        always_XF = (with_common_number_of_rows(hidden_XD) @ self._vectors_FD.t())[: len(hidden_XD)]
        logits_XR = torch.cat([always_XF, own_XL], dim=1).float()
        missing = num_words + 1 - logits_XR.shape[1]
        if missing > 0:
            logits_XR = F.pad(logits_XR, (0, missing), value=-torch.inf)
        values_XR = torch.log_softmax(logits_XR, 1, out=logits_XR)
        eos_X = values_XR[:, 0].clone()
        words = _Columns(self._always_F, self._own.words_UI, torch.from_numpy(blocks_XJ), values_XR.shape[1])
        proposed = values_XR[:, :0] if proposed_XP is None else words.values_of(proposed_XP, values_XR)
        if ban is not None:
            words.put_out(ban, values_XR)
        best = values_XR[:, 1:].topk(num_words, dim=1)
        return NextWords(words.at(best.indices + 1), best.values, eos_X, proposed)

    def _own_logits(self, hidden_XD: Tensor, blocks_XJ: np.ndarray, rank_X: np.ndarray) -> Tensor:
        """Return logits [X, L]: one product a block, of all its words and all rows of its source.

        It is -inf where there is no word. ``rank_X``: 0, 1, ... among the rows of a source.
        """
        vectors_UDI, device, width = self._own.vectors_UDI, hidden_XD.device, int(rank_X.max()) + 1
        cells_XJ = blocks_XJ * width + rank_X[:, None]
        rows, columns = np.nonzero(blocks_XJ)
        read, written = (torch.from_numpy(places).to(device) for places in (rows, cells_XJ[rows, columns]))
        # Where no row is written to, none is read but those of block 0, in place of blocks that a source has not.
        grid_UZD = hidden_XD.new_empty(len(vectors_UDI) * width, hidden_XD.shape[1])
        grid_UZD[:width] = 0
        grid_UZD.index_copy_(0, written, hidden_XD.index_select(0, read))
        logits_UZI = grid_UZD.unflatten(0, (len(vectors_UDI), width)) @ vectors_UDI
        logits_UZI += self._own.no_word_UI[:, None]
        own_XJI = logits_UZI.flatten(0, 1).index_select(0, torch.from_numpy(cells_XJ).to(device).flatten())
        own_XL: Tensor = own_XJI.view(len(hidden_XD), blocks_XJ.shape[1] * _BLOCK_WORDS)
        return own_XL


class _Columns:
    """Which word each column of a row stands for, the words of its blocks behind those that are allowed always; PAD
    where a row has no word."""

    def __init__(self, always_F: Tensor, own_words_UI: Tensor, blocks_XJ: Tensor, num_columns: int) -> None:
        self._always_F, self._own_words_UI, self._num_columns = always_F, own_words_UI, num_columns
        # Of no words for a column that is past the last block.
        self._blocks_XJ = F.pad(blocks_XJ.to(always_F.device), (0, 1))

    def at(self, columns_XW: Tensor) -> Tensor:
        """Return the words of some columns of each row."""
        num_always = len(self._always_F)
        place_XW = columns_XW - num_always
        own_place_XW = place_XW.clamp(0, (self._blocks_XJ.shape[1] - 1) * _BLOCK_WORDS)
        block_XW = self._blocks_XJ.gather(1, own_place_XW // _BLOCK_WORDS)
        own_XW = self._own_words_UI[block_XW, own_place_XW % _BLOCK_WORDS]
        return torch.where(place_XW < 0, self._always_F[columns_XW.clamp(max=num_always - 1)], own_XW)

    def values_of(self, proposed_XP: Tensor, values_XR: Tensor) -> Tensor:
        """Return the values of the proposed words; -inf for those that are not of the row's."""
        is_it_XPR = self._everything()[:, None, :] == proposed_XP[:, :, None]
        column_XP = is_it_XPR.int().argmax(2)
        return values_XR.gather(1, column_XP).masked_fill(~is_it_XPR.any(2), -torch.inf)

    def put_out(self, ban: Ban, values_XR: Tensor) -> None:
        """Put -inf, in place, for words that must not be found."""
        cells, columns = (self._everything()[ban.rows] == ban.words[:, None]).nonzero(as_tuple=True)
        values_XR[ban.rows[cells], columns] = -torch.inf

    def _everything(self) -> Tensor:
        columns_R = torch.arange(self._num_columns, device=self._always_F.device)
        return self.at(columns_R.expand(len(self._blocks_XJ), -1))
