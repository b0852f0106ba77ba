"""The release as it would be published: built from what git knows of the tree, and installed outside of it.

No network is needed: the build backend is the one that is here, and the environment sees the packages that are here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from tests.paths import ROOT


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command that has to succeed; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of the tree, those that git does not ignore."""
    folder = tmp_path_factory.mktemp("clone")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    return folder


def _built(kind: str, source: Path, output: Path) -> Path:
    hook = f"import sys, setuptools.build_meta as backend; backend.build_{kind}(sys.argv[1])"
    before = set(output.iterdir())
    run(sys.executable, "-P", "-c", hook, output, cwd=source)
    [made] = set(output.iterdir()) - before
    return made


@pytest.fixture(scope="session")
def sdist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    return _built("sdist", clone, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of the source distribution, as whoever downloads that builds it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return _built("wheel", source, sdist.parent)


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, which sees the other packages of this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    [packages] = folder.glob("lib/python*/site-packages")
    # As a path alone: what is installed for editing here, mtmoe itself, is not seen so.
    (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ("-m", "pip", "--python", folder, "install", "--no-deps", "--no-index", "--ignore-installed", wheel)
    run(sys.executable, *install, cwd=folder.parent, PIP_DISABLE_PIP_VERSION_CHECK="1")
    return folder
