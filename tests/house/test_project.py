"""The files around the code agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mtmoe
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~ ;\[]", requirement)[0].lower().replace("_", "-")


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^+\s]*", pin) for pin in pins), "NAME==VERSION, no local version"
    return {_name(pin): pin.split("==")[1] for pin in pins}


def test_every_direct_dependency_is_pinned() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = {
        _name(r) for r in [*PROJECT["project"]["dependencies"], *(each for extra in extras.values() for each in extra)]
    }
    assert wanted - {"mtmoe"} <= _pins().keys()


def test_a_pin_satisfies_what_pyproject_asks_for() -> None:
    for requirement in map(Requirement, PROJECT["project"]["dependencies"]):
        assert requirement.specifier.contains(_pins()[_name(requirement.name)]), str(requirement)


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "mtmoe.__version__"}
    assert f"\n## {mtmoe.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_package_of_the_tree_is_installed() -> None:
    tool = PROJECT["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("mtmoe/**/__init__.py")}
    folders |= {f"mtmoe/{path.parent.relative_to(ROOT).as_posix()}" for path in ROOT.glob("cli/**/__init__.py")}
    packages = {folder.replace("/", ".") for folder in folders} | {"mtmoe.recipes"}
    assert packages == set(tool["packages"])


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("target", ["install", "demo", "test", "check", "docs", "format", "clean"])
def test_make_has_the_target_and_help_tells_of_it(target: str) -> None:
    make = ["make", "--no-print-directory", "--directory", str(ROOT)]
    subprocess.run([*make, "--dry-run", target, "VENV=/nowhere"], check=True, capture_output=True)
    told = subprocess.run([*make, "help"], check=True, capture_output=True, text=True).stdout
    assert f"make {target} " in told


def test_make_demo_does_the_whole_job_and_goes_on_where_it_was(tmp_path: Path) -> None:
    def plan(demo: Path) -> list[str]:
        make = ["make", "--no-print-directory", "--directory", str(ROOT), "--dry-run", "demo", f"DEMO={demo}"]
        lines = subprocess.run(make, check=True, capture_output=True, text=True).stdout.splitlines()
        return [line.partition("/mtmoe ")[2] for line in lines if "/mtmoe " in line]

    steps = plan(tmp_path)
    assert [step.split()[0] for step in steps] == ["fetch", "preprocess", "train", "translate", "bleu"]
    assert "--resume" not in steps[2]
    (tmp_path / "run").mkdir()
    assert "--resume" not in plan(tmp_path)[2], "a run that was interrupted before it began is begun"
    (tmp_path / "run" / "recipe.toml").touch()
    assert plan(tmp_path)[2].endswith("--resume")


def test_continuous_integration_runs_make_check() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make check"
