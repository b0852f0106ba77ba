"""Change of vocabulary: where each vector of the new one comes from in the matrices of the old one.

A subword that both have keeps its vector. Any other begins as the mean of the vectors of what the old model splits it
into. One that the old model cannot spell (characters that it never saw, without byte fallback) begins at random.

Letters: L rows of the old matrix, one after the other, of all new rows that begin as a mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary
from mtmoe.errors import UserError
from mtmoe.vocabulary import NUM_SPECIAL, UNK

_BYTE = "<0x"  # byte fallback's subwords


class VocabularyChange(NamedTuple):
    """old_rows: for each new id the old ids whose mean it begins as; none for a random beginning. num_same: subwords
    that both have, special ids and bytes included. num_left: old ones that the new vocabulary has not."""

    old_rows: tuple[tuple[int, ...], ...]
    num_same: int
    num_left: int

    @property
    def num_mean(self) -> int:
        """Return how many subwords begin as a mean."""
        return len(self.old_rows) - self.num_same - self.num_random

    @property
    def num_random(self) -> int:
        """Return how many subwords begin at random."""
        return sum(not rows for rows in self.old_rows)

    def applied(self, old_VD: Tensor, fresh_VD: Tensor) -> Tensor:
        """Return the new matrix: rows of the old one, means of them, and where there is none those of the fresh one."""
        sizes = torch.tensor([len(rows) for rows in self.old_rows])
        chosen_L = torch.tensor([row for rows in self.old_rows for row in rows])
        starts = sizes.cumsum(0) - sizes
        means_VD = F.embedding_bag(chosen_L, old_VD.float(), starts, mode="mean")
        return torch.where((sizes > 0)[:, None], means_VD, fresh_VD.float().cpu())


def vocabulary_change(old: Vocabulary, new: Vocabulary) -> VocabularyChange:
    """Find where the vectors of a new vocabulary come from.

    Raises:
        UserError: the two have no subword in common but special ids and bytes.
    """
    ids = {piece: number for number, piece in enumerate(old.pieces)}
    spelt = iter(_spelt(old, [piece for piece in new.pieces if piece not in ids]))
    rows = tuple((ids[piece],) if piece in ids else next(spelt) for piece in new.pieces)
    same = [piece for piece in new.pieces if piece in ids]
    if not any(ids[piece] >= NUM_SPECIAL and not piece.startswith(_BYTE) for piece in same):
        raise UserError(
            f"{old.path} and {new.path} have no subword in common: nothing of the embeddings could be taken over",
            fix="start from a run of a language of the same script, or train from the beginning",
        )
    return VocabularyChange(rows, len(same), old.size - len(same))


def _spelt(old: Vocabulary, pieces: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the old ids of each piece, without what is unknown; a list of words spells nothing."""
    if not isinstance(old, SubwordModel):
        return [()] * len(pieces)
    return [tuple(number for number in ids if number != UNK) for ids in old.spell(pieces)]
