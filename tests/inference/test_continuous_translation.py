"""Lines that enter a running search: each gets what `Translator.translate` gives it, whenever it came."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.compiled.compiled_model import CompiledModel
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.continuous_translation import ContinuousTranslation
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES

NUM_LINES = 60
SETTINGS = {
    "as the recipe says": [],
    "coverage and a margin": ["decoding.coverage_beta=0.2", "decoding.beam_margin=1.0"],
    "samples": ["decoding.beam_size=1", "decoding.sampling.seed=3"],
    "long lines in parts": ['decoding.over_long="split"', "decoding.max_source_tokens=12"],
}


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Lines of all lengths, among them blank ones, some with items that pass through, demands and terms."""
    generator = random.Random(4)
    words = " ".join(SENTENCES).split()
    found = []
    for number in range(NUM_LINES):
        text = " ".join(generator.choices(words, k=generator.randint(0, 14)))
        more = [{}, {"text": f"{text} https://example.org/{number} {number}.5 {{name}}"}][number % 5 == 0]
        found.append(Request(**{"text": text, "number": number, **more}))
    return found


def translated(translator: Translator, requests: list[Request], wanted: Wanted, seed: int) -> list[Translation]:
    """Return translations of lines that come now and then, some together."""
    generator = random.Random(seed)
    running = ContinuousTranslation(translator, wanted)
    found: dict[int, Translation] = {}
    waiting = list(enumerate(requests))
    generator.shuffle(waiting)
    while waiting or running.num_lines:
        for _ in range(generator.choice([0, 0, 0, 1, 1, 2, 9])):
            if waiting:
                number, request = waiting.pop()
                running.add(number, request, wanted)
        for number, translation in running.step():
            assert number not in found
            found[number] = translation
    return [found[number] for number in range(len(requests))]


def assert_same(found: list[Translation], expected: list[Translation]) -> None:
    def exact(each: Translation) -> Any:
        others = [other.text for other in each.alternatives]
        return each.text, others, each.warnings, each.alignment, each.suspicions, each.corrections, each.terms

    assert list(map(exact, found)) == list(map(exact, expected))
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_line_is_translated_as_together_with_all_others(
    name: str, run_directory: Path, requests: list[Request]
) -> None:
    translator = Translator(run_directory, device="cpu", overrides=SETTINGS[name])
    expected = translator.translate(requests, with_scores=False)
    assert len({each.text for each in expected}) > NUM_LINES // 2
    assert_same(translated(translator, requests, Wanted(), seed=1), expected)


def test_so_are_alternatives_alignments_scores_demands_and_terms(run_directory: Path, requests: list[Request]) -> None:
    translator = Translator(run_directory, device="cpu", soft_terms=0.5)
    terms = Terminology([Term("station", "gare"), Term("dogs", "chiens")])
    demanding = [
        request._replace(
            prefix="Deux" if request.number % 3 == 0 else "",
            phrases=("la gare",) if request.number % 4 == 0 else (),
            terms=terms if request.number % 2 == 0 else None,
        )
        for request in requests
    ]
    wanted = Wanted(3, with_alignment=True, with_scores=True)
    expected = translator.translate(demanding, 3, with_alignment=True)
    assert any(each.terms for each in expected)
    assert_same(translated(translator, demanding, wanted, seed=2), expected)


def test_terms_of_a_line_change_no_other_line(run_directory: Path) -> None:
    translator = Translator(run_directory, device="cpu", soft_terms=0.9)
    line = "A man rides a bicycle past the old station."
    alone = translator.translate([line], with_scores=False)[0]
    terms = Terminology([Term("station", "marché")])
    running = ContinuousTranslation(translator, Wanted())
    for number in range(4):
        running.add(number, Request(line, terms=terms if number % 2 else None), Wanted())
    found: dict[int, Translation] = {}
    while running.num_lines:
        found.update(running.step())
    assert found[0].text == found[2].text == alone.text
    assert found[1].text == found[3].text != alone.text


def test_places_are_taken_over_so_that_memory_does_not_grow(
    run_directory: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompiledModel, "open_search", lambda *_, **__: None)  # which keeps what it has by itself
    translator = Translator(run_directory, device="cpu")
    running = ContinuousTranslation(translator, Wanted())
    for number, request in enumerate(requests):
        running.add(number, request, Wanted())
        while running.num_lines > 3:
            running.step()
    while running.num_lines:
        running.step()
    assert running.step() == []
    assert len(running.search.source_length_B) <= 16
    assert not running.search.source_of_place
    assert len(running.search.back_pointers) == 0


def test_what_settings_exclude_is_told_at_once_and_harms_no_other_line(run_directory: Path) -> None:
    translator = Translator(run_directory, device="cpu", overrides=["decoding.beam_size=1", "decoding.sampling.seed=3"])
    running = ContinuousTranslation(translator, Wanted())
    running.add(0, Request(SENTENCES[0]), Wanted())
    with pytest.raises(UserError, match="need one beam"):
        running.add(1, Request(SENTENCES[1], phrases=("gare",)), Wanted())
    with pytest.raises(UserError, match="terms need one beam"):
        running.add(2, Request(SENTENCES[1], terms=Terminology([Term("a", "b")])), Wanted())
    found: dict[int, Translation] = {}
    while running.num_lines:
        found.update(running.step())
    assert list(found) == [0]
    with pytest.raises(UserError, match="num_best"):
        ContinuousTranslation(Translator(run_directory, device="cpu"), Wanted(num_best=99))
