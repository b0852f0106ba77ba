"""The likeliest words by some rows at a time and by blocks against the obvious way: all log-probabilities, sorted."""

from __future__ import annotations

import pytest
import torch

from mtmoe.errors import UserError
from mtmoe.inference.search.next_words import likeliest as module
from mtmoe.inference.search.next_words.likeliest import Ban, next_words
from mtmoe.vocabulary import EOS, NUM_SPECIAL

SIZES = (7, 63, 64, 65, 130, 777, 5000)


class Projection:
    """A model of which only the output layer is asked."""

    def __init__(self, size: int) -> None:
        self.vocabulary_size = size
        self.weights_DV = 2.0 * torch.randn(8, size, generator=torch.Generator().manual_seed(size))

    def project(self, hidden_XD, out=None):
        logits_XV = hidden_XD @ self.weights_DV
        return logits_XV if out is None else out.copy_(logits_XV)


def _rows(num_rows: int) -> torch.Tensor:
    return torch.randn(num_rows, 8, generator=torch.Generator().manual_seed(num_rows))


@pytest.fixture(params=[2, 1 << 10], ids=["two rows at once", "all rows at once"])
def rows_at_once(request, monkeypatch) -> int:
    monkeypatch.setattr(module, "rows_at_once", lambda size, device: request.param)
    return request.param


def test_logits_take_bounded_memory_but_products_have_some_rows():
    cpu = torch.device("cpu")
    assert module.rows_at_once(8000, cpu) == 512  # 4 x 8,000 x 512 bytes are 16 MiB at most
    assert module.rows_at_once(10**7, cpu) == 32
    assert module.rows_at_once(8000, torch.device("cuda")) == 16384


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_rows", [1, 5])
def test_the_likeliest_words_are_those_of_the_whole_vocabulary_sorted(size, num_rows):
    model, hidden_XD = Projection(size), _rows(num_rows)
    expected_XV = model.project(hidden_XD).log_softmax(1)
    for num_words in {1, 3, min(12, size - NUM_SPECIAL)}:
        found = next_words(model, hidden_XD, num_words)
        values_XV, words_XV = expected_XV[:, NUM_SPECIAL:].sort(dim=1, descending=True)
        assert torch.equal(found.words_XW, words_XV[:, :num_words] + NUM_SPECIAL)
        torch.testing.assert_close(found.log_probabilities_XW, values_XV[:, :num_words], rtol=0, atol=1e-5)
        torch.testing.assert_close(found.eos_X, expected_XV[:, EOS], rtol=0, atol=1e-5)
        assert found.proposed_XP.shape == (num_rows, 0)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("size", SIZES)
def test_words_that_are_asked_for_come_with_their_probability_wherever_they_are(size):
    model, hidden_XD = Projection(size), _rows(3)
    proposed_XP = torch.tensor([[size - 1, NUM_SPECIAL], [NUM_SPECIAL, size // 2], [size - 2, size - 1]])
    found = next_words(model, hidden_XD, 2, proposed_XP)
    expected_XE = model.project(hidden_XD).log_softmax(1).gather(1, proposed_XP)
    torch.testing.assert_close(found.proposed_XP, expected_XE, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("size", SIZES[1:])
def test_a_banned_word_is_not_found_in_its_row_and_keeps_its_probability(size):
    model, hidden_XD = Projection(size), _rows(3)
    free = next_words(model, hidden_XD, 6)
    ban = Ban(torch.tensor([0, 0, 2]), torch.stack([*free.words_XW[0, :2], free.words_XW[2, 4]]))
    found = next_words(model, hidden_XD, 4, ban=ban)
    kept = torch.tensor([[2, 3, 4, 5], [0, 1, 2, 3], [0, 1, 2, 3]])
    assert torch.equal(found.words_XW, free.words_XW.gather(1, kept))
    torch.testing.assert_close(found.log_probabilities_XW, free.log_probabilities_XW.gather(1, kept))


def test_an_output_that_is_not_a_number_shows():
    model = Projection(70)
    model.weights_DV[3, 69] = torch.nan
    with pytest.raises(UserError, match="the model's output is not a number"):
        module.check_numbers(next_words(model, _rows(2), 3).log_probabilities_XW.numpy())
