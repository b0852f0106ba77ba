"""Histories: what the log says, without its damaged lines and pauses; language models have a page, too."""

from __future__ import annotations

import json
import shutil

import pytest

from mtmoe.report.examination import examine
from mtmoe.report.page import report_page
from mtmoe.report.run_history import read_histories


@pytest.fixture
def run(report_run, tmp_path):
    """A copy of the run, to write a log into."""
    shutil.copytree(report_run, tmp_path / "run")
    return tmp_path / "run"


def test_time_is_that_of_the_log_without_pauses(run):
    lines = [
        {"event": "train", "step": n, "time_seconds": t, "loss": 4.0 - n} for n, t in enumerate((100, 160, 9000, 9030))
    ]
    lines.append({"event": "validation", "step": 3, "time_seconds": 9040, "bleu": 1.5})
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"event": "train"}\n{')
    (history,) = read_histories([run])
    assert history.seconds == 60 + 30 + 10
    assert history.series("loss") == [(0.0, 4.0), (1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert history.series("bleu", validation=True) == [(3.0, 1.5)]
    assert history.num_damaged_lines == 2


def test_runs_of_one_name_are_told_apart_by_their_paths(run, report_run):
    assert [history.label for history in read_histories([run, report_run])] == [str(run), str(report_run)]


def test_a_language_model_has_a_page_without_translations(language_model_run):
    histories = read_histories([language_model_run])
    assert examine(histories[0], 5) is None
    page = report_page(histories, {}, "1")
    assert "tiny-lm" in page
    assert "Translations of" not in page
