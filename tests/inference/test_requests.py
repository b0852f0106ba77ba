"""Requests that say more than a text, through the translator and the search."""

from __future__ import annotations

import pytest

from mtmoe.inference.requests import Request
from mtmoe.inference.translator import Translator

LINES = ["Where is the station?", "Two dogs play in the snow.", "The children are waiting."]


@pytest.fixture(scope="module")
def translator(run_directory):
    overrides = ["decoding.over_long=split", "decoding.max_source_tokens=30"]
    return Translator(run_directory, device="cpu", overrides=overrides)


def test_a_translation_begins_as_its_prefix_and_has_its_phrases(translator):
    requests = [Request(LINES[0], prefix="Un homme"), Request(LINES[1], phrases=("la neige", "gare")), LINES[2]]
    begun, with_phrases, free = translator.translate(requests)
    assert begun.text.startswith("Un homme")
    assert "la neige" in with_phrases.text
    assert "gare" in with_phrases.text
    assert free.text == translator.translate(LINES)[2].text


def test_a_split_line_begins_as_its_prefix_and_a_line_with_phrases_is_whole(translator):
    line = " ".join(LINES)
    free, begun, with_phrase = translator.translate(
        [line, Request(line, prefix="Un homme"), Request(line, phrases=("la neige",))]
    )
    assert begun.text.startswith("Un homme")
    assert begun.warnings[0].startswith("split into 3 parts")
    assert begun.text.split()[-1] == free.text.split()[-1]
    assert "la neige" in with_phrase.text
    assert with_phrase.warnings[0].startswith("taken as one sentence, though ")


def test_what_is_drawn_for_a_line_depends_on_its_number_and_not_on_its_neighbours(run_directory):
    drawing = Translator(run_directory, device="cpu", overrides=["decoding.beam_size=1", "decoding.sampling.seed=3"])
    together = drawing.translate(LINES)
    alone = [drawing.translate([Request(line, number=n)])[0] for n, line in enumerate(LINES)]
    assert [t.text for t in together] == [t.text for t in alone]
    assert drawing.translate([Request(LINES[0], number=5)])[0].text != together[0].text
