"""Detection among the served languages."""

from __future__ import annotations

import pytest

from mtmoe.serving.detection import detect


@pytest.mark.parametrize(
    ("text", "language"),
    [("Where is the station?", "en"), ("Où est la gare ?", "fr"), ("Wo ist der Bahnhof?", "de-AT")],
)
def test_the_language_is_found_among_those_that_are_served(text: str, language: str) -> None:
    found = detect(text, ["en", "de-AT", "fr"])
    assert found[0].language == language
    assert found[0].probability > 0.5
    assert sum(each.probability for each in found) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", " \n", "12 + 3 = 15", "😀"])
def test_a_text_without_letters_is_taken_as_the_first_without_any_trust(text: str) -> None:
    assert detect(text, ["fr", "en"]) == [("fr", 0.0)]
