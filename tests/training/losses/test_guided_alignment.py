"""Guided alignment: the alignment and the loss against loops, and what a training with it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtmoe.data.batches.padding import Batch, batch_of
from mtmoe.data.prepared.translation_table import NOTHING, TranslationTable
from mtmoe.training.losses.guided_alignment import SubwordAligner, guided_alignment_loss
from mtmoe.vocabulary import EOS

SIZE = 40
CPU = torch.device("cpu")
SOURCES = [[5, 6, 7, 5], [8], [9, 10, 11, 12, 13]]
TARGETS = [[20, 21, 22], [23, 24, 25, 26], [27]]


@pytest.fixture
def table() -> TranslationTable:
    """Half of all pairs, some of them in one direction alone."""
    generator = np.random.default_rng(1)
    keys = np.sort(generator.choice(SIZE * SIZE, SIZE * SIZE // 2, replace=False))
    source_P, target_P = np.divmod(keys.astype(np.int32), SIZE)
    both = generator.random((2, len(keys))).astype(np.float32)
    both[generator.random(both.shape) < 0.2] = 0.0
    return TranslationTable(source_P, target_P, *both)


def posterior(
    given: list[int], made: list[int], probability: dict[tuple[int, int], float]
) -> dict[tuple[int, int], float]:
    """Return by the places of what is given and what is made how likely the one made the other."""
    result = {}
    for j, one in enumerate(made):
        near = [math.exp(-4 * abs((i + 0.5) / len(given) - (j + 0.5) / len(made))) for i in range(len(given))]
        weights = [
            0.92 * each / sum(near) * probability.get((word, one), 0.0) for each, word in zip(near, given, strict=True)
        ]
        total = sum(weights) + 0.08 * probability.get((NOTHING, one), 0.0)
        result |= {(i, j): weight / total if total else 0.0 for i, weight in enumerate(weights)}
    return result


def by_hand(table: TranslationTable, batch: Batch, sources: list[list[int]], targets: list[list[int]]) -> torch.Tensor:
    rows = list(zip(*(array.tolist() for array in table), strict=True))
    forward, backward = {(s, t): p for s, t, p, _ in rows}, {(t, s): p for s, t, _, p in rows}
    result_BTS = torch.zeros(len(sources), batch.target_BT.shape[1] - 1, batch.source_BS.shape[1])
    for b, (source, target) in enumerate(zip(sources, targets, strict=True)):
        of_target, of_source = posterior(source, target, forward), posterior(target, source, backward)
        for s in range(len(source)):
            for t in range(len(target)):
                result_BTS[b, t, s] = math.sqrt(of_target[s, t] * of_source[t, s])
        result_BTS[b, len(target), len(source)] = 1.0
    return result_BTS


def test_the_alignment_is_the_geometric_mean_of_the_posteriors_of_both_directions(table):
    batch = batch_of(SOURCES, TARGETS)
    found_BTS = SubwordAligner(table, SIZE, CPU).align(batch)
    assert found_BTS.dtype == torch.float32
    torch.testing.assert_close(found_BTS, by_hand(table, batch, SOURCES, TARGETS))


def test_without_a_word_in_the_table_only_the_ends_are_aligned(table):
    nothing = TranslationTable(*(array[:0] for array in table))
    batch = batch_of(SOURCES, TARGETS)
    found_BTS = SubwordAligner(nothing, SIZE, CPU).align(batch)
    assert found_BTS.sum() == len(SOURCES)
    for b, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        assert found_BTS[b, len(target), len(source)] == 1.0
        assert batch.source_BS[b, len(source)] == EOS


def test_a_batch_without_rows_has_an_alignment_without_rows(table):
    none = Batch(*(tensor[:0] for tensor in batch_of(SOURCES, TARGETS)))
    alignment_BTS = SubwordAligner(table, SIZE, CPU).align(none)
    assert alignment_BTS.shape == (0, 5, 6)
    assert guided_alignment_loss([torch.zeros(0, 5, 6)], alignment_BTS) == 0.0


def test_the_loss_is_the_cross_entropy_and_its_gradient_that_of_autograd_by_hand(table):
    alignment_BTS = SubwordAligner(table, SIZE, CPU).align(batch_of(SOURCES, TARGETS)).double()
    scores = [torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss = guided_alignment_loss([each.softmax(2) for each in scores], alignment_BTS)
    loss.backward()
    expected = 0.0
    for each in scores:
        for weights_S, aligned_S in zip(each.softmax(2).flatten(0, 1), alignment_BTS.flatten(0, 1), strict=True):
            for weight, aligned in zip(weights_S.tolist(), aligned_S.tolist(), strict=True):
                expected -= aligned * math.log(weight + 1e-6) / 2
    assert loss.item() == pytest.approx(expected)
    for each in scores:  # of softmax and cross-entropy: what is there less what should be
        gradient_BTS = (each.softmax(2) * alignment_BTS.sum(2, keepdim=True) - alignment_BTS) / 2
        torch.testing.assert_close(each.grad, gradient_BTS, rtol=0, atol=1e-4)  # the floor of 1e-6
