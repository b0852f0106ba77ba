from __future__ import annotations

import pytest
import torch

from mtmoe.model.dropout import Dropout
from mtmoe.model.ops import keyed_noise as noise
from mtmoe.model.ops.keyed_noise import TokenNoise, normal_of_keys

LENGTHS_B = torch.tensor([4, 1, 6, 3])


def noise_of(rows: list[int], length: int = 6, seed: int = 7, side: int = 0) -> TokenNoise:
    """Of some of the four sentences."""
    made = TokenNoise(side)
    made.begin(seed, torch.tensor(rows), LENGTHS_B[rows], length)
    return made


def test_a_sentence_has_the_same_numbers_whatever_is_beside_it():
    whole, part = noise_of([0, 1, 2, 3]), noise_of([2, 0])
    assert torch.equal(whole.words(torch.Size((4, 6, 8)), 2)[[2, 0]], part.words(torch.Size((2, 6, 8)), 2))
    # Tokens of the four sentences: 0-3, 4, 5-10, 11-13.
    chosen = [5, 6, 7, 8, 9, 10, 0, 1, 2, 3]
    assert torch.equal(whole.words(torch.Size((14, 8)), 2)[chosen], part.words(torch.Size((10, 8)), 2))
    like, few = torch.zeros(14, 5), torch.zeros(10, 5)
    assert torch.equal(whole.normal(like)[chosen], part.normal(few))
    wide, narrow = noise_of([0, 1], length=6), noise_of([0, 1], length=4)
    assert torch.equal(wide.words(torch.Size((2, 6, 8)), 2)[:, :4], narrow.words(torch.Size((2, 4, 8)), 2))
    with pytest.raises(ValueError, match="4 rows are not the 14 tokens of the batch"):
        whole.words(torch.Size((4, 8)), 2)


def test_rows_of_one_token_in_several_groups_have_numbers_that_only_token_and_group_decide():
    tokens_R, groups_R = torch.tensor([3, 3, 8]), torch.tensor([0, 2, 0])
    drawn = normal_of_keys(noise_of([0, 1, 2, 3]).row_keys(tokens_R, groups_R), torch.zeros(3, 4))
    turned = normal_of_keys(noise_of([0, 1, 2, 3]).row_keys(tokens_R.flip(0), groups_R.flip(0)), torch.zeros(3, 4))
    assert torch.equal(drawn, turned.flip(0))
    assert len(drawn.flatten().unique()) == 12


def test_another_draw_position_seed_or_side_is_another_number():
    first = noise_of([0, 1, 2, 3])
    words = [first.words(torch.Size((4, 6, 8)), 2) for _ in range(2)]
    words += [noise_of([0, 1, 2, 3], seed=8).words(torch.Size((4, 6, 8)), 2)]
    words += [noise_of([0, 1, 2, 3], side=1).words(torch.Size((4, 6, 8)), 2)]
    everything = torch.cat([w.flatten() for w in words])
    assert len(everything.unique()) == len(everything)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_normal(dtype):
    made = TokenNoise(0)
    made.begin(1, torch.arange(400), torch.full((400,), 10), 10)
    drawn = made.normal(torch.zeros(4000, 50, dtype=dtype)).double()
    assert drawn.isfinite().all()
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert float((drawn**power).mean()) == pytest.approx(moment, abs=0.06)
    assert float((drawn.abs() < 0.5).double().mean()) == pytest.approx(0.382925, abs=0.004)
    covariance = drawn.t() @ drawn / 4000
    assert float((covariance - torch.eye(50)).abs().max()) < 0.1
    neighbours = drawn[1:] * drawn[:-1]
    assert float(neighbours.mean()) == pytest.approx(0.0, abs=0.01)


def test_the_smallest_draw_is_no_infinity():
    words = torch.full((1, 1), -(2**63)) + (1 << 31)  # both halves: -2^31
    assert noise._normal(words, torch.zeros(1, 2)).isfinite().all()


@pytest.mark.parametrize("shape", [(4, 6, 50), (14, 50)])
def test_dropout_with_it_drops_its_share(shape):
    layer = Dropout(0.3, noise_of([0, 1, 2, 3])).train()
    kept = torch.stack([layer(torch.ones(shape)) for _ in range(200)])
    assert float((kept == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
