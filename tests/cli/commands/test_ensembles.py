"""`--with RUN` and `--checkpoint last:N` through the real commands."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtmoe.inference.requests import Member
from mtmoe.inference.translator import Translator
from tests.cli.conftest import _invoke
from tests.paths import ROOT


@pytest.fixture(scope="module")
def other_run(tiny_run: Any) -> Path:
    """The tiny recipe trained from another seed on the same data."""
    run = tiny_run.folder / "other"
    settings = ("--set", "seed=2", "--set", "training.max_steps=2")
    result = _invoke("train", tiny_run.recipe, run, "--data", tiny_run.data, "--device", "cpu", *settings)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="module")
def text(tiny_run: Any) -> str:
    return "".join((tiny_run.folder / "test.en").read_text().splitlines(keepends=True)) + "\n"


def test_runs_translate_together_and_score_what_they_translated(
    invoke: Any, tiny_run: Any, other_run: Path, text: str, tmp_path: Path
) -> None:
    alone = invoke("translate", tiny_run.run, "--scores", input=text).stdout
    together = invoke("translate", tiny_run.run, "--with", other_run, "--scores", input=text)
    assert together.exit_code == 0, together.stderr
    assert together.stdout != alone
    ensemble = Translator(tiny_run.run, device="cpu", ensemble=[Member(other_run)])
    expected = [t.text for t in ensemble.translate(text.splitlines())]
    rows = [line.split("\t") for line in together.stdout.splitlines()]
    assert [row[2] for row in rows] == expected
    (tmp_path / "a.en").write_text(text)
    (tmp_path / "a.fr").write_text("".join(f"{row[2]}\n" for row in rows))
    scored = invoke("score", tiny_run.run, tmp_path / "a.en", tmp_path / "a.fr", "--with", other_run)
    assert scored.exit_code == 0, scored.stderr
    assert [float(line) for line in scored.stdout.splitlines()] == pytest.approx(
        [float(row[1]) for row in rows], abs=1e-4
    )


def test_a_run_with_itself_is_the_run_and_a_tiny_weight_hardly_changes_it(
    invoke: Any, tiny_run: Any, other_run: Path, text: str
) -> None:
    alone = invoke("translate", tiny_run.run, input=text).stdout
    assert invoke("translate", tiny_run.run, "--with", f"{tiny_run.run}:3", input=text).stdout == alone
    assert invoke("translate", tiny_run.run, "--with", f"{other_run}:1e-7", input=text).stdout == alone
    assert invoke("translate", tiny_run.run, "--with", f"{other_run}:1e7", input=text).stdout == (
        invoke("translate", other_run, input=text).stdout
    )


def test_workers_load_the_same_ensemble(invoke: Any, tiny_run: Any, other_run: Path, text: str) -> None:
    command = ("translate", tiny_run.run, "--with", other_run, "--device", "cpu")
    one, two = invoke(*command, input=text), invoke(*command, "--workers", 2, input=text)
    assert two.exit_code == 0, two.stderr
    assert two.stdout == one.stdout


def test_bleu_of_an_ensemble_names_its_runs(invoke: Any, tiny_run: Any, other_run: Path) -> None:
    result = invoke("bleu", tiny_run.run, "--with", other_run, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)[0]["system"] == f"{tiny_run.run} + {other_run}"
    result = invoke("bleu", tiny_run.run, other_run, "--with", other_run)
    assert result.exit_code == 2
    assert "--with makes an ensemble of one RUN and others, but there are 2 RUNs" in result.stderr


def test_runs_with_other_subwords_are_refused_by_name(
    invoke: Any, tiny_run: Any, other_run: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(other_run, foreign, symlinks=True)
    content = (foreign / "subwords.model").read_bytes() + b"\0"
    (foreign / "subwords.model").write_bytes(content)
    manifest = json.loads((foreign / "manifest.json").read_text())
    manifest["files"]["subwords.model"] = hashlib.sha256(content).hexdigest()
    (foreign / "manifest.json").write_text(json.dumps(manifest))
    result = invoke("translate", tiny_run.run, "--with", foreign, input="the man\n")
    assert result.exit_code == 1
    assert f"{foreign} has other subwords than {tiny_run.run}, so they cannot translate together" in result.stderr


@pytest.mark.parametrize("weight", ["0", "-1", "x", "inf", "nan"])
def test_a_weight_that_is_no_number_above_0_is_a_usage_error(invoke: Any, tiny_run: Any, weight: str) -> None:
    result = invoke("translate", tiny_run.run, "--with", f"{tiny_run.run}:{weight}", input="the man\n")
    assert result.exit_code == 2
    assert f"'{weight}' is no weight of {tiny_run.run}: it must be a number above 0" in result.stderr


def test_a_job_belongs_to_its_ensemble_and_its_weights(
    invoke: Any, tiny_run: Any, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.en").write_text("the man\n")
    monkeypatch.setattr("mtmoe.inference.files.resumable_output.PartialOutput.write", _interrupted)
    command = ("translate", tiny_run.run, tmp_path / "a.en", "--output", tmp_path / "out", "--with")
    assert invoke(*command, other_run).exit_code == 130
    result = invoke(*command, f"{other_run}:2", "--resume")
    assert result.exit_code == 1
    assert "was begun with with 1.weight = 1.0, but now it is 2.0" in result.stderr


def _interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_mean_of_checkpoints_translates_as_the_average_that_is_written(
    invoke: Any, tiny_run: Any, text: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run, symlinks=True)
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    on_the_fly = invoke("translate", run, "--checkpoint", "last:2", input=text)
    assert on_the_fly.exit_code == 0, on_the_fly.stderr
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before  # nothing was written
    name = invoke("average", run, "--last", 2).stdout.strip()
    assert on_the_fly.stdout == invoke("translate", run, "--checkpoint", name, input=text).stdout
    (tmp_path / "a.en").write_text("the man\n")
    to_file = ("translate", run, tmp_path / "a.en", "--output", tmp_path / "out", "--checkpoint", "last:2")
    assert invoke(*to_file).exit_code == 0


def test_the_further_uses_that_the_how_tos_show_work(
    invoke: Any, tiny_run: Any, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = "".join(
        (ROOT / "docs" / "howto" / f"{name}.md").read_text() for name in ("terms-and-placeholders", "translate")
    )
    lines = pages.replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("mtmoe translate runs/mine text.en --")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name, run in (("mine", tiny_run.run), ("other", other_run)):
        (tmp_path / "runs" / name).symlink_to(run)
    Path("text.en").write_text("the man sees {0}\n\n")
    Path("terms.tsv").write_text("man\thomme\n")
    outputs = []
    for command in (command for command in commands if "--nbest" not in command):
        if "--with" in command:
            command = command.replace("last:2", "last:1")  # the other run has one checkpoint
        result = invoke(*shlex.split(command, comments=True)[1:])
        assert result.exit_code == 0, result.stderr
        outputs.append(result.stdout)
    sure_terms, soft_terms, placeholders, ensemble, *minimum_bayes_risk = outputs
    assert len(minimum_bayes_risk) == 2
    assert all(output.count("\n") == 2 for output in outputs)
    assert "homme" in sure_terms
    assert soft_terms != ensemble
    assert "{0}" in placeholders
