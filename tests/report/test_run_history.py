"""Histories: what the log says, without its damaged lines and pauses; language models have a page, too."""

from __future__ import annotations

import json
import shutil

import pytest

from mtmoe.report.examining.examination import examine
from mtmoe.report.page import report_page
from mtmoe.report.run_history import read_histories
from mtmoe.report.run_section import examples_through_training, run_section
from tests.html_pages import checked


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
    assert "Length of the dev translations" not in page
    assert "Translations of" not in page


def write_log(run, lines):
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_examples_are_shown_through_the_training_the_first_and_the_last_among_them(run):
    example = {"source": "<i>a</i>", "reference": "r & s"}
    lines = [
        {
            "event": "validation",
            "step": step,
            "loss": 1.0,
            "length_ratio": 0.9,
            "examples": [example | {"translation": f"at <{step}>"}],
        }
        for step in range(100, 5001, 100)
    ]
    lines += [{"event": "validation", "step": 5100, "examples": [3, {"source": 4}]}, {"event": "validation", "step": 9}]
    write_log(run, lines)
    (history,) = read_histories([run])
    (table,) = examples_through_training(history)
    assert len(table.rows) == 13
    assert table.rows[0] == ["step 100", "at <100>"]
    assert table.rows[-2:] == [["step 5,000", "at <5000>"], ["reference", "r & s"]]
    page = report_page([history], {}, "1")
    checked(page)
    assert "Length of the dev translations" in page
    assert "at &lt;5000&gt;" in page
    assert "<i>a" not in page


def test_languages_are_told_by_the_experts_that_they_use(run):
    def validation(step, shares):
        line = {"event": "validation", "step": step, "loss": 1.0}
        for name, share in shares.items():
            line |= {f"encoder.moe1.token_share.{name}": share, f"encoder.moe1.routing_distance.{name}": share[0]}
        return line

    train = {"event": "train", "step": 1, "encoder.moe1.load_cv": 0.1, "encoder.moe1.token_entropy": 0.9}
    write_log(run, [train, validation(1, {"d<e": [0.5, 0.5]}), validation(2, {"d<e": [0.1, 0.9], "fr": [0.75, 0.25]})])
    (history,) = read_histories([run])
    (layer,) = run_section(history, None).layers
    (routing,) = layer.routings
    assert routing.table.rows == [["d<e", "0.1", "1 (90.0%), 0 (10.0%)"], ["fr", "0.75", "0 (75.0%), 1 (25.0%)"]]
    assert "d&lt;e" in routing.map
    assert "d&lt;e" in routing.curve
    page = report_page([history], {}, "1")
    checked(page)
    assert "Entropy of the experts" in page
    damaged = validation(2, {"de": [0.1, 0.9]}) | {"encoder.moe1.token_share.de": "x"}
    write_log(run, [train, damaged])
    checked(report_page(read_histories([run]), {}, "1"))
