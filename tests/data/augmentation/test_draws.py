"""Which pairs are changed: by seed, epoch and pair alone, in the shares of the settings."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.config.settings import Augmentation
from mtmoe.data.augmentation.draws import Kinds, draws_of

SETTINGS = Augmentation(
    upper=0.1, title=0.2, lower=0.3, noise=0.05, no_punctuation=0.4, typos=0.15, items=0.25, merged=0.5
)


def test_kinds_have_their_shares_and_those_of_case_exclude_each_other():
    draws = draws_of(np.arange(40_000), 3, 1, SETTINGS)
    exclusive = np.stack(draws[:4])
    assert exclusive.sum(axis=0).max() == 1
    assert exclusive.mean(axis=1) == pytest.approx([0.1, 0.2, 0.3, 0.05], abs=0.01)
    others = np.stack(draws[4:8])
    assert not others[:, draws.noise_B].any()
    assert others[:, ~draws.noise_B].mean(axis=1) == pytest.approx([0.4, 0.15, 0.25, 0.5], abs=0.01)
    assert np.quantile(draws.partner_B, [0, 0.5, 1]) == pytest.approx([0, 0.5, 1], abs=0.01)
    both = (draws.typos_B & draws.items_B)[~draws.noise_B].mean()
    assert both == pytest.approx(0.15 * 0.25, abs=0.005), "they are independent"


def test_the_draw_of_a_pair_does_not_depend_on_the_pairs_beside_it():
    whole = draws_of(np.arange(1000), 2, 7, SETTINGS)
    chosen = np.array([999, 3, 500], np.uint32)
    some = draws_of(chosen, 2, 7, SETTINGS)
    assert [some.of(row) for row in range(3)] == [whole.of(index) for index in chosen]
    assert some.partner_B.tolist() == whole.partner_B[chosen].tolist()


@pytest.mark.parametrize(("epoch", "seed"), [(1, 7), (0, 8)])
def test_another_epoch_and_another_seed_draw_anew(epoch, seed):
    one, other = draws_of(np.arange(2000), 0, 7, SETTINGS), draws_of(np.arange(2000), epoch, seed, SETTINGS)
    same = np.mean(one.no_punctuation_B == other.no_punctuation_B)
    assert same == pytest.approx(0.4 * 0.4 + 0.6 * 0.6, abs=0.05), "as of two that know nothing of each other"


def test_nothing_is_drawn_with_a_share_of_0_and_everything_with_1():
    only = dict.fromkeys(Augmentation.model_fields, 0.0) | {"typo_rate": 0.1}
    draws = draws_of(np.arange(500), 0, 1, Augmentation(**only | {"upper": 1.0}))
    assert {draws.of(row) for row in range(500)} == {Kinds(upper=True)}
    assert draws.any_B.all()
