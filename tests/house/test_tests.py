"""Tests of the tests: they stand where the code is, and reach into no module's private names."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import LONGEST
from tests.paths import ROOT

TESTS = ROOT / "tests"
# Folders of tests that are of no one package.
OF_NO_PACKAGE = ("browser", "campaign", "documentation", "gpu", "house", "release")
_PATCHED = re.compile(
    r"(?:setattr|delattr|setitem|patch(?:\.object)?)\(\s*[^()]*?[\"'.](_[A-Za-z]\w*)[\"']?\s*,", re.DOTALL
)


def homes_of_modules() -> dict[str, set[str]]:
    """Return the folders of all modules by the module's base name; those of mtmoe without `mtmoe/`."""
    homes: dict[str, set[str]] = {}
    for path in [*ROOT.glob("mtmoe/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        folder = path.parent.relative_to(ROOT).as_posix()
        homes.setdefault(path.stem, set()).add(folder.removeprefix("mtmoe").removeprefix("/"))
    return homes


def test_a_test_stands_in_the_folder_of_what_it_tests() -> None:
    homes = homes_of_modules()
    folders = {folder for of_name in homes.values() for folder in of_name}
    wrong = []
    for path in TESTS.rglob("test_*.py"):
        folder = path.relative_to(TESTS).parent.as_posix().removeprefix(".")
        if folder.startswith(OF_NO_PACKAGE):
            continue
        home = homes.get(path.stem.removeprefix("test_"), {folder})  # else it tests several modules of the folder
        if folder not in folders or folder not in home:
            wrong.append(f"{path.relative_to(ROOT)}: is named after a module of {home}")
    assert wrong == []


def test_what_is_said_to_take_longest_is_there() -> None:
    assert [place for place in LONGEST if not (ROOT / place).exists()] == []


def test_no_test_patches_a_private_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[1]}"
        for path in TESTS.rglob("*.py")
        if path != Path(__file__)
        for match in _PATCHED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_patched_private_name_is_seen(tmp_path: Path) -> None:
    for line in ('monkeypatch.setattr(module, "_name", 1)', "setattr(a.b, '_name', 2)", 'setattr("a.b._name", f)'):
        match = _PATCHED.search(line)
        assert match is not None
        assert match[1] == "_name"
    assert not _PATCHED.search('monkeypatch.setattr(module, "NAME", 1)')
    assert not _PATCHED.search('monkeypatch.setattr("a.b_c.name", _fake)')
