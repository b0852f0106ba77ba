"""A release: what is in it, that it works outside of the clone, and when the workflow publishes it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import mtmoe
from mtmoe.inference.compiled.library import LIBRARY
from tests.paths import ROOT
from tests.release.conftest import run

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))


def test_both_distributions_have_the_version_and_the_licence(sdist, wheel):
    assert sdist.name == f"mtmoe-{mtmoe.__version__}.tar.gz"
    system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"mtmoe-{mtmoe.__version__}-py3-none-{system}.whl"  # for any Python on such a system
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"mtmoe-{mtmoe.__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {mtmoe.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nProvides-Extra: serve\n" in metadata


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel, clone):
    ours = {path.relative_to(clone) for path in clone.glob("mtmoe/**/*") if path.is_file()}
    ours |= {Path("mtmoe") / path.relative_to(clone) for path in clone.glob("cli/**/*") if path.is_file()}
    ours |= {Path("mtmoe") / path.relative_to(clone) for path in clone.glob("recipes/*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(name) for name in archive.namelist() if ".dist-info/" not in name}
    source = Path("mtmoe", "inference", "compiled", "source")
    assert found == {path for path in ours if path.parent != source} | {source.parent / LIBRARY}


def test_the_sdist_has_what_it_takes_to_build_and_to_run(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "recipes/demo.toml"} <= names
    assert {"setup.py", "mtmoe/inference/compiled/source/model.cpp", "mtmoe/inference/compiled/source/model.h"} <= names
    assert not [name for name in names if name.startswith(("tests", "docs", ".venv"))]


def test_it_goes_from_a_text_to_a_package_outside_of_the_clone(installed, tmp_path):
    where = run(installed / "bin" / "python", "-c", "import mtmoe; print(mtmoe.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    told = run(ROOT / ".ci" / "try-installed", installed / "bin" / "mtmoe", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert told.splitlines()[-1] == f"from a text to a package that translates, with mtmoe {mtmoe.__version__}"


def test_without_a_compiler_it_is_built_without_the_library(clone, tmp_path):
    copied = Path(shutil.copytree(clone, tmp_path / "clone", ignore=shutil.ignore_patterns(LIBRARY, "build")))
    environment = os.environ | {"CC": "/bin/false", "CXX": "/bin/false"}
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=True)
    assert "failed" in done.stdout + done.stderr
    assert not list(copied.rglob(LIBRARY))


def _checked(clone: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([clone / ".ci" / "check-version", tag], capture_output=True, text=True, check=False)


def test_a_tag_is_released_only_as_its_version_with_a_date_in_the_changelog(clone):
    version, changelog = mtmoe.__version__, clone / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    other = _checked(clone, "v9.9.9")
    assert other.returncode == 1
    assert f"the tag is v9.9.9, but mtmoe/__init__.py has version {version}" in other.stderr
    try:
        for heading, status in ((f"## {version} (unreleased)", 1), (f"## {version} (2026-12-01)", 0)):
            changelog.write_text(re.sub(rf"^## {re.escape(version)} .*$", heading, text, flags=re.MULTILINE))
            assert _checked(clone, f"v{version}").returncode == status, heading
    finally:
        changelog.write_text(text, encoding="utf-8")


def test_the_workflow_publishes_what_it_has_built_and_tried_and_on_a_tag_alone():
    triggers = WORKFLOW[True]  # YAML 1.1 reads `on` as true
    assert triggers == {"push": {"tags": ["v[0-9]*"]}}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    build, publish = WORKFLOW["jobs"]["build"], WORKFLOW["jobs"]["publish"]
    assert publish["needs"] == "build"
    assert publish["permissions"]["id-token"] == "write"
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()
    steps = [step.get("run", "") for step in build["steps"]]
    order = [next(n for n, step in enumerate(steps) if text in step)
             for text in (".ci/check-version", ".ci/run", "-m build", ".ci/try-installed")]  # fmt: skip
    assert order == sorted(order)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"\.ci/[\w-]+", str(WORKFLOW)))))
def test_every_script_of_the_workflow_is_there_and_is_one(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)
