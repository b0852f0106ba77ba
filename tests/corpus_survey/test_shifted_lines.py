"""Parts of a text in which the sides have lost each other."""

from __future__ import annotations

import random

from mtmoe.corpus_survey.shifted_lines import ShiftFinder, is_shifted
from mtmoe.data.raw.sentence_pairs import Pair


def _text(number: int) -> tuple[list[str], list[str]]:
    """Return sources of very different lengths, and targets about as long."""
    generator = random.Random(1)
    lengths = [generator.randint(1, 20) for _ in range(number)]
    noise = [generator.randint(-1, 1) for _ in range(number)]
    targets = [" ".join(["Wort"] * max(1, length + change)) for length, change in zip(lengths, noise, strict=True)]
    return [" ".join(["word"] * length) for length in lengths], targets


def _parts(sources: list[str], targets: list[str]) -> list[tuple[int, int]]:
    finder = ShiftFinder()
    pairs = [Pair(*sides) for sides in zip(sources, targets, strict=True)]
    assert list(finder.watched(pairs)) == pairs
    return [(part.first, part.last) for part in finder.parts]


def test_aligned_text_has_no_shifted_part() -> None:
    assert _parts(*_text(2000)) == []


def test_an_extra_line_on_either_side_is_found_with_its_end() -> None:
    sources, targets = _text(2000)
    late = [*targets[:600], "an extra line", *targets[600:1400], *targets[1401:]]
    assert _parts(sources, late) == [(601, 1400)]
    early = [*targets[:600], *targets[601:1400], "an extra line", *targets[1400:]]
    assert _parts(sources, early) == [(601, 1400)]


def test_text_that_is_shifted_from_its_beginning_on_is_one_part() -> None:
    sources, targets = _text(1000)
    finder = ShiftFinder()
    for _ in finder.watched(map(Pair, sources, [*targets[1:], "the end"])):
        pass
    assert (finder.parts, finder.num_pairs) == ([(1, 1000)], 1000)


def test_lines_that_are_all_alike_are_not_called_shifted() -> None:
    assert not is_shifted([Pair("one line", "eine Zeile")] * 200)
