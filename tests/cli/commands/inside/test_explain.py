"""`mtmoe explain`: a page or JSON of why lines are translated as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, TinyRun
from tests.html_pages import checked

LINES = "the dog sees a cat\n\nthe man walks today\n"
EVIL = '<script>alert(1)</script> <img src=x onerror="alert(2)">'


def test_a_page_has_everything_needs_no_network_and_is_the_same_each_time(
    tiny_run: TinyRun, invoke: Invoke, tmp_path: Path
) -> None:
    pages = [tmp_path / "first.html", tmp_path / "second.html"]
    for page in pages:
        result = invoke("explain", tiny_run.run, "--output", page, "--device", "cpu", input=LINES)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == ""
    first, second = (page.read_bytes() for page in pages)
    assert first == second
    page = first.decode()
    found = checked(page)
    assert {"line-1", "line-2", "line-3"} <= found.ids
    assert all(address.startswith("#") and address[1:] in found.ids for address in found.addresses)
    assert "http" not in page
    assert "<script" not in page
    for wanted in ("the dog sees a cat", "(empty line)", "There was nothing to translate", "encoder.moe1",
                   "What each expert contributes", "without an expert"):  # fmt: skip
        assert wanted in page, wanted


def test_what_a_line_says_is_shown_and_never_run(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = invoke("explain", tiny_run.run, "--output", page, "--no-ablation", "--device", "cpu", input=EVIL)
    assert result.exit_code == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    checked(text)
    assert not re.search("<script|<img", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "--no-ablation" in text
    assert "What each expert contributes" not in text


def test_json_has_a_line_for_each_line_whose_numbers_add_up(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    text = tmp_path / "three.en"
    text.write_text(LINES, encoding="utf-8")
    options = ("--json", "--alternatives", "2", "--without", "1", "--device", "cpu")
    result = invoke("explain", tiny_run.run, text, *options)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["source"] for line in lines] == LINES.splitlines()
    translated = invoke("translate", tiny_run.run, text, "--device", "cpu").stdout.splitlines()
    assert [line["translation"] for line in lines] == translated
    assert lines[1]["parts"] == lines[1]["without"] == []
    for line in (lines[0], lines[2]):
        [part] = line["parts"]
        assert line["layers"] == ["encoder.moe1"]
        assert len(line["without"]) == 1
        assert sum(t["log_probability"] for t in part["target_tokens"]) == pytest.approx(
            line["log_probability"], abs=1e-4
        )
        for token in part["source_tokens"]:
            assert sum(it["gate"] for it in token["experts"]["encoder.moe1"]) == pytest.approx(1, abs=1e-5)
        for token in part["target_tokens"]:
            assert len(token["alternatives"]) == 2
            assert sum(token["attention"]) == pytest.approx(1, abs=1e-4)
        for it in part["contributions"]:
            assert sum(it["of_tokens"]) == pytest.approx(it["log_probability"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "text", "told"),
    [
        (["no-run"], "a\n", "no run no-run: it does not exist"),
        (["{run}"], "", "standard input: has no line to explain"),
        (["{run}"], "a\n" * 201, "has 201 lines, and a page has 200 at most"),
        (["{run}", "--output", "no/page.html"], "a\n", "no/page.html: there is no directory no"),
        (["{run}", "gone.en"], "", "gone.en: no such file"),
    ],
)
def test_bad_input_is_told_and_no_page_is_written(
    tiny_run: TinyRun,
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    text: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("explain", *(word.replace("{run}", str(tiny_run.run)) for word in arguments), input=text)
    assert result.exit_code == 1
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert not list(tmp_path.iterdir())
