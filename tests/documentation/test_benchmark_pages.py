"""The tables of docs/benchmarks say where their figures come from, and how to repeat them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command_lines import load_recipe_of, parse
from tests.paths import ROOT

FOLDER = ROOT / "docs" / "benchmarks"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
PAGES_WITH_TABLES = [name for name in PAGES if name not in ("index.md", "lab_book.md")]
PROVENANCE = ("hardware", "date", "commit", "command")
# Columns whose numbers are counts of what their head names, or multiples, and so have no unit.
COUNTS = re.compile(
    r"CPU seconds|GPU-hours|experts|groups|hidden|beam|GPUs|processes|tokens|hypotheses|terms"
    r"|of the 778|w_|CV|ratio|/|median|p$|p of|perplexity|BLEU|chrF2|share|sentences|slower"
)


class Table(NamedTuple):
    """A Markdown table: the words of its head, and its rows."""

    head: list[str]
    rows: list[list[str]]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(page: str) -> list[Table]:
    """Return the tables of a page."""
    found = re.findall(r"^(\|[^\n]*\|)\n\|[-|]+\|\n((?:\|[^\n]*\|\n)+)", page, flags=re.MULTILINE)
    return [Table(cells(head), [cells(row) for row in rows.splitlines()]) for head, rows in found]


def without_code(cell: str) -> str:
    return cell.replace("**", "")


def test_there_is_a_page_of_each_topic_and_the_index_leads_to_it() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", PAGES["index.md"]))
    assert linked >= set(PAGES) - {"index.md"}


@pytest.mark.parametrize("name", PAGES_WITH_TABLES)
def test_every_table_says_with_what_when_and_how_it_was_measured(name: str) -> None:
    assert tables(PAGES[name])
    for table in tables(PAGES[name]):
        assert tuple(table.head[-4:]) == PROVENANCE, table.head
        for row in table.rows:
            assert len(row) == len(table.head), row
            assert all(row), row


def test_no_other_page_hides_a_table_without_its_circumstances() -> None:
    assert sum(len(tables(page)) for page in PAGES.values()) == sum(
        len(tables(PAGES[name])) for name in PAGES_WITH_TABLES
    )


@pytest.mark.parametrize("name", PAGES_WITH_TABLES)
def test_dates_and_commits_are_such_or_said_to_be_unknown(name: str) -> None:
    for table in tables(PAGES[name]):
        for row in table.rows:
            _hardware, date, commit, _command = row[-4:]
            assert re.fullmatch(r"\d{4}-\d\d-\d\d|not recorded", date), row
            assert re.fullmatch(r"(recorded in )?[0-9a-f]{7}(, [0-9a-f]{7})*|not recorded", commit), row


@pytest.mark.parametrize("name", PAGES_WITH_TABLES)
def test_every_column_of_numbers_has_a_unit(name: str) -> None:
    for table in tables(PAGES[name]):
        if "unit" in table.head:
            continue
        for number, head in enumerate(table.head[:-4]):
            column = [without_code(row[number]) for row in table.rows]
            if all(re.fullmatch(r"[\d.,~ -]+", cell) for cell in column):
                assert "(" in head or COUNTS.search(head), f"{head!r} of {table.head}"


@pytest.mark.parametrize("name", PAGES_WITH_TABLES)
def test_every_command_of_a_table_is_there(name: str) -> None:
    for command in {row[-1] for table in tables(PAGES[name]) for row in table.rows} - {"not recorded"}:
        assert re.fullmatch("`[^`]+`", command), command
        check_command(shlex.split(command.strip("`")))


def check_command(words: list[str]) -> None:
    """Fail unless the words are a command of the project that can be parsed."""
    if words[0] == "mtmoe":
        parse(words[1:])
        load_recipe_of(words[1:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, words
    else:
        script = ROOT / words[0]
        assert script.is_relative_to(ROOT / "bench"), words
        assert script.is_file(), words
        assert has_verb(script, words[1:]), f"{words[0]} does not know {words[1]}"


def has_verb(script: Path, arguments: list[str]) -> bool:
    """Return whether the usage of a script has its first argument, if that is a verb and no placeholder."""
    verb = next(iter(arguments), "WORK")
    return verb.isupper() or f"{script.name} {verb} " in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_with_bleu_has_its_signature(name: str) -> None:
    page = PAGES[name]
    if re.search(r"\| [^|\n]*BLEU", page) or name == "lab_book.md":
        assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in page
    if re.search(r"\| [^|\n]*chrF2", page):
        assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in page


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGES[name]):
        assert "://" in target or (FOLDER / target).exists(), target


def test_every_entry_of_the_lab_book_says_when_what_was_tried_what_came_of_it_and_its_fate() -> None:
    entries = re.split(r"^### ", PAGES["lab_book.md"], flags=re.MULTILINE)[1:]
    assert len(entries) > 40
    for entry in entries:
        assert re.findall(r"^- (\w+): ", entry, re.MULTILINE) == ["When", "Tried", "Figures", "Outcome"], entry
        assert re.search(r"^- When:\s[^.]*\d{4}-\d\d-\d\d|^- When: .*above", entry, re.MULTILINE), entry


def test_a_verb_that_a_script_lacks_is_found() -> None:
    assert has_verb(ROOT / "bench" / "plan.sh", ["paper"])
    assert not has_verb(ROOT / "bench" / "plan.sh", ["papers"])


def test_a_table_is_read() -> None:
    page = "text\n\n| a | `b` |\n|---|---|\n| 1 | **2** |\n| 3 | 4 |\n\ntext\n"
    assert tables(page) == [Table(["a", "`b`"], [["1", "**2**"], ["3", "4"]])]
