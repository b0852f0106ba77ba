"""Checks of Python, of the packages, and of UTF-8 as the encoding of text. They need nothing but Python itself."""

from __future__ import annotations

import importlib
import locale
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from mtmoe.diagnosis.check import Check

LEAST_PYTHON = (3, 11)
# (least version, the version that the tests and results were made with): pyproject.toml and constraints.txt, which an
# installed package does not have with it; tests/diagnosis compares them.
PACKAGES = {
    "torch": ("2.11", "2.13.0"),
    "numpy": ("2.0", "2.4.6"),
    "sentencepiece": ("0.2", "0.2.1"),
    "protobuf": ("5", "7.36.2"),
    "sacrebleu": ("2.4", "2.6.0"),
    "safetensors": ("0.4", "0.8.0"),
    "click": ("8.1", "8.5.1"),
    "rich": ("13", "15.0.0"),
    "pydantic": ("2.7", "2.14.3"),
    "datasets": ("3.0", "5.2.0"),
    "huggingface-hub": ("1.0", "2.4.0"),
    "zstandard": ("0.22", "0.25.0"),
    "regex": ("2024.4.16", "2026.11.15"),
    "jinja2": ("3.1", "3.1.6"),
    "langcodes": ("3.4", "3.5.1"),
    "py3langid": ("0.4", "0.4.0"),
    "pyspellchecker": ("0.8", "0.9.1"),
}


def python() -> Iterator[Check]:
    """Yield whether Python is new enough."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < LEAST_PYTHON:
        yield Check("Python", "error", found, "mtmoe needs Python 3.11 or later: make PYTHON=python3.12")
    else:
        yield Check("Python", "ok", found)


def packages() -> Iterator[Check]:
    """Yield whether each package is installed and new enough. Other versions than the tested ones are named, but ok."""
    for name, (least, tested) in PACKAGES.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "error", "not installed", f"pip install '{name}>={least}', or make install")
            continue
        if _numbers(found) < _numbers(least):
            yield Check(name, "error", f"{found}, older than {least}", f"pip install -U '{name}>={least}'")
        else:
            plain = found.partition("+")[0]
            yield Check(
                name, "ok", found if plain == tested else f"{found} (tests and results were made with {tested})"
            )


def importable() -> Iterator[Check]:
    """Yield an error for each package that is installed and cannot be imported: compiled parts may be broken."""
    for name in ("torch", "numpy", "sentencepiece", "safetensors"):
        try:
            importlib.import_module(name)
        except Exception as problem:  # a broken library raises what it likes
            first_line = (str(problem).splitlines() or [""])[0]
            yield Check(
                f"import {name}",
                "error",
                f"{type(problem).__name__}: {first_line}",
                f"pip install --force-reinstall {name}",
            )


def text() -> Iterator[Check]:
    """Yield whether names of files and text are UTF-8."""
    files, preferred = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    found = f"names of files in {files}, text in {preferred}"
    if _is_utf8(files) and _is_utf8(preferred):
        yield Check("text", "ok", found)
    else:
        yield Check("text", "error", found, "export LC_ALL=C.UTF-8, or PYTHONUTF8=1")


def _is_utf8(name: str) -> bool:
    """Return whether this is a name of UTF-8."""
    return name.lower().replace("-", "") == "utf8"


def _numbers(version: str) -> list[int]:
    """Return the first three numbers of a version: 2, 13, 0 for ``2.13.0+cpu``."""
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]
