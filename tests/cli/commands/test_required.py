"""`--terms` and decoding.placeholders through the real command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLACEHOLDERS = ("--set", 'decoding.placeholders=["braces","tags"]')


def test_terms_and_copies_come_out_and_json_tells_of_them(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("man\thomme\ndog\tchien\n")
    texts = ["the Man sees {0} <b>today</b>", "a woman", "Dog"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    result = invoke("translate", tiny_run.run, "--terms", terms, "--format", "json", *PLACEHOLDERS, input=lines)
    assert result.exit_code == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    found = [answer["terms"] for answer in answers]
    assert found == [
        [{"source": "man", "target": "homme", "applied": True}],
        [],
        [{"source": "dog", "target": "chien", "applied": True}],
    ]
    assert "homme" in answers[0]["translation"]
    places = [answers[0]["translation"].find(part) for part in ("{0}", "<b>", "</b>")]
    assert 0 <= places[0] < places[1] < places[2]
    as_text = invoke("translate", tiny_run.run, "--terms", terms, *PLACEHOLDERS, input="".join(f"{t}\n" for t in texts))
    assert as_text.stdout.splitlines() == [answer["translation"] for answer in answers]


def test_a_terms_file_that_cannot_be_understood_is_an_error_with_its_line(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "terms.tsv").write_text("man\thomme\nman\tgars\n")
    result = invoke("translate", tiny_run.run, "--terms", tmp_path / "terms.tsv", input="the man\n")
    assert result.exit_code == 1
    assert "terms.tsv, line 2: 'man' is 'gars' here, but 'homme' in line 1" in result.stderr
    result = invoke("translate", tiny_run.run, "--terms", tmp_path / "none.tsv", input="the man\n")
    assert result.exit_code == 1
    assert "none.tsv: no such file" in result.stderr


def test_a_job_belongs_to_its_terms(invoke: Any, tiny_run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    terms = tmp_path / "terms.tsv"
    terms.write_text("man\thomme\n")
    (tmp_path / "a.en").write_text("the man\n")
    monkeypatch.setattr("mtmoe.inference.files.resumable_output.PartialOutput.write", interrupted)
    command = ("translate", tiny_run.run, tmp_path / "a.en", "--output", tmp_path / "out", "--terms", terms)
    assert invoke(*command).exit_code == 130
    terms.write_text("man\tgars\n")
    result = invoke(*command, "--resume")
    assert result.exit_code == 1
    assert "was begun with terms = " in result.stderr
