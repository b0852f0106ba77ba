"""Running text: a ring of tokens that rows read from different places and never stop."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mtmoe.data.batches.running_text import RunningText, RunningTextStream, rows_of_text
from mtmoe.data.batches.token_batches import Position
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.errors import UserError
from mtmoe.vocabulary import EOS

SENTENCES = [[10, 11, 12], [], [13], [14, 15, 16, 17, 18], [19, 20]]
RING = [10, 11, 12, EOS, EOS, 13, EOS, 14, 15, 16, 17, 18, EOS, 19, 20, EOS]


@pytest.fixture
def corpus(tmp_path: Path) -> ParallelCorpus:
    with CorpusWriter(tmp_path / "corpus", 32) as writer:
        writer.write(chunk_of([[] for _ in SENTENCES], SENTENCES))
        writer.finish([Part("all", 1.0, len(SENTENCES))])
    return ParallelCorpus(tmp_path / "corpus")


def test_the_text_is_a_ring_of_sentences_with_their_ends(corpus):
    text = RunningText(corpus)
    assert text.num_tokens == len(RING)
    assert text.tokens(np.arange(-1, 2 * len(RING))).tolist() == [EOS, *RING, *RING]


def test_each_row_goes_on_where_its_last_batch_ended_for_ever(corpus):
    stream = RunningTextStream(corpus, batch_tokens=6, bptt_steps=3)
    batches = [batch for batch, _ in itertools.islice(stream.batches(), 9)]
    for row, start in ((0, 0), (1, 8)):
        labels = [token for batch in batches for token in batch.target_BT[row, 1:].tolist()]
        assert labels == [RING[(start + i) % len(RING)] for i in range(27)]
        inputs = [token for batch in batches for token in batch.target_BT[row, :-1].tolist()]
        assert inputs == [RING[(start - 1 + i) % len(RING)] for i in range(27)]
    assert all(batch.target_lengths_B.tolist() == [3, 3] for batch in batches)
    assert all(tuple(batch.source_BS.shape) == (2, 0) for batch in batches)


def test_any_position_is_reached_without_the_batches_before_it(corpus):
    stream = RunningTextStream(corpus, batch_tokens=6, bptt_steps=3)
    assert stream.num_batches(0) == 3  # 8 tokens from row to row
    whole = list(itertools.islice(stream.batches(), 10))
    positions = [Position(0, 0), *(position for _, position in whole)]
    assert positions[:5] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for number, position in enumerate(positions[:-1]):
        batch, following = next(stream.batches(position))
        assert batch.target_BT.tolist() == whole[number][0].target_BT.tolist()
        assert following == positions[number + 1]


def test_lengths_that_vary_leave_no_token_out_and_are_drawn_by_seed_and_batch(corpus):
    stream = RunningTextStream(corpus, batch_tokens=6, bptt_steps=3, spread_tokens=2, seed=4)
    whole = list(itertools.islice(stream.batches(), 400))
    lengths = [batch.target_BT.shape[1] - 1 for batch, _ in whole]
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert all(
        batch.target_lengths_B.tolist() == [length] * 2 for (batch, _), length in zip(whole, lengths, strict=True)
    )
    for length in range(1, 6):
        assert lengths.count(length) == pytest.approx(80, abs=30)
    for row, start in ((0, 0), (1, 8)):
        labels = [token for batch, _ in whole for token in batch.target_BT[row, 1:].tolist()]
        assert labels == [RING[(start + i) % len(RING)] for i in range(sum(lengths))]
    positions = [Position(0, 0), *(position for _, position in whole)]
    for number in (0, 1, 7, 250):
        batch, following = next(stream.batches(positions[number]))
        assert batch.target_BT.tolist() == whole[number][0].target_BT.tolist()
        assert following == positions[number + 1]
    other = RunningTextStream(corpus, batch_tokens=6, bptt_steps=3, spread_tokens=2, seed=5)
    assert [batch.target_BT.shape[1] - 1 for batch, _ in itertools.islice(other.batches(), 400)] != lengths


@pytest.mark.parametrize("num_rows", [1, 3, 20])
@pytest.mark.parametrize("length", [2, 5, 100])
def test_evaluation_predicts_every_token_once(corpus, num_rows, length):
    predicted: dict[int, list[int]] = {}
    for batch in rows_of_text(corpus, num_rows, length):
        for row, (target, number) in enumerate(
            zip(batch.target_BT.tolist(), batch.target_lengths_B.tolist(), strict=True)
        ):
            predicted.setdefault(row, []).extend(target[1 : 1 + number])
    assert [token for row in sorted(predicted) for token in predicted[row]] == RING


def test_a_text_shorter_than_a_batch_is_an_error_with_both_numbers(corpus):
    with pytest.raises(UserError, match=r"has 16 tokens, fewer than training\.batch_tokens = 18"):
        RunningTextStream(corpus, batch_tokens=18, bptt_steps=3)
