"""Lines in capitals and in Title Case: how they are read, and their translations."""

from __future__ import annotations

import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.inference.letter_case import in_case_of_line, in_usual_case
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from tests.toy import toy_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return recipe_from_dict(toy_settings(folder), folder / "toy.toml").data


def of_languages(data, source, target):
    return data.model_copy(update={"source_language": source, "target_language": target})


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("WHERE IS THE STATION?", "Where is the station?"),
        ("I'M TIRED. WHY AM I? WHO KNOWS", "I'm tired. Why am I? Who knows"),
        ("SEE https://a.example/Bc AND {name} OR %s.", "See https://a.example/Bc and {name} or %s."),
        ("HE PAID 1,000 €!", "He paid 1,000 €!"),
        ("A B-C", None),  # one word of two letters
        ("NATO", None),
        ("NATO is here", None),
        ("7 + 8 = 15", None),
        ("{NAME} %S", None),
        ("", None),
    ],
)
def test_capitals_are_read_as_small_letters(data, text, usual):
    line = in_usual_case(Request(text, number=7), data)
    assert line.request == Request(text if usual is None else usual, number=7)
    assert line.capitals == (None if usual is None else "fr")


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("Where Is The Old Station?", "Where is the old station?"),
        ("NASA Sends Two McDonald Rockets", "NASA sends two McDonald rockets"),
        ("The New York Times", "The new york times"),
        ("New York Times", None),
        ("Where Is the Station", None),
    ],
)
def test_title_case_is_read_as_small_letters_and_its_translation_stays(data, text, usual):
    line = in_usual_case(Request(text), data)
    assert line == (Request(text if usual is None else usual), None)


def test_each_language_has_its_letters(data):
    turkish = of_languages(data, "tr", "de")
    line = in_usual_case(Request("IŞIK İSTANBUL"), turkish)
    assert line.request.text == "Işık istanbul"
    translation = Translation("Straße", alternatives=(Translation("die Straße"),))
    assert in_case_of_line(translation, line) == Translation("STRASSE", alternatives=(Translation("DIE STRASSE"),))
    assert in_usual_case(Request("I AM HERE"), of_languages(data, "it", "de")).request.text == "I am here"
    assert in_usual_case(Request("HAVE I ONE"), of_languages(data, "it", "de")).request.text == "Have i one"
    assert in_usual_case(Request("駅 は どこ です"), of_languages(data, "ja", "de")).request.text == "駅 は どこ です"


def test_a_translation_keeps_addresses_and_one_of_another_line_everything(data):
    capitals = in_usual_case(Request("SEE THE SITE"), data)
    assert in_case_of_line(Translation("va sur https://a.example/b"), capitals).text == "VA SUR https://a.example/b"
    other = in_usual_case(Request("See the site"), data)
    assert in_case_of_line(Translation("Où est-il ?"), other).text == "Où est-il ?"


def test_a_language_token_stays_and_tells_the_language_of_the_capitals(data):
    several = data.model_copy(
        update={
            "multilingual": object(),
            "train": tuple(data.train[0].model_copy(update={"direction": d}) for d in ("en-de", "en-tr")),
        }
    )
    line = in_usual_case(Request("<2tr> COME IN NOW"), several)
    assert line == (Request("<2tr> Come in now"), "tr")


def test_a_line_with_a_prefix_or_phrases_is_in_the_case_that_somebody_wants(data):
    for request in (Request("COME IN NOW", prefix="Venez"), Request("COME IN NOW", phrases=("Venez",))):
        assert in_usual_case(request, data) == (request, None)
