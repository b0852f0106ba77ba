"""Rules of sizing: sensible from 300 pairs to ten million, and monotonous between."""

from __future__ import annotations

import itertools

import pytest

from mtmoe.recipe_sizing import sizing_rules as rules

PAIRS = (300, 2000, 20_000, 130_000, 10_000_000)


def test_vocabulary_and_held_out_sets_at_five_sizes_of_text() -> None:
    found = [(*rules.held_out_pairs(n), rules.vocabulary_size(n, 90, 30.0, "cpu")) for n in PAIRS]
    assert found == [
        (10, 15, 1300), (50, 100, 2000), (500, 1000, 3600), (500, 2000, 5700), (500, 2000, 8400)
    ]  # fmt: skip


@pytest.mark.parametrize("num_pairs", [100, *PAIRS])
def test_most_of_the_text_is_left_to_train_on(num_pairs: int) -> None:
    valid, test = rules.held_out_pairs(num_pairs)
    assert valid >= rules.LEAST_HELD_OUT
    assert valid + test <= 0.2 * num_pairs


def test_the_vocabulary_grows_with_text_time_device_and_characters() -> None:
    sizes = [rules.vocabulary_size(n, 90, 30.0, "cpu") for n in range(100, 2_000_000, 5000)]
    assert sizes == sorted(sizes)
    assert rules.vocabulary_size(10**7, 90, 5.0, "cpu") < rules.vocabulary_size(10**7, 90, 600.0, "cpu")
    assert rules.vocabulary_size(10**7, 90, 30.0, "cuda") == 16_000
    chinese = rules.vocabulary_size(20_000, 2600, 30.0, "cpu")
    assert chinese >= 2600 + rules.vocabulary_size(20_000, 90, 30.0, "cpu") - 200
    for num_characters in (50, 500, 3000, 20_000):  # bytes, special symbols and characters always find room
        assert rules.vocabulary_size(300, num_characters, 1.0, "cpu") >= 260 + num_characters


def test_rare_characters_are_spelled_as_bytes_where_they_would_fill_the_vocabulary() -> None:
    assert rules.character_coverage(90, 1300, is_whole_text=True) == 1.0
    assert rules.character_coverage(90, 3600, is_whole_text=False) == 1.0
    assert rules.character_coverage(500, 3600, is_whole_text=False) == 0.9999  # ten times as many may be in the rest
    assert rules.character_coverage(3000, 16_000, is_whole_text=True) == 0.9995


def test_the_network_is_wide_only_where_text_and_time_are_plenty() -> None:
    assert rules.choose_shape(1e6, 5e6) == rules.MEDIUM
    assert rules.choose_shape(1e9, 5e6) == rules.MEDIUM
    assert rules.choose_shape(1e6, 1e9) == rules.MEDIUM
    assert rules.choose_shape(1e9, 1e9) == rules.WIDE
    assert rules.choose_shape(1e9, 1e4) == rules.NARROW
    assert rules.choose_shape(1e6, 1e6) == rules.choose_shape(1e9, 2e6) == rules.MEDIUM_DENSE


def test_dropout_grows_with_the_number_of_times_that_the_text_is_seen() -> None:
    shares = [rules.dropout(epochs) for epochs in (0.05, 1, 3, 10, 50, 100)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 0.4)


def test_steps_fill_the_time() -> None:
    steps = rules.choose_steps(1800.0, 0.25, 1000.0)
    assert steps.limited_by == "time"
    assert steps.max_steps == round(1800 * 0.94 / 0.25)
    assert steps.seconds == pytest.approx(1800, rel=1e-3)
    assert steps.epochs == pytest.approx(steps.max_steps / 1000)


def test_small_text_is_not_learned_by_heart() -> None:
    steps = rules.choose_steps(1800.0, 0.1, 10.0)
    assert (steps.limited_by, steps.max_steps) == ("text", 10 * rules.MOST_EPOCHS)
    assert steps.seconds < 150


@pytest.mark.parametrize(
    ("seconds", "step", "epoch"), [*itertools.product((6.0, 1800.0, 1e6), (0.01, 3.0), (0.5, 1e6))]
)
def test_a_schedule_is_always_one_that_a_recipe_takes(seconds: float, step: float, epoch: float) -> None:
    steps = rules.choose_steps(seconds, step, epoch)
    assert 0 < steps.warmup_steps < steps.max_steps
    assert 0 < steps.validate_every <= steps.max_steps


def test_bounds_of_cleaning_leave_usual_text_alone() -> None:
    assert rules.longest_sentence(10) == 200
    assert rules.longest_sentence(400) == 600
    assert rules.longest_sentence(100_000) == 2000
    assert rules.largest_length_ratio(1.2) == 3.0
    assert rules.largest_length_ratio(2.9) == 4.5
    assert rules.largest_length_ratio(50.0) == 9.0


def test_a_vocabulary_is_made_smaller_where_the_text_gives_no_more() -> None:
    assert rules.smaller_vocabulary(1000) == 900
    assert rules.smaller_vocabulary(5) == 8
