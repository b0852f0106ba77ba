"""`mtmoe compare`: differences of runs and of their translations; what cannot be compared is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, TinyRun


@pytest.fixture
def other(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> Path:
    """A run of the same text with another seed."""
    run = tmp_path / "other"
    arguments = ("--data", str(tiny_run.data), "--set", "seed=2", "--device", "cpu")
    result = invoke("train", str(tiny_run.recipe), str(run), *arguments)
    assert result.exit_code == 0, result.stderr
    return run


def test_runs_are_compared_by_settings_quality_and_lines(tiny_run: TinyRun, other: Path, invoke: Invoke) -> None:
    result = invoke("compare", str(tiny_run.run), str(other), "--lines", "2", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    first, *_ = result.stdout.split("\n\n")
    assert first.splitlines()[0].split() == ["differs", "run", "other"]
    assert any(line.split() == ["seed", "1", "(default)", "2"] for line in first.splitlines())
    assert "dropout" not in first
    assert "paired bootstrap against run" in result.stdout
    found = json.loads(invoke("compare", str(tiny_run.run), str(other), "--json", "--device", "cpu").stdout)
    assert found["differences"]["seed"] == {"run": "1 (default)", "other": "2"}
    assert [system["system"] for system in found["results"][0]["systems"]] == ["run", "other"]
    assert "nrefs:1" in found["results"][0]["bleu_signature"]
    assert len(found["lines"]) <= 6
    for line in found["lines"]:
        assert line["translations"][0] != line["translations"][1]


def test_what_cannot_be_compared_is_refused(tiny_run: TinyRun, other: Path, invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("compare", str(tiny_run.run)).exit_code == 2
    assert invoke("compare", str(tiny_run.run), str(other), "--source", str(tiny_run.recipe)).exit_code == 2
    data = tmp_path / "data"
    shutil.copytree(tiny_run.data, data)
    manifest = json.loads((data / "manifest.json").read_text())
    outputs = manifest["outputs"]
    name = next(path for path in outputs if path.startswith("text/test/"))
    outputs[name] = "0" * 64
    (data / "manifest.json").write_text(json.dumps(manifest))
    (other / "data").unlink()
    (other / "data").symlink_to(data)
    result = invoke("compare", str(tiny_run.run), str(other))
    assert result.exit_code == 1
    assert "hold different test sets" in result.stderr
    folder = tiny_run.folder
    texts = ("--source", str(folder / "test.en"), "--reference", str(folder / "test.fr"))
    own = invoke("compare", str(tiny_run.run), str(other), *texts, "--device", "cpu")
    assert own.exit_code == 0, own.stderr
