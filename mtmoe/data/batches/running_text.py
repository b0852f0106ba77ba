"""Text that runs on over the ends of sentences, for language models that carry their state along.

The text of a corpus is a ring of N tokens: its sentences one after the other, each with its EOS, and after the last
one the first one again. R rows read it from R places of equal distance, T tokens a batch, and never stop: so the state
after a row's batch is the state before its next one, always. What row 0 reads first is predicted from the last EOS.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mtmoe.data.batches.token_batches import START, Batch, Position
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.errors import UserError
from mtmoe.system.splitmix64 import STEP, mix_array
from mtmoe.vocabulary import EOS, PAD

_LENGTHS_AT_ONCE = 1 << 20


class RunningText:
    """The ring: any stretches of it, without the text in memory."""

    def __init__(self, corpus: ParallelCorpus) -> None:
        self._ids = corpus.target_side.ids
        # Where each sentence's EOS stands.
        self._ends = np.asarray(corpus.target_side.offsets[1:]) + np.arange(len(corpus))
        self.num_tokens = int(self._ends[-1]) + 1 if len(corpus) else 0

    def tokens(self, positions: np.ndarray) -> np.ndarray:
        """Return the tokens at positions of any shape, modulo N (int64)."""
        positions = positions % self.num_tokens
        sentences = np.searchsorted(self._ends, positions)
        is_end = self._ends[sentences] == positions
        ids = self._ids[np.where(is_end, 0, positions - sentences)] if len(self._ids) else np.zeros_like(positions)
        return np.where(is_end, EOS, ids).astype(np.int64)

    def batch(self, starts_B: np.ndarray, length: int, ends_B: np.ndarray | None = None) -> Batch:
        """Make a batch: ``length`` predicted tokens of each row from ``starts_B`` on, fewer where ``ends_B`` comes."""
        positions_BT = starts_B[:, None] + np.arange(-1, length)
        target_BT = self.tokens(positions_BT)
        lengths_B = np.full(len(starts_B), length)
        if ends_B is not None:
            lengths_B = np.clip(ends_B - starts_B, 0, length)
            target_BT[:, 1:][np.arange(length) >= lengths_B[:, None]] = PAD
        no_source = torch.zeros(len(starts_B), dtype=torch.int64)
        return Batch(no_source[:, None][:, :0], no_source, torch.from_numpy(target_BT), torch.from_numpy(lengths_B))


class RunningTextStream:
    """Endless training batches: ``num_rows`` rows of ``bptt_steps`` tokens, or of up to ``spread_tokens`` more or
    fewer, as many in all rows of a batch.

    An epoch is as many batches as a row needs to the place where the next one began; where lengths vary, as many as it
    needs in the mean.
    """

    def __init__(
        self, corpus: ParallelCorpus, *, batch_tokens: int, bptt_steps: int, spread_tokens: int = 0, seed: int = 0
    ) -> None:
        """Lay the text out in rows; raise UserError when it is shorter than one batch.

        seed: the length of a batch is drawn by it and the number of the batch alone.
        """
        self.num_left_out = 0
        self._spread, self._seed = spread_tokens, seed
        self._text = RunningText(corpus)
        self._steps = bptt_steps
        num_rows = batch_tokens // bptt_steps
        if self._text.num_tokens < batch_tokens:
            raise UserError(
                f"{corpus.directory}: has {self._text.num_tokens} tokens, fewer than training.batch_tokens = "
                f"{batch_tokens}",
                fix="lower training.batch_tokens, or give more text",
            )
        self._distance = self._text.num_tokens // num_rows
        self._starts_B = np.arange(num_rows, dtype=np.int64) * self._distance

    def batches(self, start: Position = START) -> Iterator[tuple[Batch, Position]]:
        """Yield batches from ``start`` on for ever, each with the position of the batch after it."""
        epoch, batch = start
        per_epoch = self.num_batches(epoch)
        offset = self._offset(epoch * per_epoch + batch)
        while True:
            length = int(self._lengths(np.array([epoch * per_epoch + batch]))[0])
            epoch, batch = (epoch, batch + 1) if batch + 1 < per_epoch else (epoch + 1, 0)
            yield self._text.batch(self._starts_B + offset, length), Position(epoch, batch)
            offset += length

    def _offset(self, number: int) -> int:
        """Return the tokens that each row has before batch ``number``, which is counted from 0."""
        if not self._spread:
            return number * self._steps
        parts = range(0, number, _LENGTHS_AT_ONCE)
        return sum(int(self._lengths(np.arange(n, min(n + _LENGTHS_AT_ONCE, number))).sum()) for n in parts)

    def _lengths(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tokens of a row in batches of these numbers: evenly drawn from the spread around bptt_steps."""
        if not self._spread:
            return np.full(len(numbers), self._steps)
        keys = np.array([self._seed], np.uint64)
        bits = mix_array(numbers.astype(np.uint64) * np.uint64(STEP % (1 << 64)) + mix_array(keys))
        return self._steps - self._spread + (bits % np.uint64(2 * self._spread + 1)).astype(np.int64)

    def num_batches(self, epoch: int) -> int:
        """Return the number of batches, which is the same for every epoch."""
        return -(-self._distance // self._steps)


def rows_of_text(corpus: ParallelCorpus, num_rows: int, length: int) -> Iterator[Batch]:
    """Yield every token of the text once, for evaluation: in ``num_rows`` rows that each go on from batch to batch.

    With one row, each token is predicted from all of the text before it.
    """
    text = RunningText(corpus)
    distance = -(-text.num_tokens // num_rows)
    starts_B = np.arange(num_rows, dtype=np.int64) * distance
    ends_B = np.minimum(starts_B + distance, text.num_tokens)
    for offset in range(0, distance, length):
        yield text.batch(starts_B + offset, min(length, distance - offset), ends_B)
