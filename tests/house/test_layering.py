"""Layers of the code: imports point one way, also those inside functions and those of names that are given as text."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.paths import ROOT

# A module may import what stands before its own package. Packages of one tuple know nothing of each other.
LAYERS = [
    ("errors", "vocabulary", "progress", "recipes"),
    ("system",),
    ("languages",),
    ("device", "precision"),
    ("config",),
    ("data",),
    ("corpus_survey",),
    ("model",),
    ("distributed",),
    ("checkpoint",),
    ("inference", "evaluation"),
    ("documents",),
    ("synthesis", "filtering", "sharing"),
    ("training",),
    ("report",),
    ("explanation", "expert_surgery"),
    ("planning",),
    ("diagnosis",),
    ("benchmark",),
    ("recipe_sizing",),
    ("serving",),
    ("cli",),
    ("__main__", ""),  # the program, and the lazy names of `import mtmoe`
]
WITHIN_INFERENCE = [
    ("text",),
    # A search asks its decoding rules, and a rule reads the options of the search; a request may have terms.
    ("search", "constraints", "requests"),
    ("compiled",),
    ("models",),
    ("scoring", "translation"),  # a translation has the parts of its score, and n-best lists are of translations
    ("divided_lines", "letter_case", "fast_decoding"),
    ("translator",),
    ("worker_pool", "continuous_translation", "engine"),
    ("async_translator",),
    ("files",),
]
MOST_MODULES = 16


class Import(NamedTuple):
    """One module that imports another, both by their names from `mtmoe` on."""

    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def modules() -> Iterator[tuple[str, Path]]:
    """Yield all modules with their names as they are installed."""
    for path in sorted([*ROOT.glob("mtmoe/**/*.py"), *ROOT.glob("cli/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("mtmoe", *parts) if parts[0] == "cli" else parts)
        yield name.removesuffix(".__init__"), path


def imports_of(name: str, path: Path) -> Iterator[Import]:
    """Yield what a module imports from mtmoe, wherever in it, and what it names in a text as `mtmoe.module`."""
    folder = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = folder.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            found = [".".join(filter(None, (base, node.module)))]
            if found == ["mtmoe"] or not node.module:
                found = [f"{found[0]}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"mtmoe(\.\w+)+", str(node.value)):
            found = [str(node.value)]  # as importlib is given it
        else:
            continue
        yield from (Import(name, other) for other in found if other.startswith("mtmoe."))


@functools.cache
def all_imports() -> list[Import]:
    return [each for name, path in modules() for each in imports_of(name, path)]


def layer(module: str, place: int, layers: list[tuple[str, ...]]) -> int:
    """Return the number of the layer of a module, by one part of its name."""
    part = ([*module.split("."), ""])[place]
    return next(number for number, names in enumerate(layers) if part in names)


def test_every_package_has_a_layer() -> None:
    named = {part for names in LAYERS for part in names}
    parts = {f"{name}.".split(".")[1] for name, _ in modules()}
    assert parts == named - {"recipes"}  # which has no code


def test_imports_point_to_lower_layers() -> None:
    wrong = []
    for each in all_imports():
        importer, imported = (f"{module}.".split(".")[1] for module in each)
        if imported.startswith("__version__"):
            continue
        if importer != imported and layer(each.importer, 1, LAYERS) <= layer(each.imported, 1, LAYERS):
            wrong.append(str(each))
    assert wrong == []


def test_evaluation_knows_nothing_of_inference() -> None:
    of_quality = [each.imported for each in all_imports() if each.importer.startswith("mtmoe.evaluation.")]
    assert of_quality
    assert not [name for name in of_quality if ".inference" in name]


def test_within_inference_imports_point_one_way_too() -> None:
    inside = [each for each in all_imports() if all(module.startswith("mtmoe.inference.") for module in each)]
    assert len(inside) > 50
    wrong = [
        str(each)
        for each in inside
        if layer(each.importer, 2, WITHIN_INFERENCE) < layer(each.imported, 2, WITHIN_INFERENCE)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["click", "rich"])
def test_the_library_knows_nothing_of_the_command_line(package: str) -> None:
    pattern = re.compile(rf"^\s*(import|from) {package}\b|\bprint\(|sys\.exit\(", re.MULTILINE)
    found = [name for name, path in modules() if not name.startswith("mtmoe.cli") and pattern.search(path.read_text())]
    assert found == []


def test_no_folder_has_more_modules_than_one_looks_through() -> None:
    folders = {path.parent for folder in ("mtmoe", "cli", "tests") for path in (ROOT / folder).rglob("*.py")}
    counts = {
        folder.relative_to(ROOT).as_posix(): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_a_relative_import_and_a_name_in_a_text_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "b.py"
    path.write_text('from ..options import x\nfrom . import y\nfrom mtmoe import cli\nn = "mtmoe.training.step"\n')
    found = {each.imported for each in imports_of("mtmoe.cli.commands.b", path)}
    assert found == {"mtmoe.cli.options", "mtmoe.cli.commands.y", "mtmoe.cli", "mtmoe.training.step"}
