"""`mtmoe report`: one page that has everything, is the same each time, and runs nothing of what it shows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, TinyRun
from tests.html_pages import checked


@pytest.fixture
def copies(tiny_run: TinyRun, tmp_path: Path) -> list[Path]:
    """Two copies of the tiny run, with its text."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        shutil.copytree(tiny_run.run, folder, symlinks=True)
        (folder / "data").unlink()
        (folder / "data").symlink_to(tiny_run.data)
    return folders


def test_a_page_of_two_runs_is_complete_and_needs_no_network(
    copies: list[Path], invoke: Invoke, tmp_path: Path
) -> None:
    output = tmp_path / "page.html"
    result = invoke("report", *map(str, copies), "--output", str(output), "--sentences", "6", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    page = output.read_text(encoding="utf-8")
    found = checked(page)
    assert all(address.startswith("#") and address[1:] in found.ids for address in found.addresses)
    assert "http" not in re.sub(r"<td>.*?</td>", "", page)
    for wanted in ("first and second", "Loss (nats per target token)", "CV(importance)", "max / mean load",
                   "Worst by chrF2", "nrefs:1|case:mixed", "parameters", "Expert 0", "Routing by frequency",
                   "Next subwords", "recall of n-grams", "Dev sentences through", "Lengths of the sentences of first",
                   "Subwords of second", "Entropy of the experts"):  # fmt: skip
        assert wanted in page, wanted
    again = tmp_path / "again.html"
    invoke("report", *map(str, copies), "--output", str(again), "--sentences", "6", "--device", "cpu")
    assert again.read_bytes() == output.read_bytes()


def test_what_a_run_says_is_shown_and_never_run(copies: list[Path], invoke: Invoke, tmp_path: Path) -> None:
    run = copies[0]
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    described = re.sub(r'^description = ""$', f"description = {json.dumps(evil)}", recipe, flags=re.MULTILINE)
    assert described != recipe
    (run / "recipe.toml").write_text(described, encoding="utf-8")
    renamed = tmp_path / "<b>run"
    run.rename(renamed)
    output = tmp_path / "page.html"
    result = invoke("report", str(renamed), "--sentences", "0", "--output", str(output))
    assert result.exit_code == 0, result.stderr
    page = output.read_text(encoding="utf-8")
    checked(page)
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>run" not in page


def test_a_log_that_is_damaged_or_empty_and_text_that_is_gone_still_give_a_page(
    copies: list[Path], invoke: Invoke, tmp_path: Path
) -> None:
    damaged, empty = copies
    with (damaged / "metrics.jsonl").open("ab") as log:
        log.write(b'\xff{"event": "train"\n[]\n{"event": "train", "step": 3, "loss": NaN}\n')
    (empty / "metrics.jsonl").unlink()
    (empty / "data").unlink()
    output = tmp_path / "page.html"
    result = invoke("report", str(damaged), str(empty), "--sentences", "2", "--output", str(output), "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "warning: second: its model is left out: " in result.stderr
    page = output.read_text(encoding="utf-8")
    checked(page)
    assert "2 lines of the log of first are damaged and were left out" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-run"], "no run no-run: it does not exist"),
        (["{run}", "{run}"], "is named twice"),
        (["{run}", "--output", "no/page.html"], "no/page.html: there is no directory no"),
    ],
)
def test_bad_input_is_told_and_no_page_is_written(
    tiny_run: TinyRun, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("report", *(word.replace("{run}", str(tiny_run.run)) for word in arguments))
    assert result.exit_code == 1
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_a_training_writes_the_page_of_its_log_also_when_it_goes_on(
    tiny_run: TinyRun, invoke: Invoke, tmp_path: Path
) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    train = ("train", tiny_run.recipe, run, "--data", tiny_run.data, "--device", "cpu")
    first = invoke(*train, "--set", "training.max_steps=4", "--report")
    assert first.exit_code == 0, first.stderr
    assert f"{run}/report.html: the page of the run" in first.stderr
    assert "<td>4 of 4</td>" in (run / "report.html").read_text(encoding="utf-8")
    resumed = invoke(*train, "--resume", "--report", page)
    assert resumed.exit_code == 0, resumed.stderr
    afterwards = tmp_path / "afterwards.html"
    invoke("report", run, "--sentences", 0, "--output", afterwards)
    assert page.read_bytes() == afterwards.read_bytes()
    assert "<td>6 of 6</td>" in page.read_text(encoding="utf-8")
    assert "<td>4 of 4</td>" in (run / "report.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_is_told_before_the_training(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    run = tmp_path / "run"
    nowhere = tmp_path / "no" / "page.html"
    for arguments, told in (
        (("--report", "demo", run), "demo does not end in .html; without FILE, --report stands last on the line"),
        ((tiny_run.recipe, run, "--report", nowhere), f"{nowhere}: there is no directory {tmp_path}/no"),
    ):
        result = invoke("train", *arguments)
        assert result.exit_code > 0
        assert told in " ".join(result.stderr.split())
    assert not run.exists()
