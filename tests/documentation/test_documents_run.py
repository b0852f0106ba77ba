"""The first steps that the documents show are taken: every command of the tutorial, and the README's own-text blocks.

The text is tiny, and settings that take long are made small; else the commands are run as they stand there.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from mtmoe.cli import main

from tests.cli.commands.serving.test_serve import served
from tests.documentation.test_documentation import code_blocks
from tests.parallel_text import sentences, write_lines, write_tmx
from tests.paths import ROOT

SMALL = (
    "subwords.vocabulary_size=320",
    "model.width=16",
    "model.moe.expert_hidden=8",
    "training.max_steps=12",
    "training.batch_tokens=200",
    "training.precision=fp32",
    "training.schedule.warmup_steps=2",
    "training.log_every_steps=4",
    "training.save_every_steps=6",
    "training.validation.every_steps=6",
    "training.validation.translate_sentences=4",
    "decoding.beam_size=2",
    "decoding.max_length_ratio=1.0",
)
SMALL_SPLIT = ("data.held_out.valid_pairs=10", "data.held_out.test_pairs=10")
NUM_PAIRS = 240
OWN_FILES = shlex.split("--train my.en my.de --valid dev.en dev.de --test test.en test.de")


class Shown(NamedTuple):
    """A command line of a document: arguments after `mtmoe`, and the files that it reads and writes."""

    arguments: list[str]
    source: str = ""
    output: str = ""


def shown_commands(text: str) -> list[Shown]:
    """Return the `mtmoe` command lines of all blocks of a text, in order."""
    found = []
    for line in "\n".join(code_blocks(text)).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["mtmoe"]:
            continue
        files = dict.fromkeys(("<", ">"), "")
        for sign in files:
            if sign in words:
                place = words.index(sign)
                files[sign] = words[place + 1]
                del words[place : place + 2]
        found.append(Shown(words[1:], *files.values()))
    return found


def run(shown: Shown, settings: tuple[str, ...]) -> str:
    """Run a command line in the working directory, with small settings where it takes some; return its output."""
    arguments = list(shown.arguments)
    if arguments[0] == "init":
        arguments += ["--minutes", "0.1", "--device", "cpu"]
    if arguments[0] in ("preprocess", "train"):
        arguments += [word for setting in settings for word in ("--set", setting)]
    source: Any = Path(shown.source).read_bytes() if shown.source else b""
    result = CliRunner().invoke(main, arguments, input=source)
    assert result.exit_code == 0, f"mtmoe {shlex.join(arguments)}\n{result.stderr}"
    if shown.output:
        Path(shown.output).write_text(result.stdout, encoding="utf-8")
    return result.stdout


def write_pairs(name: str, num_pairs: int) -> None:
    """Write NAME.en and NAME.de: sentences of numbers, and their words in reverse."""
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    lines = [[words[(number * step) % 7] for step in (1, 3, 5, 7, 11)] + [str(number)] for number in range(num_pairs)]
    for language, step in (("en", 1), ("de", -1)):
        text = "".join(f"{name} {' '.join(line[::step])}\n" for line in lines)
        Path(f"{name}.{language}").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tiny text under the names that the documents use."""
    monkeypatch.chdir(tmp_path)
    for name, num_pairs in (("my", NUM_PAIRS), ("dev", 8), ("test", 8), ("text", 4)):
        write_pairs(name, num_pairs)
    return tmp_path


def test_the_tutorial_leads_to_a_model_that_translates(folder: Path) -> None:
    page = (ROOT / "docs" / "tutorial" / "first-model.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```toml\n(# mine.toml\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "mine.toml").write_text(recipe, encoding="utf-8")
    commands = shown_commands(page)
    assert [shown.arguments[0] for shown in commands] == ["preprocess", "train", "train", "bleu", "translate"]
    outputs = [run(shown, (*SMALL, *SMALL_SPLIT)) for shown in commands]
    assert "BLEU" in outputs[3]
    assert len((folder / "text.de").read_text().splitlines()) == 4
    assert (folder / "data" / "mine" / "report.json").is_file()


def test_the_readmes_steps_on_own_text_work(folder: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    steps = readme.partition("## On your own text")[2].partition("\n## ")[0]
    commands = shown_commands(steps)
    for code in ("en", "de"):  # init looks at the languages
        write_lines(folder / f"my.{code}", sentences(code))
    assert [shown.arguments[0] for shown in commands] == ["init", "train", "bleu", "translate", "score"]
    for shown in commands:
        run(shown, SMALL)
    assert len((folder / "text.de").read_text().splitlines()) == 4
    assert len((folder / "log-probabilities").read_text().splitlines()) == 4
    (program,) = re.findall(r"^```python\n(.*?)^```", steps, flags=re.MULTILINE | re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})


def test_four_commands_lead_from_a_memory_to_a_served_model(folder: Path) -> None:
    write_tmx(folder / "corpus.tmx", ("en", sentences("en")), ("de", sentences("de")))
    page = (ROOT / "docs" / "howto" / "from-a-tmx.md").read_text(encoding="utf-8")
    four, curl, files = code_blocks(page)[:3]
    *commands, serve = shown_commands(f"```\n{four}```\n")
    assert [shown.arguments[0] for shown in commands] == ["init", "train", "bleu"]
    outputs = [run(shown, SMALL) for shown in commands]
    assert "BLEU" in outputs[2]
    [translate] = shown_commands(f"```\n{files}```\n")
    words = shlex.split(curl)
    fields = dict(words[place + 1].split("=", 1) for place, word in enumerate(words) if word == "-d")
    Path(translate.source).write_text(f"{fields['q']}\n", encoding="utf-8")
    run(translate, ())
    with served(*serve.arguments[1:]) as (process, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as response:
            assert b"<html" in response.read()
        address = words[1].replace(":8000", f":{port}")
        data = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(address, data, timeout=60) as response:
            answer = json.loads(response.read())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert answer["translatedText"] == Path(translate.output).read_text(encoding="utf-8").strip()


def test_the_how_to_of_fine_tuning_works(folder: Path) -> None:
    base = Shown(["train", "multi30k-en-de", "runs/base", *OWN_FILES])
    run(base, SMALL)
    page = (ROOT / "docs" / "howto" / "fine-tuning.md").read_text(encoding="utf-8")
    commands = shown_commands(page)
    assert [shown.arguments[0] for shown in commands] == [
        "train",
        "train",
        "bleu",
        "train",
        "train",
        "train",
        "preprocess",
        "train",
    ]
    short = tuple(setting for setting in SMALL if "max_steps" not in setting)
    outputs = [run(shown, (*short, "training.max_steps=4")) for shown in commands]
    assert "replay-test" in outputs[2]
    (end,) = [line for line in Path("runs/kept/metrics.jsonl").read_text().splitlines() if '"interpolation"' in line]
    assert json.loads(end)["share"][:2] == [0.0, 1.0]
    for name in ("tuned", "mixed", "kept", "frozen", "child", "again"):
        manifest = json.loads(Path(f"runs/{name}/manifest.json").read_text())
        assert manifest["start"]["run"] == str(folder / "runs" / "base"), name


def test_the_tutorial_of_reports_works(folder: Path) -> None:
    for name, seed in (("mine", "seed=1"), ("other", "seed=2")):
        run(Shown(["train", "multi30k-en-de", f"runs/{name}", *OWN_FILES]), (*SMALL, seed))
    commands = shown_commands((ROOT / "docs" / "tutorial" / "reading-a-report.md").read_text(encoding="utf-8"))
    assert [shown.arguments[0] for shown in commands] == ["report", "train", "report", "compare"]
    made, trained, both, compared = commands
    run(made, ())
    assert "Expert 0" in (folder / "report.html").read_text(encoding="utf-8")
    german = ("data.source_language=en", "data.target_language=de")
    run(trained._replace(arguments=[*trained.arguments, *OWN_FILES]), (*SMALL, *german))
    assert "<td>12 of 12</td>" in (folder / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    run(both, ())
    assert "mine and other" in (folder / "both.html").read_text(encoding="utf-8")
    assert "seed" in run(compared, ())


def test_the_how_to_of_explaining_works(folder: Path) -> None:
    run(Shown(["train", "demo", "runs/demo", *OWN_FILES]), SMALL)
    for name in ("questions", "test"):
        (folder / f"{name}.en").write_text("one two\n\n", encoding="utf-8")
    commands = shown_commands((ROOT / "docs" / "howto" / "explain.md").read_text(encoding="utf-8"))
    assert [shown.arguments[0] for shown in commands] == ["explain"] * 2
    for shown in commands:
        run(shown, ())
    assert "Why did demo translate so?" in (folder / "questions.html").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (folder / "why.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["source"] for line in lines] == ["one two", ""]
    page = (ROOT / "docs" / "howto" / "explain.md").read_text(encoding="utf-8")
    (part,) = lines[0]["parts"]
    told = {*lines[0], *part, *part["source_tokens"][0], *part["target_tokens"][0]}
    assert [key for key in sorted(told) if not re.search(rf"[`.]{key}(?:`|\[\])", page)] == []


def test_the_how_to_of_monolingual_text_works(folder: Path) -> None:
    for language, lines in (("de", ["mono one two", "", "three mono five"]), ("en", ["four mono"])):
        (folder / f"mono.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    page = (ROOT / "docs" / "howto" / "monolingual-text.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```toml\n(# with-bt.toml\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "with-bt.toml").write_text(recipe, encoding="utf-8")
    (staged,) = re.findall(r"^```toml\n(# staged.toml\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "staged.toml").write_text(staged, encoding="utf-8")
    commands = shown_commands(page)
    assert [shown.arguments[0] for shown in commands] == [
        *("train", "synthesise", "train", "train", "synthesise", "synthesise")
    ]
    outputs = [run(shown, (*SMALL, "subwords.character_coverage=0.98")) for shown in commands]
    (printed,) = tomllib.loads(outputs[1])["data"]["train"]
    shown = tomllib.loads(recipe)["data"]["train"][1]
    assert printed == shown
    assert [len(Path(f"{name}.tsv").read_text().splitlines()) for name in ("bt", "forward", "distilled")] == [3, 1, 240]
    report = json.loads(Path("runs/en-de/data/report.json").read_text())
    assert report["train"]["bt"]["read"] == 3


def test_the_how_to_of_a_small_student_works(folder: Path) -> None:
    page = (ROOT / "docs" / "howto" / "small-student.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```toml\n(# student.toml\n.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "student.toml").write_text(recipe, encoding="utf-8")
    commands = shown_commands(page)
    assert [shown.arguments[0] for shown in commands] == [
        *("train", "train", "train", "bleu", "synthesise", "train", "bleu", "bleu", "translate")
    ]
    for shown in commands:
        run(shown, SMALL)
    assert len(Path("distilled.tsv").read_text().splitlines()) == NUM_PAIRS
    lines = [json.loads(line) for line in Path("runs/student/metrics.jsonl").read_text().splitlines()]
    assert all(line["teacher_loss"] > 0 for line in lines if line["event"] == "train")
    manifest = json.loads(Path("runs/student/manifest.json").read_text())
    assert [Path(teacher["run"]).name for teacher in manifest["teachers"]] == ["teacher-1", "teacher-2", "teacher-3"]
    assert len((folder / "text.de").read_text().splitlines()) == 4


def test_the_how_to_of_filtering_works(folder: Path) -> None:
    for name, first, last in (("my", 0, 240), ("dev", 240, 248), ("test", 248, 256)):
        for code in ("en", "de"):  # filter looks at the languages
            write_lines(folder / f"{name}.{code}", sentences(code)[first:last])
    run(Shown(["train", "multi30k-en-de", "runs/en-de", *OWN_FILES]), SMALL)
    reverse = shlex.split("--train my.de my.en --valid dev.de dev.en --test test.de test.en")
    swapped = ("data.source_language=de", "data.target_language=en")
    run(Shown(["train", "multi30k-en-de", "runs/de-en", *reverse]), (*SMALL, *swapped))
    commands = shown_commands((ROOT / "docs" / "howto" / "filtering.md").read_text(encoding="utf-8"))
    assert [shown.arguments[0] for shown in commands] == ["filter"] * 5
    outputs = [run(shown, ()) for shown in commands]
    assert "near held-out text" in outputs[1]
    assert len(Path("better/kept.de").read_text(encoding="utf-8").splitlines()) == 192
    assert len(Path("best/kept.tsv").read_text(encoding="utf-8").splitlines()) == 150


def test_the_python_of_how_to_and_reference_runs(folder: Path) -> None:
    run(Shown(["train", "multi30k-en-de", "runs/mine", *OWN_FILES]), SMALL)
    (folder / "lines.jsonl").write_text('{"text": "one two"}\n', encoding="utf-8")
    (folder / "page.html").write_text("<p>one <b>two</b></p>\n", encoding="utf-8")
    for name in ("howto/translate.md", "reference/python.md"):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        for program in re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
            exec(compile(program, name, "exec"), {})
    assert (folder / "answers.jsonl").is_file()
    assert "</b>" in (folder / "page.de.html").read_text(encoding="utf-8")


def test_the_page_of_metrics_has_every_key_of_a_run(folder: Path) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    page += "\n".join(runpy.run_path(str(ROOT / "docs" / "generated_pages.py"))["metrics_page"]())
    run(Shown(["train", "multi30k-en-de", "runs/mine", *OWN_FILES]), SMALL)
    lines = [json.loads(line) for line in Path("runs/mine/metrics.jsonl").read_text().splitlines()]
    assert {line["event"] for line in lines} == {"train", "validation"}
    for key in {key for line in lines for key in line}:
        general = re.sub(r"^(?:en|de)coder\.moe\d+\.", "LAYER.", key)
        general = re.sub(r"^LAYER\.\w+_loss$", "LAYER.LOSS_loss", general)
        assert f"`{general}`" in page, key


def test_the_documents_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for page in ("index", "reference/settings", "reference/commands", "explanation/paper"):
        assert (tmp_path / f"{page}.html").stat().st_size > 10_000


def test_a_command_is_read_with_its_files() -> None:
    text = "```\nmake install\nmtmoe translate runs/mine \\\n  < a > b  # comment\n```\nmtmoe no\n"
    assert shown_commands(text) == [Shown(["translate", "runs/mine"], "a", "b")]
