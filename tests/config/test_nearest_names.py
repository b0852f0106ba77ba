"""Guesses at misspelt names."""

from __future__ import annotations

from mtmoe.config.nearest_names import did_you_mean, nearest_name


def test_a_misspelt_name_is_guessed_and_another_word_is_not() -> None:
    names = ["beam_size", "length_alpha"]
    assert nearest_name("beem_size", names) == "beam_size"
    assert nearest_name("zzz", names) is None
    assert did_you_mean("lenght_alpha", names) == "; did you mean 'length_alpha'?"
    assert did_you_mean("zzz", names) == ""


def test_the_words_of_a_name_may_be_in_another_order() -> None:
    assert nearest_name("steps_max", ["max_steps", "width"]) == "max_steps"
