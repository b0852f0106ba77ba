"""The how-to of packages: its commands run as they stand there, with an untrained model."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mtmoe.cli import main

from tests.documentation.test_documents_run import shown_commands
from tests.inference.conftest import SENTENCES, untrained_run
from tests.paths import ROOT
from tests.sharing.fake_hub import TOKEN, FakeHub

PAGE = (ROOT / "docs" / "howto" / "packages.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the page names: a run, and some lines."""
    untrained_run(tmp_path, SENTENCES).rename(tmp_path / "mine")
    (tmp_path / "runs").mkdir()
    (tmp_path / "mine").rename(tmp_path / "runs" / "mine")
    for name in ("text.en", "text.de", "test.en", "test.de"):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in SENTENCES[:2]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_how_to_of_packages_works(folder, monkeypatch):
    commands = shown_commands(PAGE)
    assert [shown.arguments[0] for shown in commands] == [
        *("package", "translate", "score", "explain", "bleu", "describe", "push", "pull")
    ]
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("MTMOE_CACHE", str(folder / "cache"))
        for shown in commands:
            source = Path(shown.source).read_bytes() if shown.source else b""
            result = CliRunner().invoke(main, shown.arguments, input=source)
            assert result.exit_code == 0, f"mtmoe {shlex.join(shown.arguments)}\n{result.stderr}"
            assert TOKEN not in result.output
    assert result.stdout == "mine-en-de.mtmoe\n"
    assert (folder / "mine-en-de.mtmoe").read_bytes() == (folder / "mine.mtmoe").read_bytes()
    for program in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(compile(program, "packages.md", "exec"), {})


def test_what_the_page_says_of_unzip_is_so(folder):
    assert CliRunner().invoke(main, ["package", "runs/mine", "mine.mtmoe"]).exit_code == 0
    shown = re.findall(r"`unzip (-\w) (mine\.mtmoe)( README\.md)?`", PAGE)
    assert [flag for flag, _, _ in shown] == ["-l", "-p"]
    command = [sys.executable, "-m", "zipfile", "-l", "mine.mtmoe"]  # unzip is not everywhere
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "README.md" in listed
    assert "model.safetensors" in listed
