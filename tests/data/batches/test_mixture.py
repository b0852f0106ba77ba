"""Mixtures that change: each epoch has the weights of its stage, and from any position the same batches follow."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from mtmoe.config.settings import WeightChange
from mtmoe.data.batches.mixture import Mixture
from mtmoe.data.batches.token_batches import START, BatchStream
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.errors import UserError

PARTS = [Part("bt", 1.0, 60), Part("my", 0.5, 40)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ParallelCorpus:
    """Pair i says i in its first subword."""
    directory = tmp_path_factory.mktemp("corpus") / "c"
    sentences = [[100 + number] + [50] * (number % 7) for number in range(100)]
    with CorpusWriter(directory, 60_000) as writer:
        writer.write(chunk_of(sentences, sentences))
        writer.finish(PARTS)
    return ParallelCorpus(directory)


def stream_of(corpus: ParallelCorpus, mixture: Mixture | None) -> BatchStream:
    return BatchStream(corpus, batch_tokens=40, max_tokens_per_sentence=30, seed=1, mixture=mixture, pairs_per_pool=30)


def visits(batches) -> Counter:
    """How many pairs of each part there are."""
    pairs = [int(token) - 100 for batch in batches for token in batch.source_BS[:, 0]]
    return Counter("bt" if pair < 60 else "my" for pair in pairs)


def of_epochs(stream: BatchStream, num_epochs: int) -> list[Counter]:
    """The visits in each of the first epochs."""
    epochs, position = [[] for _ in range(num_epochs)], START
    for batch, following in stream.batches():
        if position.epoch == num_epochs:
            return [visits(batches) for batches in epochs]
        epochs[position.epoch].append(batch)
        position = following
    raise AssertionError


BY_EPOCH = (
    WeightChange(source="my", weight=0.0, from_epoch=0),
    WeightChange(source="my", weight=1.0, from_epoch=2),
    WeightChange(source="bt", weight=0.25, from_epoch=2),
    WeightChange(source="bt", weight=0.0, from_epoch=3),
)
BY_STEP = (
    WeightChange(source="my", weight=0.0, from_step=0),
    WeightChange(source="bt", weight=0.0, from_step=4),
    WeightChange(source="my", weight=2.0, from_step=4),
    WeightChange(source="bt", weight=1.0, from_step=9),
)


@pytest.mark.parametrize("order", [1, -1])
def test_each_epoch_has_the_weights_of_its_stage(corpus: ParallelCorpus, order: int) -> None:
    epochs = of_epochs(stream_of(corpus, Mixture(PARTS, BY_EPOCH[::order])), 5)
    assert epochs == [{"bt": 60}, {"bt": 60}, {"bt": 15, "my": 40}, {"my": 40}, {"my": 40}]


def test_without_changes_the_weights_are_those_of_the_parts_and_the_batches_as_ever(corpus: ParallelCorpus) -> None:
    plain = list(itertools.islice(stream_of(corpus, None).batches(), 40))
    same = list(itertools.islice(stream_of(corpus, Mixture(PARTS)).batches(num_read=7), 40))
    assert all(torch.equal(a.source_BS, b.source_BS) and x == y for (a, x), (b, y) in zip(plain, same, strict=True))
    assert of_epochs(stream_of(corpus, None), 2) == [{"bt": 60, "my": 20}] * 2


def test_a_step_ends_the_epoch_that_is_under_way(corpus: ParallelCorpus) -> None:
    batches_per_step = 3
    mixture = Mixture(PARTS, BY_STEP, batches_per_step=batches_per_step)
    found = list(itertools.islice(stream_of(corpus, mixture).batches(), 60))
    first, second, third = found[:12], found[12:27], found[27:]
    assert set(visits(batch for batch, _ in first)) == {"bt"}
    assert set(visits(batch for batch, _ in second)) == {"my"}
    assert set(visits(batch for batch, _ in third)) == {"bt", "my"}
    # Each stage begins with an epoch of its own: until then no pair of that epoch was read.
    assert second[0][1].batch == third[0][1].batch == 1
    assert [following.epoch for _, following in second] == sorted(following.epoch for _, following in second)


@pytest.mark.parametrize("changes", [BY_EPOCH, BY_STEP], ids=["epochs", "steps"])
def test_from_every_position_the_same_batches_follow(corpus: ParallelCorpus, changes: tuple[WeightChange, ...]) -> None:
    stream = stream_of(corpus, Mixture(PARTS, changes, batches_per_step=2))
    whole = list(itertools.islice(stream.batches(), 60))
    for num_read in range(1, 55):
        position = whole[num_read - 1][1]
        rest = itertools.islice(stream.batches(position, num_read=num_read), 5)
        for (batch, following), (other, expected) in zip(rest, whole[num_read:], strict=False):
            assert following == expected
            assert torch.equal(batch.source_BS, other.source_BS)
            assert torch.equal(batch.target_BT, other.target_BT)


def test_a_part_that_the_text_lacks_is_named(corpus: ParallelCorpus) -> None:
    with pytest.raises(UserError, match=r"no source of the text is named 'mine'; it has bt, my"):
        Mixture(PARTS, [WeightChange(source="mine", weight=1.0, from_epoch=1)])
