"""Glossaries: what is kept, for whom, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtmoe.errors import UserError
from mtmoe.serving.glossaries import Glossaries, parse_entries
from mtmoe.serving.refusal import Refusal

ENTRIES = [("station", "gare"), ("dog", "chien")]


def test_a_glossary_is_there_after_a_restart_and_gone_when_it_is_deleted(tmp_path: Path) -> None:
    before = Glossaries(tmp_path / "glossaries")
    made = before.make("Trains", "en", "fr", ENTRIES, "")
    after = Glossaries(tmp_path / "glossaries")
    assert after.get(made.glossary_id, "") == made
    assert [term.target for term in after.get(made.glossary_id, "").terms.found("The dog is at the Station.")] == [
        "chien",
        "gare",
    ]
    after.delete(made.glossary_id, "")
    assert Glossaries(tmp_path / "glossaries").of("") == []
    assert list((tmp_path / "glossaries").iterdir()) == []
    with pytest.raises(Refusal) as refused:
        after.get(made.glossary_id, "")
    assert refused.value.status == 404


def test_each_sees_its_own_oldest_first(tmp_path: Path) -> None:
    glossaries = Glossaries(tmp_path)
    made = [glossaries.make(f"{number}", "en", "fr", ENTRIES, "anna") for number in range(3)]
    glossaries.make("other", "en", "fr", ENTRIES, "bert")
    assert [each.name for each in Glossaries(tmp_path).of("anna")] == ["0", "1", "2"]
    for action in (glossaries.get, glossaries.delete):
        with pytest.raises(Refusal, match="no glossary"):
            action(made[0].glossary_id, "bert")
    assert glossaries.get(made[0].glossary_id, "anna").name == "0"


def test_a_region_is_of_its_language(tmp_path: Path) -> None:
    made = Glossaries(tmp_path).make("x", "en", "pt", ENTRIES, "")
    assert made.is_for("en", "pt-BR")
    assert not made.is_for("pt", "en")


@pytest.mark.parametrize("wrong", ["../../etc/passwd", "a" * 5000, "", "%2e%2e"])
def test_an_id_is_looked_up_and_no_path(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Refusal) as refused:
        Glossaries(tmp_path).delete(wrong, "")
    assert refused.value.status == 404


def test_without_a_directory_none_can_be_made() -> None:
    with pytest.raises(Refusal, match="without --glossaries DIR"):
        Glossaries(None).make("x", "en", "fr", ENTRIES, "")
    assert Glossaries(None).of("") == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    made = Glossaries(tmp_path).make("x", "en", "fr", ENTRIES, "")
    path = tmp_path / f"{made.glossary_id}.json"
    content = json.loads(path.read_text())
    (tmp_path / "copy.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"copy\.json: has the glossary"):
        Glossaries(tmp_path)
    (tmp_path / "copy.json").unlink()
    path.write_text(json.dumps({**content, "entries": [["only one side"]]}))
    with pytest.raises(UserError, match=rf"{path.name}: damaged"):
        Glossaries(tmp_path)


def test_entries_are_read_from_both_formats() -> None:
    assert parse_entries("station\tgare\r\n\n  dog\t chien ", "tsv") == ENTRIES
    assert parse_entries('station,gare\n"dog","chien"\n', "csv") == ENTRIES
    assert parse_entries('"a, b",c,en,fr\n', "csv") == [("a, b", "c")]


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("a\tb\nc\n", "tsv", "line 2: has 1 columns"),
        ("a,b,c\n", "csv", "line 1: has 3 columns"),
        ("a\tb\n\t \n", "tsv", "line 2: a side is blank"),
        ("a\tb\na\tc\n", "tsv", "line 2: 'a' stands twice"),
        ("\n\n", "tsv", "there are none"),
        ('"a', "csv", "no CSV"),
    ],
)
def test_what_is_wrong_with_entries_is_told(text: str, kind: str, problem: str) -> None:
    with pytest.raises(Refusal, match=problem) as refused:
        parse_entries(text, kind)  # type: ignore[arg-type]
    assert refused.value.status == 400
