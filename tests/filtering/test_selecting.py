"""Which of measured pairs are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.filtering.criteria import Selection
from mtmoe.filtering.measuring import MeasuredPair
from mtmoe.filtering.selecting import MeasuredText, measured_line

MEASURED = [
    MeasuredPair("", (-1.0, 0.5)),
    MeasuredPair("duplicate"),
    MeasuredPair("", (-2.0, 0.5)),
    MeasuredPair("", (-1.0, 0.5)),
    MeasuredPair("", (-4.0, 0.9)),
    MeasuredPair("", (-0.5, 0.1)),
]


def decisions(folder: Path, selection: Selection) -> list[str]:
    """Return what becomes of each pair; nothing for a pair that is kept."""
    path = folder / "measured"
    path.write_text("".join(map(measured_line, MEASURED)), encoding="utf-8")
    text = MeasuredText(path, ("translation", "coverage"), selection)
    return [decision.broken for decision in text.decisions(text.border())]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (Selection(), [0, 2, 3, 4, 5]),
        (Selection(keep_pairs=1), [0]),  # with coverage 3 x as much: 0.5, 0.5, -0.5, -1.3, -0.2
        (Selection(keep_pairs=2), [0, 3]),
        (Selection(keep_pairs=3), [0, 3, 5]),
        (Selection(keep_pairs=100), [0, 2, 3, 4, 5]),
        (Selection(keep_share=0.6), [0, 3, 5]),
        (Selection(keep_share=0.0), []),
        (Selection(keep_share=1.0), [0, 2, 3, 4, 5]),
        (Selection(least_score=-0.5), [0, 2, 3, 5]),
        (Selection(weights={"coverage": 0.0}, keep_pairs=1), [5]),
        (Selection(weights={"coverage": 10.0}, keep_pairs=1), [4]),
        (Selection(least={"coverage": 0.2}, keep_pairs=3), [0, 2, 3]),
        (Selection(least={"translation": -1.0}), [0, 3, 5]),
    ],
)
def test_the_best_pairs_are_kept_the_first_of_equal_ones(tmp_path: Path, selection: Selection, kept: list[int]) -> None:
    found = decisions(tmp_path, selection)
    assert [place for place, broken in enumerate(found) if not broken] == kept
    assert found[1] == "duplicate"


def test_a_pair_is_left_out_for_the_first_reason(tmp_path: Path) -> None:
    found = decisions(tmp_path, Selection(least={"coverage": 0.2}, keep_pairs=1))
    assert found == ["", "duplicate", "below_score", "below_score", "below_score", "below_least"]
