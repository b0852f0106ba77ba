"""The service: of language tokens and alternatives, nothing is seen that is not the text's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mtmoe.inference.engine import TranslationEngine
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.loading import ServedRun
from mtmoe.serving.metrics import Metrics
from mtmoe.serving.service import TextToTranslate, TranslatedText, TranslationService
from tests.inference.held_models import AtOnce

DIRECTION = ServedDirection("en", "de", "r", "<2de>")


def translated(*texts: TextToTranslate, num_best: int = 1) -> tuple[list[TranslatedText], list[list[Request]]]:
    asked: list[list[Request]] = []

    def translate(lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        asked.append(list(lines))
        return [
            Translation(
                line.text.upper(),
                alignment=((0, 0), (1, 1), (2, 1)),
                alternatives=tuple(Translation(f"{line.text[-1]}{n}") for n in range(1, wanted.num_best)),
            )
            for line in lines
        ]

    with TranslationEngine({"r": AtOnce(translate)}) as engine:
        service = TranslationService([ServedRun("r", [DIRECTION], AtOnce(translate), 3)], engine, Metrics())
        return asyncio.run(service.translate(texts, Wanted(num_best, with_alignment=True))), asked


def test_a_multilingual_run_reads_its_token_and_the_alignment_does_not_count_it() -> None:
    [found], asked = translated(TextToTranslate("a b\nc", DIRECTION))
    assert [[line.text for line in batch] for batch in asked] == [["<2de> a b", "<2de> c"]]
    assert [line.number for line in asked[0]] == [0, 1]
    assert found.lines[0].line == "a b"
    assert found.lines[0].translation.alignment == ((0, 1), (1, 1))


def test_alternatives_of_a_text_are_made_of_those_of_its_lines() -> None:
    [found], _ = translated(TextToTranslate("a\n\nb", DIRECTION._replace(token="")), num_best=9)
    assert found.text == "A\n\nB"
    assert found.alternatives == ("a1\n\nb1", "a2\n\nb2", "a3\n\nb3"), "the run finds three"


def test_line_ends_can_be_white_space() -> None:
    [found], asked = translated(TextToTranslate(" a \n b", DIRECTION._replace(token=""), one_line=True))
    assert [line.text for line in asked[0]] == ["a b"]
    assert found.text == "A B"


def test_markup_goes_along_with_the_words_or_else_the_text_is_translated_in_pieces() -> None:
    direction = DIRECTION._replace(token="")
    [found], asked = translated(TextToTranslate("a <b>b</b>", direction, markup=True), num_best=2)
    assert found.text == "A <b>B</b>"
    assert found.alternatives == (), "nobody knows where its tags would go"
    assert [[line.text for line in batch] for batch in asked] == [["a b"]]
    [lost], asked = translated(TextToTranslate("a b c <b>d</b>", direction, markup=True))
    assert [[line.text for line in batch] for batch in asked] == [["a b c d"], ["a b c", "d"]]
    assert lost.text == "A B C <b>D</b>"
