"""Batches: what is in them, in which order, and how much of them is padding."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Subwords, SubwordSampling
from mtmoe.data.batches.token_batches import START, Batch, BatchStream, Position, batch_of, sequential_batches
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.data.prepared.encoding import encode_corpus
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, sentences_of, train_subwords
from mtmoe.errors import UserError
from mtmoe.vocabulary import BOS, EOS, PAD


def write(directory, sources, targets, parts=()):
    with CorpusWriter(directory, 60_000) as writer:
        writer.write(chunk_of(sources, targets))
        writer.finish(parts or [Part("all", 1.0, len(sources))])
    return ParallelCorpus(directory)


def numbered_corpus(directory, num_pairs=500, parts=(), mean_tokens=12.0, seed=0):
    """Pair i says i in its first source subword; lengths are spread like those of sentences."""
    generator = np.random.default_rng(seed)
    source_lengths = np.clip(generator.gamma(6, mean_tokens / 6, num_pairs), 1, 60).astype(int)
    target_lengths = np.clip(source_lengths * generator.normal(1.05, 0.2, num_pairs), 1, 80).astype(int)
    sources = [[100 + i] + [50] * (n - 1) for i, n in enumerate(source_lengths)]
    targets = [[100 + i] + [60] * (n - 1) for i, n in enumerate(target_lengths)]
    return write(directory, sources, targets, parts)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return numbered_corpus(tmp_path_factory.mktemp("corpus") / "c")


def stream_of(corpus, **changes):
    settings = {"batch_tokens": 256, "max_tokens_per_sentence": 100, "seed": 1, "pairs_per_pool": 120}
    return BatchStream(corpus, **settings | changes)


def epoch_of(stream, epoch=0):
    batches = itertools.takewhile(lambda b: b[0] < epoch + 1, _with_own_epoch(stream, Position(epoch, 0)))
    return [batch for _, batch in batches]


def _with_own_epoch(stream, start):
    position = start
    for batch, following in stream.batches(start):
        yield position.epoch, batch
        position = following


def pairs_of(batch):
    return (batch.source_BS[:, 0] - 100).tolist()


def equal(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(a, b) for x, y in zip(batches, others, strict=True) for a, b in zip(x, y, strict=True)
    )


def slow_batch(sources, targets):
    """The obvious way to make a batch."""
    S = max(map(len, sources)) + 1
    T = max(map(len, targets)) + 2
    return Batch(
        torch.tensor([[*s, EOS, *[PAD] * (S - len(s) - 1)] for s in sources]),
        torch.tensor([len(s) + 1 for s in sources]),
        torch.tensor([[BOS, *t, EOS, *[PAD] * (T - len(t) - 2)] for t in targets]),
        torch.tensor([len(t) + 1 for t in targets]),
    )


# --------------------------------------------------------------------------------------------- one batch


def test_a_batch_is_laid_out_as_the_model_reads_it():
    batch = batch_of([[7, 8, 9], [5]], [[4], [6, 7]])
    assert batch.source_BS.tolist() == [[7, 8, 9, EOS], [5, EOS, PAD, PAD]]
    assert batch.target_BT.tolist() == [[BOS, 4, EOS, PAD], [BOS, 6, 7, EOS]]
    assert batch.source_lengths_B.tolist() == [4, 2]
    assert batch.target_lengths_B.tolist() == [2, 3]
    assert (batch.num_source_tokens, batch.num_target_tokens) == (6, 5)
    assert {tensor.dtype for tensor in batch} == {torch.int64}


def test_empty_sentences_are_their_end_alone():
    batch = batch_of([[], []], [[], [5]])
    assert batch.source_BS.tolist() == [[EOS], [EOS]]
    assert batch.target_BT.tolist() == [[BOS, EOS, PAD], [BOS, 5, EOS]]


def test_batches_of_a_corpus_equal_those_made_the_slow_way(corpus):
    for batch in epoch_of(stream_of(corpus)):
        pairs = pairs_of(batch)
        expected = slow_batch([corpus.source(i).tolist() for i in pairs], [corpus.target(i).tolist() for i in pairs])
        assert equal([batch], [expected])


def test_a_batch_moves_to_a_device_as_a_whole():
    moved = batch_of([[7]], [[8]]).to("meta")
    assert isinstance(moved, Batch)
    assert {tensor.device.type for tensor in moved} == {"meta"}


@pytest.mark.parametrize(("sources", "targets"), [([], []), ([[4]], [[5], [6]])])
def test_a_batch_needs_pairs(sources, targets):
    with pytest.raises(ValueError, match="make no batch"):
        batch_of(sources, targets)


# ------------------------------------------------------------------------------------------------- epochs


def test_an_epoch_visits_every_pair_once(corpus):
    stream = stream_of(corpus)
    visited = [i for batch in epoch_of(stream) for i in pairs_of(batch)]
    assert sorted(visited) == list(range(len(corpus)))
    assert len(epoch_of(stream)) == stream.num_batches(0)


@pytest.mark.parametrize("batch_tokens", [101, 256, 1000])
def test_no_batch_is_over_the_budget(corpus, batch_tokens):
    for batch in epoch_of(stream_of(corpus, batch_tokens=batch_tokens)):
        longest = max(batch.source_BS.shape[1], batch.target_BT.shape[1] - 1)
        assert len(batch.source_BS) * longest <= batch_tokens


def test_the_same_seed_gives_the_same_batches(corpus):
    assert equal(epoch_of(stream_of(corpus)), epoch_of(stream_of(corpus)))


def test_epochs_and_seeds_differ_in_their_order_and_their_batches(corpus):
    first = [pairs_of(batch) for batch in epoch_of(stream_of(corpus), 0)]
    for other in (epoch_of(stream_of(corpus), 1), epoch_of(stream_of(corpus, seed=2), 0)):
        assert not {tuple(sorted(pairs)) for pairs in first} & {
            tuple(sorted(pairs_of(batch))) for batch in other if len(batch.source_BS) > 3
        }


def test_short_and_long_batches_come_in_random_order(corpus):
    widths = [batch.target_BT.shape[1] for batch in epoch_of(stream_of(corpus, pairs_per_pool=1000))]
    rising = sum(a < b for a, b in itertools.pairwise(widths)) / len(widths)
    assert 0.25 < rising < 0.75


def test_a_stream_that_starts_anywhere_gives_what_one_that_ran_through_gave(corpus):
    stream = stream_of(corpus)
    num_batches = stream.num_batches(0) + stream.num_batches(1)
    positions, batches = [START], []
    for batch, following in itertools.islice(stream.batches(), num_batches):
        batches.append(batch)
        positions.append(following)
    assert positions[-1] == Position(2, 0)
    for begin in (0, 1, 7, stream.num_batches(0) - 1, stream.num_batches(0), num_batches - 2):
        resumed = stream_of(corpus).batches(positions[begin])
        some = [batch for batch, _ in itertools.islice(resumed, min(5, num_batches - begin))]
        assert equal(some, batches[begin : begin + 5])


def test_a_position_beyond_the_end_of_an_epoch_is_the_start_of_the_next(corpus):
    stream = stream_of(corpus)
    batch, following = next(stream.batches(Position(0, stream.num_batches(0))))
    assert following == Position(1, 1)
    assert equal([batch], [epoch_of(stream, 1)[0]])


def test_a_start_in_the_middle_does_not_build_the_batches_before_it(corpus, monkeypatch):
    built = []
    stream = stream_of(corpus)
    build = stream.build_batch
    monkeypatch.setattr(stream, "build_batch", lambda *arguments: built.append(1) or build(*arguments))
    next(stream.batches(Position(0, 20)))
    assert len(built) == 1


# ------------------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize(("batch_tokens", "most"), [(1024, 0.03), (2048, 0.05), (4096, 0.08)])
def test_little_of_a_batch_is_padding(tmp_path, batch_tokens, most):
    # As many pairs, and as long, as Multi30k has.
    corpus = numbered_corpus(tmp_path / "c", num_pairs=29_000, mean_tokens=14.7)
    stream = BatchStream(corpus, batch_tokens=batch_tokens, max_tokens_per_sentence=200, seed=1)
    batches = epoch_of(stream)
    num_places = sum(batch.source_BS.numel() + batch.target_BT[:, 1:].numel() for batch in batches)
    num_tokens = sum(batch.num_source_tokens + batch.num_target_tokens for batch in batches)
    assert 1 - num_tokens / num_places < most
    # Full batches, too: one sentence a batch has no padding either.
    assert num_tokens / len(batches) > 0.8 * 2 * batch_tokens


# --------------------------------------------------------------------------------------------- left out


def test_pairs_too_long_on_either_side_are_left_out_and_counted(tmp_path):
    sources = [[100] * 10, [101] * 11, [102] * 3, [103] * 10]
    targets = [[5] * 10, [5] * 3, [5] * 11, [5] * 1]
    stream = stream_of(write(tmp_path / "c", sources, targets), max_tokens_per_sentence=10)
    assert stream.num_left_out == 2
    assert sorted(i for batch in epoch_of(stream) for i in pairs_of(batch)) == [0, 3]


def test_a_sentence_that_fills_the_budget_without_its_end_is_left_out(tmp_path):
    corpus = write(tmp_path / "c", [[100] * 10, [101] * 9], [[5], [5]])
    stream = stream_of(corpus, batch_tokens=10, max_tokens_per_sentence=10)
    assert stream.num_left_out == 1
    assert [pairs_of(batch) for batch in epoch_of(stream)] == [[1]]


def test_nothing_short_enough_is_an_error(tmp_path):
    corpus = write(tmp_path / "c", [[4] * 30] * 2, [[5] * 3] * 2)
    with pytest.raises(UserError, match=r"none of the 2 pairs has at most 20 subwords .*\n.*max_tokens_per_sentence"):
        stream_of(corpus, max_tokens_per_sentence=20)


# ------------------------------------------------------------------------------------------------ weights


@pytest.fixture
def weighted(tmp_path):
    parts = [Part("whole", 1.0, 100), Part("often", 2.5, 40), Part("seldom", 0.25, 60)]
    return numbered_corpus(tmp_path / "c", num_pairs=200, parts=parts)


def test_an_epoch_goes_through_a_part_as_often_as_its_weight_says(weighted):
    visits = Counter(i for batch in epoch_of(stream_of(weighted)) for i in pairs_of(batch))
    assert sorted(visits[i] for i in range(100)) == [1] * 100
    assert sorted(visits[i] for i in range(100, 140)) == [2] * 20 + [3] * 20
    assert sorted(visits[i] for i in range(140, 200)) == [0] * 45 + [1] * 15


def test_fractions_of_a_part_go_through_all_of_it_before_they_repeat(weighted):
    stream = stream_of(weighted)
    visits = Counter(i for epoch in range(4) for batch in epoch_of(stream, epoch) for i in pairs_of(batch))
    assert [visits[i] for i in range(140, 200)] == [1] * 60
    assert [visits[i] for i in range(100, 140)] == [10] * 40


def test_weights_too_small_for_the_text_are_an_error(tmp_path):
    corpus = write(tmp_path / "c", [[4]] * 2, [[5]] * 2, [Part("rare", 0.1, 2)])
    with pytest.raises(UserError, match="an epoch has no pairs; the weights are too small"):
        next(stream_of(corpus).batches())


# -------------------------------------------------------------------------------------------- dev batches


def test_a_dev_set_is_read_whole_and_always_in_the_same_batches(corpus):
    batches = list(sequential_batches(corpus, 256))
    assert sorted(i for batch in batches for i in pairs_of(batch)) == list(range(len(corpus)))
    assert equal(batches, list(sequential_batches(corpus, 256)))


def test_a_dev_sentence_over_the_budget_is_a_batch_of_its_own(tmp_path):
    corpus = write(tmp_path / "c", [[100] * 3, [101] * 50, [102] * 4], [[5], [5], [5]])
    batches = [pairs_of(batch) for batch in sequential_batches(corpus, 10)]
    assert [1] in batches
    assert sorted(i for pairs in batches for i in pairs) == [0, 1, 2]


def test_an_empty_dev_set_has_no_batches(tmp_path):
    assert list(sequential_batches(write(tmp_path / "c", [], []), 10)) == []


# ----------------------------------------------------------------------------------------------- sampling


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    generator = np.random.default_rng(3)
    words = ["".join(generator.choice(list("abdeghiklmnorstu"), generator.integers(2, 7))) for _ in range(100)]
    pairs = [
        (" ".join(generator.choice(words, 6)), " ".join(generator.choice(words, generator.integers(3, 12))))
        for _ in range(300)
    ]
    directory = tmp_path_factory.mktemp("sampling")
    train_subwords(sentences_of(pairs, "both"), Subwords(vocabulary_size=350), directory / "subwords.model", seed=1)
    encode_corpus(pairs, directory / "subwords.model", directory / "corpus")
    return SubwordModel(directory / "subwords.model")


@pytest.fixture
def sampled(subwords):
    corpus = ParallelCorpus(subwords.path.parent / "corpus")

    def stream(sides="both", **changes):
        sampling = SubwordSampling(alpha=0.1, sides=sides)
        return stream_of(corpus, subword_sampling=sampling, subword_model=subwords, **changes)

    return stream


def rows_of(batch):
    """Target ids without BOS, and how many of them are subwords."""
    return zip(batch.target_BT[:, 1:].tolist(), (batch.target_lengths_B - 1).tolist(), strict=True)


def texts_of(ids_BT, subwords):
    return sorted(subwords.decode_batch(ids_BT.tolist()))


def test_sampled_batches_say_the_same_text_in_other_subwords(sampled, subwords):
    corpus = ParallelCorpus(subwords.path.parent / "corpus")
    batches = epoch_of(sampled())
    stored = sorted(subwords.decode(corpus.target(i)) for i in range(len(corpus)))
    assert sorted(text for batch in batches for text in texts_of(batch.target_BT, subwords)) == stored
    ids_of = {tuple(corpus.target(i)) for i in range(len(corpus))}
    drawn = [tuple(row[:length]) for batch in batches for row, length in rows_of(batch)]
    assert sum(ids not in ids_of for ids in drawn) > len(corpus) / 4
    num_tokens = sum(batch.num_target_tokens for batch in batches)
    assert num_tokens > corpus.num_target_tokens + len(corpus)  # the likeliest segmentation has few pieces


def test_another_epoch_draws_other_segmentations(sampled):
    totals = {sum(batch.num_target_tokens for batch in epoch_of(sampled(), epoch)) for epoch in range(3)}
    assert len(totals) == 3


def test_sampled_batches_resume_exactly(sampled):
    batches = [batch for batch, _ in itertools.islice(sampled().batches(), 30)]
    resumed = [batch for batch, _ in itertools.islice(sampled().batches(Position(0, 11)), 10)]
    assert equal(resumed, batches[11:21])


def test_sampled_batches_keep_the_budget(sampled):
    for batch in epoch_of(sampled(batch_tokens=120)):
        assert len(batch.source_BS) * max(batch.source_BS.shape[1], batch.target_BT.shape[1] - 1) <= 120


def test_only_the_source_is_sampled_when_the_recipe_says_so(sampled, subwords):
    corpus = ParallelCorpus(subwords.path.parent / "corpus")
    batches = epoch_of(sampled(sides="source"))
    assert sum(batch.num_target_tokens for batch in batches) == corpus.num_target_tokens + len(corpus)
    assert sum(batch.num_source_tokens for batch in batches) > corpus.num_source_tokens + len(corpus)


def test_sampling_needs_the_model_and_the_model_needs_sampling(corpus, subwords):
    for changes in ({"subword_sampling": SubwordSampling()}, {"subword_model": subwords}):
        with pytest.raises(ValueError, match="together or not at all"):
            stream_of(corpus, **changes)
