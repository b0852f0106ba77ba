"""Padding, and batches of similar length."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.inference.search.source_batching import batches_by_length, group_by_length, pad_with_eos, runs_of_like_length
from mtmoe.vocabulary import EOS, PAD


def test_sentences_end_in_eos_and_are_filled_up():
    source_BS, source_lengths_B = pad_with_eos([[7, 8], [], [9]])
    assert source_BS.tolist() == [[7, 8, EOS], [EOS, PAD, PAD], [9, EOS, PAD]]
    assert source_lengths_B.tolist() == [3, 1, 2]
    assert source_BS.dtype == source_lengths_B.dtype == torch.int64


def test_batches_give_the_sources_back_by_their_indices():
    sources = [[5], [6, 7, 8], [9, 9], [], [4, 4]]
    found = {}
    for indices, source_BS, lengths_B in batches_by_length(sources, batch_tokens=6):
        assert source_BS.numel() <= 6
        for index, row_S, length in zip(indices, source_BS.tolist(), lengths_B.tolist(), strict=True):
            found[index] = row_S[: length - 1]
    assert [found[index] for index in range(len(sources))] == sources


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 40))
def test_runs_hold_every_sentence_once_and_little_padding(lengths, fewest):
    longest_first = sorted(lengths, reverse=True)
    runs = [longest_first[run] for run in runs_of_like_length(longest_first, fewest)]
    assert [length for run in runs for length in run] == longest_first
    assert all(4 * length >= 3 * run[0] for run in runs for length in run[fewest:])
    for run, after in itertools.pairwise(runs):
        assert len(run) >= fewest
        assert 4 * after[0] < 3 * run[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 200))
def test_groups_hold_every_sentence_once_and_keep_to_their_tokens(lengths, batch_tokens):
    groups = list(group_by_length(lengths, batch_tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= batch_tokens
    longest = [max(lengths[index] for index in group) for group in groups]
    assert longest == sorted(longest, reverse=True)
