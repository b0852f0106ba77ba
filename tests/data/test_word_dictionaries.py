"""Dictionaries: the languages that are told to have one are those that the library has."""

from __future__ import annotations

from spellchecker import SpellChecker

from mtmoe.config.settings import Decoding
from mtmoe.data.word_dictionaries import LANGUAGES, dictionary_of, has_dictionary


def test_the_languages_are_those_of_the_library_and_of_the_setting() -> None:
    assert set(SpellChecker.languages()) == LANGUAGES
    told = Decoding.model_fields["usual_spelling"].description or ""
    assert f"For {', '.join(sorted(LANGUAGES)[:-1])} and {max(LANGUAGES)}." in told


def test_dictionaries_have_words_that_small_texts_lack() -> None:
    assert has_dictionary("en-US")
    assert has_dictionary("deu")
    assert not has_dictionary("ja")
    assert not has_dictionary("")
    english = dictionary_of("en-GB")
    assert "skilled" in english
    assert "recieve" not in english
    assert "haus" in dictionary_of("de")
