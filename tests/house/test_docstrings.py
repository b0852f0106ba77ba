"""Docstrings: a function's begins with a verb; every module and every package has one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

# First words of docstrings that said what a thing is, and not what a function does.
_NO_VERBS = """
a all also an and another any around as at because before behind between both but by each every everything for
from here how if in into is it its many most no not nothing of on one only or other others several so some such that
the their these they this those to true under until up what when where whether which while who whose with without
your
"""
NO_VERBS = set(_NO_VERBS.split())


def functions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of each function and method that has one; not of properties, which are attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            if node.name != "__init__" and not decorators & {"property", "cached_property", "command", "group"}:
                yield node.name, text


def begins_with_a_verb(text: str) -> bool:
    """Return whether the first word may be a verb in the imperative: `Return`, and neither `The` nor `Returns`."""
    first = re.match(r"[A-Za-z]+", text)
    if first is None or not first[0][0].isupper() or first[0].lower() in NO_VERBS:
        return False
    return not (first[0].endswith("s") and not first[0].endswith("ss")) or first[0] in {"Focus", "Discuss"}


MODULES = sorted(path for folder in ("mtmoe", "cli") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_docstring_of_a_function_begins_with_a_verb(path: Path) -> None:
    assert [f"{name}: {text.splitlines()[0]}" for name, text in functions(path) if not begins_with_a_verb(text)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_and_a_package_say_what_they_are(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_a_verb_is_told_from_what_is_none() -> None:
    assert begins_with_a_verb("Return the sum.")
    assert begins_with_a_verb("Pass x on.")
    for text in ("The sum.", "What is left.", "Returns the sum.", "``x`` is summed.", "of x", "Those of x."):
        assert not begins_with_a_verb(text)
