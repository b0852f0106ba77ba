"""Suspicion: translations that look wrong, and such that only nearly do."""

from __future__ import annotations

import pytest

from mtmoe.inference.text.suspicion import SENTENCES, SUSPICIONS, suspicions

LINE = "The old dog sleeps in the garden."


@pytest.mark.parametrize(
    ("line", "translation", "found"),
    [
        (LINE, "Le vieux chien dort dans le jardin.", ()),
        (LINE, "", ("empty",)),
        (LINE, " ... ", ("empty",)),
        ("", "", ()),
        ("...", "", ()),
        (LINE, "the old dog  sleeps in the garden.", ("untranslated",)),
        ("New York Times", "New York Times", ()),
        ("Anna Maria Bo Li", "Anna Maria Bo Li", ()),
        (LINE, "Le chien.", ("too short",)),
        ("Yes.", "Oui, bien sûr, je le ferai demain matin avec plaisir.", ("too long",)),
        ("Yes.", "Oui, bien sûr.", ()),
        (LINE, "Le vieux chien le vieux chien dort dans le jardin.", ("loop",)),
    ],
)
def test_a_translation_is_suspicious_if_it_is_far_from_what_people_write(line, translation, found):
    assert suspicions(line, translation, "en", "fr") == found


def test_what_stays_in_its_language_may_stay_as_it_is():
    assert suspicions(LINE, LINE, "en", "eng") == ()


def test_a_sign_of_a_script_without_spaces_says_as_much_as_several_letters():
    assert (
        suspicions(
            "我今天早上在花园里看见了一只很老的狗。", "I saw a very old dog in the garden this morning.", "zh", "en"
        )
        == ()
    )
    assert suspicions("I saw a very old dog in the garden this morning.", "今天早上我看见一只老狗。", "en", "zh") == ()
    assert suspicions("I saw a very old dog in the garden this morning.", "狗。", "en", "zh") == ("too short",)


def test_each_suspicion_has_a_sentence():
    assert tuple(SENTENCES) == SUSPICIONS
