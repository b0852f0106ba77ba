"""The page of a training that goes on: made when it is time, at little cost, and whole whatever happens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mtmoe.report import watched_report
from mtmoe.report.page import report_page
from mtmoe.report.run_history import read_histories
from mtmoe.report.watched_report import LEAST_SECONDS, MOST_SHARE, WatchedReport
from tests.html_pages import checked


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(report_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to write a log into."""
    shutil.copytree(report_run, tmp_path / "run")
    return tmp_path / "run"


def log(run: Path, step: int, **more: object) -> None:
    """Append a line."""
    line = {"event": "train", "step": step, "time_seconds": 1.8e9 + step, "loss": 3.0, **more}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def test_the_page_is_made_at_the_beginning_when_it_is_time_and_at_the_end(run: Path) -> None:
    clock, warnings = Clock(), []
    page = run / "report.html"
    with WatchedReport(run, page, "1", warnings.append, clock) as watched:
        assert not page.exists()
        watched.started(None)
        first = page.read_text(encoding="utf-8")
        checked(first)
        assert "Training goes on. Last line of the log: none yet" in first
        log(run, 20)
        clock.now += LEAST_SECONDS - 1
        watched.step(None)
        assert page.read_text(encoding="utf-8") == first
        clock.now += 1
        watched.validated(None)
        text = page.read_text(encoding="utf-8")
        checked(text)
        assert "Training goes on. Last line of the log: step 20, 2027-01-15 08:00:20 UTC" in text
        assert 'data-seconds="1800000020.0" data-reload="15"' in text
    end = page.read_text(encoding="utf-8")
    assert end == report_page(read_histories([run]), {}, "1")
    assert 'id="fresh"' not in end
    assert "http-equiv" not in end
    assert (watched.num_pages, warnings) == (3, [])


def test_pages_that_take_long_are_made_less_often(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def slow(*arguments: object, **options: object) -> str:
        clock.now += 5.0
        return ""

    monkeypatch.setattr(watched_report, "report_page", slow)
    with WatchedReport(run, run / "report.html", "1", pytest.fail, clock) as watched:
        watched.started(None)
        began = clock.now
        while clock.now < began + 10_000:
            clock.now += 1.0
            watched.step(None)
        assert watched.num_pages == pytest.approx(1 + 10_000 * MOST_SHARE / 5, abs=1)


def test_a_page_that_cannot_be_written_is_told_once_and_hinders_nothing(run: Path, tmp_path: Path) -> None:
    clock, warnings = Clock(), []
    (tmp_path / "file").touch()
    with WatchedReport(run, tmp_path / "file" / "page.html", "1", warnings.append, clock) as watched:
        watched.started(None)
        clock.now += 1000
        watched.step(None)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{tmp_path}/file/page.html: the page could not be written: ")
    assert watched.num_pages == 3


def test_a_training_that_fails_leaves_a_page_that_loads_nothing_anew(run: Path) -> None:
    def fail(page: Path, *, is_started: bool) -> None:
        with WatchedReport(run, page, "1", pytest.fail) as watched:
            if is_started:
                watched.started(None)
            raise RuntimeError

    page, never = run / "report.html", run / "never.html"
    with pytest.raises(RuntimeError):
        fail(page, is_started=True)
    assert 'id="fresh"' not in page.read_text(encoding="utf-8")
    with pytest.raises(RuntimeError):
        fail(never, is_started=False)  # before there is a run
    assert not never.exists()


def test_alarms_are_on_the_page_and_nothing_that_they_say_is_run(run: Path) -> None:
    log(run, 50)
    assert f"<p>{run.name}: none.</p>" in report_page(read_histories([run]), {}, "1")
    log(run, 1500, event="alarm", alarm="leak", text="<script>alert(1)</script> & so on", time_seconds=1e300)
    log(run, 1600, event="alarm", alarm="leak", text=7)
    page = report_page(read_histories([run]), {}, "1")
    checked(page)
    assert f"<li>{run.name}, step 1,500: &lt;script&gt;alert(1)&lt;/script&gt; &amp; so on</li>" in page
    assert len(re.findall("<script>", page)) == 1
