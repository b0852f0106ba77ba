"""The list of recipes for people."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from mtmoe.cli.commands.recipes import markdown_table

from mtmoe.config import load_recipe, shipped_families, shipped_recipes
from mtmoe.config.settings.about import GROUPS


def _rows(text: str) -> dict[str, str]:
    """The first line of each recipe, by its name."""
    lines = [line for line in text.splitlines()[1:] if re.match("  [^ ]", line)]
    return {line.split()[0]: line for line in lines}


def test_every_recipe_is_listed_below_the_heading_of_its_group_within_80_columns(invoke: Any) -> None:
    text = invoke("recipes").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert text.isprintable() or "\x1b" not in text
    listed = {}
    for part in text.split("\n\n")[1:]:
        title, rest = part.split("\n", 1)
        listed[title] = list(_rows(f"\n{rest}"))
    assert list(listed) == [group[0].upper() + group[1:] for group in GROUPS]
    families = shipped_families()
    rows = [name for names in listed.values() for name in names]
    members = [name for row in rows for name in (families[row].members if row in families else [row])]
    assert sorted(members) == shipped_recipes()
    for group, names in zip(GROUPS, listed.values(), strict=True):
        assert {load_recipe(name).about.group for name in names if name not in families} | {
            load_recipe(name).about.group for family in set(names) & set(families) for name in families[family].members
        } == {group}


def test_a_recipe_is_told_with_its_sizes_description_and_result(invoke: Any) -> None:
    text = " ".join(invoke("recipes", "demo").stdout.split())
    assert "demo en-fr 12.0 M 5.2 M 2 CPU cores English-French everyday sentences: a first result in" in text
    assert "BLEU 38.4 (held-out). " in text
    assert "PPL 14.92 (dev). " in text
    assert "BLEU 31.6 (held-out-en-de), BLEU 33.7 (held-out-en-fr)." in text


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["WMT17", "lv"], ["wmt17-en-lv", "wmt17-en-lv-small", "wmt17-lv-en", "wmt17-lv-en-small"]),
        (["wmt14", "hi", "small"], ["wmt14-en-hi-small", "wmt14-hi-en-small"]),
        (["wmt16-ro"], ["wmt16-ro-en", "wmt16-ro-en-small"]),
        (["opus-100"], ["multilingual-12"]),
        (["captions"], ["multi30k-en-de"]),
        (["128 gpus"], ["lm100b-moe-131072-h"]),
        (["wmt", "512 experts in two"], ["wmt14-en-de-512", "wmt14-en-fr-512"]),
        (["start here"], ["demo", "demo-dense", "demo-lm", "demo-three"]),
    ],
)
def test_recipes_are_found_by_name_language_text_description_hardware_and_group(
    invoke: Any, words: list[str], names: list[str]
) -> None:
    assert list(_rows(invoke("recipes", *words).stdout)) == names
    assert [summary["name"] for summary in json.loads(invoke("recipes", *words, "--json").stdout)] == names


def test_a_family_is_one_row_beside_others_and_its_members_where_it_is_asked_for(invoke: Any) -> None:
    rows = _rows(invoke("recipes", "WMT").stdout)
    assert [name for name in rows if name in shipped_families()] == list(shipped_families())
    assert not any(name.startswith("wmt19-") for name in rows)
    assert "wmt19  9 pairs  to 605.5 M  to 85.2 M" in re.sub("  +", "  ", rows["wmt19"])
    members = _rows(invoke("recipes", "wmt19").stdout)
    assert list(members) == sorted(shipped_families()["wmt19"].members)
    assert len(members) == 9 * 2 * 2
    [summary] = json.loads(invoke("recipes", "wmt19-gu-en-small", "--json").stdout)
    assert (summary["family"], summary["languages"]) == ("wmt19", "gu-en")


def test_a_word_that_no_recipe_has_gets_a_guess(invoke: Any) -> None:
    result = invoke("recipes", "wtm")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr == "error: no recipe has the word 'wtm'; did you mean 'wmt'?\n`mtmoe recipes` lists all of them\n"
    )
    assert "error: no recipe has all of the words 'demo', 'c4'\n" in invoke("recipes", "demo", "c4").stderr


def test_programs_are_told_the_group(invoke: Any) -> None:
    [summary] = json.loads(invoke("recipes", "wmt17-de-en-small", "--json").stdout)
    assert summary["group"] == "WMT"
    assert summary["languages"] == "de-en"
    assert markdown_table([summary]).count("\n") == 3


@pytest.mark.parametrize(("columns", "most"), [("30", 40), ("60", 60), ("300", 100)])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_list_fits_the_terminal_and_is_bold_only_where_it_can_be(
    invoke: Any, monkeypatch: pytest.MonkeyPatch, columns: str, most: int, term: str
) -> None:
    from click.testing import _NamedTextIOWrapper

    monkeypatch.setattr(_NamedTextIOWrapper, "isatty", lambda stream: stream is sys.stdout, raising=False)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for arguments in (("recipes", "moe-1"), ("settings", "sampl")):
        text = invoke(*arguments).stdout
        lines = re.sub(r"\x1b\[\d+m", "", text).splitlines()
        assert most - 12 <= max(map(len, lines)) <= most
        assert ("\x1b[1m" in text) == (term != "dumb")
