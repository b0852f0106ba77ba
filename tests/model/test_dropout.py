from __future__ import annotations

import pytest
import torch

from mtmoe.model.dropout import Dropout, WeightDropout, WordDropout, keep_mask
from mtmoe.model.ops.keyed_noise import TokenNoise
from mtmoe.model.ops.rows import real_positions


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.9])
def test_values_are_dropped_with_the_given_probability_and_the_mean_is_kept(probability):
    torch.manual_seed(0)
    mask = keep_mask(torch.Size((1000, 1001)), probability, torch.float32)
    assert float((mask == 0).float().mean()) == pytest.approx(probability, abs=0.003)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(mask.unique()) == 2


def test_neighbouring_elements_are_dropped_independently():
    torch.manual_seed(0)
    kept = (keep_mask(torch.Size((400_000,)), 0.5, torch.float32) > 0).float()
    for distance in (1, 2, 3, 4):
        both = float((kept[:-distance] * kept[distance:]).mean())
        assert both == pytest.approx(0.25, abs=0.005)


def test_the_gradient_passes_through_what_was_kept():
    torch.manual_seed(0)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4).train()(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y, x * x.grad)


def test_nothing_is_dropped_in_evaluation():
    x = torch.randn(5)
    assert Dropout(0.4).eval()(x) is x


LENGTHS_B = torch.tensor([4, 1, 6, 3])


def noise_of(rows: list[int], seed: int = 7) -> TokenNoise:
    """Of some of four sentences."""
    made = TokenNoise(1)
    made.begin(seed, torch.tensor(rows), LENGTHS_B[rows], 6)
    return made


@pytest.mark.parametrize("with_noise", [True, False])
def test_locked_dropout_drops_the_same_at_all_positions_of_a_sentence(with_noise):
    layer = Dropout(0.4, noise_of([0, 1, 2, 3]) if with_noise else None, locked=True).train()
    y_BLD = torch.stack([layer(torch.ones(4, 6, 50)) for _ in range(100)], dim=1).flatten(0, 1)
    assert torch.equal(y_BLD, y_BLD[:, :1].expand_as(y_BLD))
    assert len({tuple(row.tolist()) for row in y_BLD[:, 0]}) == 400, "each sentence and each draw by itself"
    assert float((y_BLD == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert float(y_BLD.mean()) == pytest.approx(1.0, abs=0.02)


def test_locked_dropout_of_tokens_is_that_of_their_sentences():
    as_rows, as_tokens = (Dropout(0.4, noise_of([0, 1, 2, 3]), locked=True).train() for _ in range(2))
    positions_N = real_positions(LENGTHS_B, 6)
    x_BLD = torch.randn(4, 6, 10)
    expected_ND = as_rows(x_BLD).flatten(0, 1)[positions_N]
    assert torch.equal(as_tokens(x_BLD.flatten(0, 1)[positions_N]), expected_ND)
    beside_others = Dropout(0.4, noise_of([2, 0]), locked=True).train()
    assert torch.equal(
        beside_others(x_BLD[[2, 0]]), Dropout(0.4, noise_of([0, 1, 2, 3]), locked=True).train()(x_BLD)[[2, 0]]
    )
    with pytest.raises(ValueError, match="needs keyed noise"):
        Dropout(0.4, locked=True).train()(torch.ones(14, 10))


@pytest.mark.parametrize("with_noise", [True, False])
def test_a_dropped_word_is_zeros_wherever_it_stands(with_noise):
    layer = WordDropout(0.3, noise_of([0, 1, 2, 3]) if with_noise else None).train()
    ids = torch.randint(0, 500, (40, 60))
    y = layer(torch.ones(40, 60, 3), ids)
    factors = {int(word): y[ids == word].unique() for word in ids.unique()}
    assert all(len(of_word) == 1 for of_word in factors.values())
    of_words = torch.cat(list(factors.values()))
    assert float((of_words == 0).float().mean()) == pytest.approx(0.3, abs=0.07)
    assert of_words.max() == pytest.approx(1 / 0.7, rel=1e-4)
    assert not torch.equal(layer(torch.ones(40, 60, 3), ids), y), "another batch drops others"
    assert layer.eval()(y, ids) is y


@pytest.mark.parametrize("with_noise", [True, False])
def test_dropped_weights_are_a_share_of_all(with_noise):
    layer = WeightDropout(0.5, noise_of([0, 1]) if with_noise else None).train()
    weight = torch.randn(400, 101)
    dropped = layer.dropped(weight)
    assert dropped is not None
    assert float((dropped == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
    assert torch.allclose(dropped[dropped != 0], 2 * weight[dropped != 0], rtol=1e-4)
    assert not torch.equal(layer.dropped(weight), dropped)
    assert layer.eval().dropped(weight) is None


def test_words_and_weights_drop_the_same_on_every_process():
    one, other = noise_of([0, 1, 2]), noise_of([3])
    ids = torch.arange(100)[:, None]
    ones = torch.ones(100, 1, 2)
    assert torch.equal(WordDropout(0.5, one).train()(ones, ids), WordDropout(0.5, other).train()(ones, ids))
    weight = torch.randn(20, 30)
    first, second = (WeightDropout(0.5, noise).train().dropped(weight) for noise in (one, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, WeightDropout(0.5, noise_of([3], seed=8)).train().dropped(weight))
