"""Suspicious translations through the real command: told in JSON, counted on standard error, also after a resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtmoe.inference.requests import Request
from mtmoe.inference.text.suspicion import suspicions
from mtmoe.inference.translation import Translation

LINES = ["what is this here now", "good", "one two three four five six", "stop", "now we go on"]
TRANSLATIONS = {
    "what is this here now": "what is this here now",
    "one two three four five six": "",
    "now we go on": "la rue en face la rue en face",
}
NOTE = "suspicious translations among 5 lines: 1 empty, 1 loop, 1 untranslated"


class _FromTable:
    """Translates by a table, and is interrupted at a line that says so as long as that is wanted."""

    stops = True

    def __init__(self, run: Path, **arguments: Any) -> None:
        pass

    def translate(self, requests: Sequence[Request], num_best: int, **arguments: Any) -> list[Translation]:
        if self.stops and any(request.text == "stop" for request in requests):
            raise KeyboardInterrupt
        texts = [TRANSLATIONS.get(request.text, "bon") for request in requests]
        return [
            Translation(text, suspicions=suspicions(request.text, text, "en", "fr"))
            for request, text in zip(requests, texts, strict=True)
        ]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> type[_FromTable]:
    monkeypatch.setattr("mtmoe.inference.translator.Translator", _FromTable)
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 1)
    identity = "mtmoe.inference.files.translate_files.model_identity"
    monkeypatch.setattr(identity, lambda options: {"run": str(options.run)})
    monkeypatch.setattr(_FromTable, "stops", False)
    return _FromTable


def test_json_tells_of_them_and_one_line_counts_them(invoke: Any, tmp_path: Path, table: Any) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in LINES)
    result = invoke("translate", tmp_path, "--format", "json", input=lines)
    warnings = [json.loads(line)["warnings"] for line in result.stdout.splitlines()]
    assert warnings == [
        ["untranslated: the translation is the source"],
        [],
        ["empty: there is no translation"],
        [],
        ["loop: a phrase, or a few words in changing order, come more often in a row than is plausible"],
    ]
    assert result.stderr.splitlines()[-1] == NOTE
    assert result.exit_code == 0


def test_nothing_is_said_where_nothing_is_suspicious(invoke: Any, tmp_path: Path, table: Any) -> None:
    assert "suspicious" not in invoke("translate", tmp_path, input="good\n").stderr


def test_after_a_resume_all_lines_are_counted_and_the_bytes_are_the_same(
    invoke: Any, tmp_path: Path, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    command = ("translate", tmp_path, tmp_path / "in", "--output")
    assert NOTE in invoke(*command, tmp_path / "whole").stderr
    monkeypatch.setattr(table, "stops", True)
    stopped = invoke(*command, tmp_path / "out")
    assert stopped.exit_code == 130
    assert "stopped after line 3 of 5" in stopped.stderr
    monkeypatch.setattr(table, "stops", False)
    resumed = invoke(*command, tmp_path / "out", "--resume")
    assert resumed.exit_code == 0
    assert NOTE in resumed.stderr.splitlines()
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    again = invoke(*command, tmp_path / "out", "--resume")
    assert NOTE in again.stderr.splitlines()  # nothing was left to do, and yet they are known


def test_a_real_run_tells_of_its_own(invoke: Any, tiny_run: Any) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in ("the man sees the dog {x}", "{x}"))
    result = invoke("translate", tiny_run.run, "--format", "json", input=lines)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["translation"].count("{x}") for answer in answers] == [1, 1]
    assert answers[1]["warnings"] == []
