"""The scripts of bench/ are run with a stand-in for every command: what they would have run is parsed."""

from __future__ import annotations

import json
import lzma
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_lines import load_recipe_of, parse
from tests.paths import ROOT

FOLDER = ROOT / "bench"
SHELL_SCRIPTS = sorted(path.name for path in FOLDER.glob("*.sh"))
PROGRAMS = [name for name in SHELL_SCRIPTS if name != "common.sh"]
PYTHON_SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+\.sh) ?([^`]*)` \|", README, flags=re.MULTILINE)

# It notes its name and arguments, makes the stand-ins of a virtual environment, and writes what it is to write.
STAND_IN = f"""#!{sys.executable} -S
import json, os, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(json.dumps([name, *words]) + "\\n")
if words[:2] == ["-m", "venv"]:
    folder = pathlib.Path(words[2]) / "bin"
    folder.mkdir(parents=True)
    for program in ("python", "onmt_train", "onmt_translate"):
        (folder / program).symlink_to(os.environ["STAND_IN"])
if name == "onmt_train":
    settings = pathlib.Path(words[1]).read_text()
    (pathlib.Path(words[1]).parent / "model_step_1.pt").write_text(settings)
if words[:1] == ["translate"] and "--output" in words:
    lines = pathlib.Path(words[2]).read_text().splitlines()
    pathlib.Path(words[words.index("--output") + 1]).write_text("".join(line + "\\n" for line in lines))
"""
LINES = "".join(f"line {number}\n" for number in range(3))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with stand-ins and the few files that scripts read themselves."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "mtmoe"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    for name in ("python", "python3", "torchrun", "nvidia-smi"):
        (tmp_path / "bin" / name).symlink_to(stand_in)
    (tmp_path / "log").touch()
    multi30k = tmp_path / "multi30k"
    multi30k.mkdir()
    for part in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (multi30k / f"{part}.{language}").write_text(LINES)
    for name in ("valid", "test/held-out"):
        for side in ("source", "target"):
            path = tmp_path / "demo" / "data" / "text" / f"{name}.{side}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(LINES)
    for name in ("deu-eng.zip", "mixture.log", "dense.log", "small-lm/unbalanced/metrics.jsonl"):
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LINES)
    metrics = tmp_path / "work" / "small-lm" / "small-lm-moe-32-1" / "metrics.jsonl"
    metrics.parent.mkdir()
    metrics.write_text(LINES)
    for name in ("wikitext-2/train.txt", "wikitext-2/valid.txt", "wikitext-2/test.txt"):
        _compress(tmp_path / "text" / f"{name}.xz")
    for language in ("en", "de"):
        _compress(tmp_path / "text" / "po-en-de" / f"natural.{language}.xz")
        for part in ("train", "valid", "test"):
            _compress(tmp_path / "text" / "tatoeba-en-de" / f"{part}.{language}.xz")
    return tmp_path


def _compress(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(LINES.encode() * 60))


def run_script(place: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script with stand-ins for mtmoe, Python and its peers."""
    environment = {
        **os.environ,
        "MTMOE_BIN": str(place / "bin"),
        "STAND_IN": str(place / "bin" / "mtmoe"),
        "STAND_IN_LOG": str(place / "log"),
        "MULTI30K": str(place / "multi30k"),
        "TEXT": str(place / "text"),
        "CT2_MODEL": str(place / "work"),
    }
    return subprocess.run(
        ["bash", str(FOLDER / script), *words], env=environment, capture_output=True, text=True, timeout=120
    )


def commands_run(place: Path) -> list[list[str]]:
    """Return the arguments of every `mtmoe` command that the stand-ins noted."""
    found = []
    for line in (place / "log").read_text().splitlines():
        name, *words = json.loads(line)
        if name == "torchrun":
            name, words = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
        if name == "mtmoe":
            found.append(words)
    return found


@pytest.mark.parametrize(("script", "words"), ROWS, ids=lambda value: value.replace(" ", "-"))
def test_every_command_of_a_script_can_be_parsed(place: Path, script: str, words: str) -> None:
    if words.startswith("text") and shutil.which("xz") is None:
        pytest.skip("xz is not installed")
    folders = {"WORK": "work", "DEMO": "demo", "TEXT": "text"}
    arguments = [str(place / folders[word]) if word in folders else word for word in words.split()]
    result = run_script(place, script, *arguments)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    commands = commands_run(place)
    assert commands or script == "opennmt.sh"
    for command in commands:
        parse(command)
        load_recipe_of(command)


@pytest.mark.parametrize("verb", ["train", "translate"])
def test_the_peer_is_trained_and_translates(place: Path, verb: str) -> None:
    work = place / "work"
    assert run_script(place, "opennmt.sh", "train", str(work), "120").returncode == 0
    result = run_script(place, "opennmt.sh", verb, str(work))
    assert result.returncode == 0, result.stderr
    assert "train_steps: 120" in (work / "opennmt" / "model_step_1.pt").read_text() or verb == "train"
    noted = [json.loads(line) for line in (place / "log").read_text().splitlines()]
    assert any(words[0] == f"onmt_{verb}" for words in noted)


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_bash_reads_a_script(script: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)


@pytest.mark.parametrize("script", PROGRAMS)
def test_a_script_stops_at_errors_and_states_its_circumstances(script: str) -> None:
    text = (FOLDER / script).read_text(encoding="utf-8")
    assert "set -euo pipefail" in (FOLDER / "common.sh").read_text(encoding="utf-8")
    assert '. "$(dirname "$0")/common.sh"' in text
    assert "print_circumstances" in text
    assert os.access(FOLDER / script, os.X_OK)


@pytest.mark.parametrize("script", PROGRAMS)
def test_help_is_the_usage_and_an_unknown_verb_is_refused(place: Path, script: str) -> None:
    helped = run_script(place, script, "--help")
    assert helped.returncode == 0
    assert f"bench/{script}" in helped.stdout
    if re.search(r"^case \$(verb|1) in", (FOLDER / script).read_text(encoding="utf-8"), re.MULTILINE):
        refused = run_script(place, script, "no-such-verb", str(place / "work"), str(place / "text"))
        assert refused.returncode == 2
        assert f"bench/{script}" in refused.stderr
        assert not commands_run(place)


@pytest.mark.parametrize("script", [name for name in PROGRAMS if name != "expert_layer.sh"])
def test_a_script_without_arguments_tells_its_usage(place: Path, script: str) -> None:
    result = run_script(place, script)
    assert result.returncode == 2
    assert f"bench/{script}" in result.stderr


@pytest.mark.parametrize("script", PYTHON_SCRIPTS)
def test_a_python_script_has_help(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(FOLDER / script), "--help"])
    status: object = 0
    try:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    except SystemExit as end:
        status = end.code
    assert status == 0
    assert script in capsys.readouterr().out


def test_every_script_is_in_the_table_of_the_readme() -> None:
    assert {script for script, _words in ROWS} == set(PROGRAMS)
    assert all(name in README for name in PYTHON_SCRIPTS)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (FOLDER / target).exists(), target


def test_every_verb_of_a_script_is_in_its_usage_and_in_the_readme() -> None:
    for script in PROGRAMS:
        usage = re.findall(
            rf"^#   bench/{script} ([a-z][a-z0-9-]+) ", (FOLDER / script).read_text(encoding="utf-8"), re.M
        )
        told = {words.split()[0] for name, words in ROWS if name == script and words and words[0].islower()}
        assert set(usage) == told or script == "opennmt.sh", script


def test_rough_terms_are_words_that_go_together(tmp_path: Path) -> None:
    files = {
        "source": ["the garden is large", "a garden", "the house is large", "one house"],
        "reference": ["le jardin est grand", "un jardin", "la maison est grande", "une maison"],
        "translation": ["le jardin est grand", "un parc", "la maison est grande", "une maison"],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    script = [sys.executable, str(FOLDER / "rough_terms.py")]

    def run(*words: str) -> str:
        return subprocess.run([*script, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    terms = run("list", "source", "reference")
    assert "garden\tjardin\n" in terms
    assert "house\tmaison\n" in terms
    (tmp_path / "terms").write_text("garden\tjardin\nhouse\tmaison\n", encoding="utf-8")
    told = run("count", "terms", "source", "reference", "translation")
    assert told == "in the output, of all 4: 3\nin the output, of the 4 that the reference has: 3\n"
