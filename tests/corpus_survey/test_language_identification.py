"""Languages of text, told by the text."""

from __future__ import annotations

import pytest

from mtmoe.corpus_survey.language_identification import base_code, identify, is_in_other_language
from tests.parallel_text import sentences


@pytest.mark.parametrize("code", ["en", "de", "fr", "ja"])
def test_the_language_of_some_sentences_is_found(code: str) -> None:
    found = identify(sentences(code, 60))
    assert found.language == code
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-3)


def test_text_without_letters_and_a_mixture_have_no_language() -> None:
    assert not identify(["12 + 3", "..."]).is_known
    halves = [sentences(code, 20) for code in ("en", "ja", "de")]
    assert identify([text for half in halves for text in half]).language == "und"


def test_a_language_that_is_surely_not_there_is_excluded_and_a_near_one_is_not() -> None:
    german = identify(sentences("de", 40))
    assert german.excludes("fr")
    assert not german.excludes("de-AT")
    assert not german.excludes("tlh")  # nobody can tell it
    norwegian = identify(["Jeg liker å lese bøker om kvelden når det regner ute, sa hun til vennen sin."] * 20)
    assert not norwegian.excludes("nb")


@pytest.mark.parametrize(("code", "base"), [("zh-TW", "zh"), ("nb", "no"), ("cmn", "zh"), ("en_GB", "en")])
def test_a_code_is_reduced_to_its_language(code: str, base: str) -> None:
    assert base_code(code) == base


def test_a_long_sentence_of_another_language_is_seen_and_a_short_one_says_nothing() -> None:
    french = sentences("fr", 1)[0]
    assert is_in_other_language(french, "en") is True
    assert is_in_other_language(french, "fr") is False
    assert is_in_other_language("Oui, merci.", "en") is None
    assert is_in_other_language("日本語の文章を書きました。", "zh") is True
