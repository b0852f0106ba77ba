"""Directions: which run translates what."""

from __future__ import annotations

import pytest

from mtmoe.config.settings import Data
from mtmoe.errors import UserError
from mtmoe.serving.directions import Directions, ServedDirection, directions_of_run
from mtmoe.serving.refusal import Refusal

THREE = Directions(
    [ServedDirection("en", "zh-CN", "a"), ServedDirection("en", "de", "b"), ServedDirection("pt-BR", "en", "c")]
)


def source(direction: str = "") -> dict[str, object]:
    return {"format": "tsv", "name": direction or "x", "file": {"path": "x"}, "direction": direction}


def test_codes_mean_the_language_that_is_served() -> None:
    assert THREE.find("EN-gb", "zh").run == "a"
    assert THREE.find("eng", "DE-AT").run == "b"
    assert THREE.find("pt", "en").run == "c"
    assert THREE.targets_of("en") == ["zh-CN", "de"]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("fr", "de"), "source language 'fr' is not served; there is en, pt-BR"),
        (("en", "fr"), "target language 'fr' is not served; there is zh-CN, de, en"),
        (("pt", "de"), "pt-BR-de is not served; there is en-zh-CN, en-de, pt-BR-en"),
    ],
)
def test_what_is_not_served_is_told_with_what_is(pair: tuple[str, str], said: str) -> None:
    with pytest.raises(Refusal) as refused:
        THREE.find(*pair)
    assert (refused.value.status, refused.value.message) == (400, said)


def test_two_runs_of_one_direction_are_one_too_many() -> None:
    with pytest.raises(UserError, match="a and b both translate en-de"):
        Directions([ServedDirection("en", "de", "a"), ServedDirection("en", "de", "b")])


def test_a_multilingual_run_has_several_directions_each_with_its_token() -> None:
    train = (source("en-de"), source("en-zh_CN"), source("en-de") | {"name": "more"})
    data = Data.model_validate(
        {"source_language": "mul", "target_language": "mul", "train": train, "valid": train, "test": train}
        | {"multilingual": {}}
    )
    assert list(directions_of_run("r", data)) == [
        ServedDirection("en", "de", "r", "<2de>"),
        ServedDirection("en", "zh-CN", "r", "<2zh-CN>"),
    ]


def test_a_language_model_has_none() -> None:
    lines = ({"format": "lines", "name": "x", "file": {"path": "x"}},)
    data = Data.model_validate({"target_language": "fr", "train": lines, "valid": lines, "test": lines})
    with pytest.raises(UserError, match="runs/lm is a language model"):
        list(directions_of_run("runs/lm", data))


def test_by_way_of_a_third_language() -> None:
    runs = [ServedDirection("de", "en", "a"), ServedDirection("en", "fr", "b"), ServedDirection("en", "de", "c")]
    directions = Directions(runs, "eng")
    assert list(map(str, directions)) == ["de-en", "en-fr", "en-de", "de-fr"]
    assert directions.find("de", "fr").onward == runs[1]
    assert directions.find("de", "fr").runs == "a, then b"
    assert (directions.targets_of("de"), directions.pivoted_targets_of("de")) == (["en", "fr"], ["fr"])
    own = ServedDirection("de", "fr", "d")
    assert Directions([*runs, own, ServedDirection("fr", "en", "e")], "en").find("de", "fr") is own
    for pivot, served in (("fr", runs), ("en", runs[:1]), ("en", [*runs, own])):
        with pytest.raises(UserError, match="no direction goes by way of"):
            Directions(served, pivot)
