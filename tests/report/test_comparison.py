"""Comparison: what differs is told, and nothing else; lines with the largest gains and losses come out."""

from __future__ import annotations

import shutil

from mtmoe.evaluation.sentence_quality import sentence_chrf
from mtmoe.report.comparison import differences_of_lines, differences_of_runs
from mtmoe.report.run_history import read_histories

REFERENCES = ["the cat sat down", "a dog ran away", "birds fly high", "fish swim", "all the same"]
FIRST = ["the cat sat down", "a cat ran", "birds", "fish swim", "other words"]
SECOND = ["the cat", "a dog ran away", "birds fly", "a stone", "other words"]


def test_lines_are_those_that_differ_most_gains_first():
    found = differences_of_lines(REFERENCES, FIRST, SECOND, most=4)
    assert [line.number for line in found] == [2, 3, 1, 4]
    gains = [line.gain for line in found]
    assert gains == sorted(gains, reverse=True)
    chrf = sentence_chrf()
    assert all(line.chrf[0] == chrf(FIRST[line.number - 1], line.reference) for line in found)
    assert [line.number for line in differences_of_lines(REFERENCES, FIRST, SECOND, most=2)] == [2, 4]
    assert [line.number for line in differences_of_lines(REFERENCES, FIRST, SECOND, most=1)] == [2]


def test_where_there_are_few_losses_more_gains_are_shown_and_the_other_way_round():
    assert [line.number for line in differences_of_lines(REFERENCES, FIRST, REFERENCES, most=3)] == [5, 2, 3]
    assert [line.number for line in differences_of_lines(REFERENCES, REFERENCES, FIRST, most=3)] == [3, 2, 5]
    assert differences_of_lines(REFERENCES, FIRST, FIRST, most=3) == []
    assert differences_of_lines(REFERENCES, FIRST, SECOND, most=0) == []


def test_settings_that_are_the_same_are_not_told(report_run, tmp_path):
    shutil.copytree(report_run, tmp_path / "other")
    recipe = (tmp_path / "other" / "recipe.toml").read_text()
    assert "beam_size = 4" in recipe
    (tmp_path / "other" / "recipe.toml").write_text(recipe.replace("beam_size = 4", "beam_size = 5"))
    table = differences_of_runs(read_histories([report_run, tmp_path / "other"]))
    assert table.head == ["", report_run.name, "other"]
    assert table.rows == [["decoding.beam_size", "4", "5 (default)"]]
