"""Shape letters: a suffix such as _BTD names the dimensions of a tensor, and a letter means one thing.

Ten letters mean the same everywhere. Any other is explained by the text of its module, in a sentence that begins with
"Letters:" and ends with a full stop: "Letters: M pairs of a token and an expert, R rows."
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mtmoe

RESERVED = {
    "B": "sentences",
    "S": "source positions",
    "T": "target positions",
    "N": "tokens",
    "D": "width",
    "H": "hidden",
    "E": "experts",
    "K": "experts per token",
    "V": "vocabulary",
    "W": "beam",
}
_ROOT = Path(mtmoe.__file__).parent
MODULES = sorted(path.relative_to(_ROOT).as_posix() for path in _ROOT.rglob("*.py"))
_LEGEND = re.compile(r"\bLetters[^:.]*: (.*?)\.(?:\s|$)", re.DOTALL)
_SHAPED = re.compile(r"_?[a-z][a-z0-9_]*?_(?=[A-Z0-9]*[A-Z])([A-Z0-9]+)")


def letters_of(docstring: str) -> dict[str, str]:
    """Return the legend of a module's text: {letter: meaning}."""
    found = _LEGEND.search(docstring)
    parts = [] if found is None else re.split(r"[,;] (?=[A-Z]\b)", " ".join(found[1].split()))
    return dict(part.split(" ", 1) for part in parts)


def shaped_names(tree: ast.AST) -> set[str]:
    """Return the names of variables, attributes and arguments that end in shape letters."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name for name in names if _SHAPED.fullmatch(name)}


@pytest.mark.parametrize("module", MODULES)
def test_every_shape_letter_is_explained_and_a_reserved_one_means_one_thing(module: str) -> None:
    tree = ast.parse((_ROOT / module).read_text(encoding="utf-8"))
    legend = letters_of(ast.get_docstring(tree) or "")
    for letter, meaning in legend.items():
        assert RESERVED.get(letter, "") in meaning, f"{letter} is {RESERVED[letter]} everywhere, not {meaning}"
    unexplained = {
        name: missing
        for name in sorted(shaped_names(tree))
        if (missing := {c for c in _SHAPED.fullmatch(name)[1] if c.isalpha()} - RESERVED.keys() - legend.keys())  # type: ignore[index]
    }
    assert not unexplained, f"letters without a legend in mtmoe/{module}: {unexplained}"


def test_a_legend_is_read_and_names_are_found() -> None:
    assert letters_of("Rows.\n\nLetters: M pairs of a\ntoken, R rows. More.") == {"M": "pairs of a token", "R": "rows"}
    assert shaped_names(ast.parse("x_ND = self.y_BTD + f(z_M1, MAX_V, num_rows)")) == {"x_ND", "y_BTD", "z_M1"}


def test_the_glossary_has_the_reserved_letters() -> None:
    glossary = (_ROOT.parent / "docs/reference/glossary.md").read_text(encoding="utf-8")
    letters = dict(re.findall(r"^\| ([A-Z]) \| (.+) \|$", glossary, flags=re.MULTILINE))
    assert list(letters) == list(RESERVED)
    assert [letter for letter, meaning in RESERVED.items() if meaning not in letters[letter]] == []
