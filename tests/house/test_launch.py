"""How many processes are started: the torchrun lines of the documents, and the Slurm script."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from mtmoe.cli import main
from torch.distributed.run import get_args_parser

from mtmoe.config import load_recipe
from tests.paths import ROOT

SCRIPT = ROOT / "recipes" / "train.slurm"


def torchrun_lines() -> Iterator[list[str]]:
    """Yield the arguments of torchrun in the blocks of the how-tos."""
    pages = "".join(path.read_text() for path in sorted(ROOT.glob("docs/howto/*.md")))
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", pages, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("torchrun "):
                yield shlex.split(line)[1:]


def check_torchrun(arguments: list[str]) -> None:
    """torchrun knows its options, and mtmoe the command, its options and the recipe."""
    # What follows the module is its own business, so options that torchrun does not know would be taken for it.
    place = arguments.index("-m")
    assert arguments[place + 1] == "mtmoe"
    given, rest = get_args_parser().parse_known_args(arguments)
    assert (given.module, given.training_script) == (True, "mtmoe"), rest
    name, *words = arguments[place + 2 :]
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    values = command.make_context(name, words).params
    if "recipe_name" in values:
        load_recipe(values["recipe_name"], values["overrides"])


@pytest.mark.parametrize("arguments", list(torchrun_lines()), ids=" ".join)
def test_every_torchrun_line_of_the_how_tos_parses(arguments: list[str]) -> None:
    check_torchrun(arguments)


def test_the_how_tos_have_a_line_for_one_node_for_several_and_for_a_changing_number() -> None:
    options = [" ".join(line) for line in torchrun_lines()]
    assert any("--nnodes" not in line and " train " in line for line in options)
    assert any("--nnodes 2 " in line for line in options)
    assert any("--nnodes 1:4 " in line and "--max-restarts" in line for line in options)


def test_the_slurm_script_is_installed_and_has_no_mistake_of_grammar() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert '"train.slurm"' in (ROOT / "pyproject.toml").read_text()
    options = re.findall(r"^#SBATCH --(\S+?)=", SCRIPT.read_text(), re.MULTILINE)
    assert {"nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal"} <= set(options)


@pytest.fixture
def run_script(tmp_path: Path):
    """Run the script with a Slurm that writes down what it is to start."""
    for name, text in (
        ("srun", f'#!/bin/bash\nprintf "%s\\n" "$*" >> {tmp_path}/started\n'),
        ("scontrol", '#!/bin/bash\n[[ "$*" == "show hostnames node[7-8]" ]] && printf "node7\\nnode8\\n"\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    of_slurm = {
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234567",
        "SLURM_GPUS_ON_NODE": "8",
        "SLURM_CPUS_PER_TASK": "64",
    }

    def run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
        environment = os.environ | of_slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        (tmp_path / "started").write_text("")
        done = subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done, [shlex.split(line) for line in (tmp_path / "started").read_text().splitlines()]

    return run


def test_the_slurm_script_starts_the_doctor_and_then_the_training(run_script, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    done, (doctor, train) = run_script("demo", run, "data/demo", "--set", "training.max_steps=500")
    assert done.returncode == 0, done.stderr
    for started in (doctor, train):
        launcher = started.index("torch.distributed.run")
        assert started[launcher - 2 : launcher] == ["python", "-m"]
        check_torchrun(started[launcher + 1 :])
        assert "node7:34567" in started
    assert doctor[-2:] == ["doctor", run]
    assert train[train.index("train") :] == [
        "train", "demo", run, "--data", "data/demo", "--set", "training.max_steps=500",
    ]  # fmt: skip


def test_sent_again_the_slurm_script_goes_on(run_script, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").touch()
    _, (_, train) = run_script("demo", str(tmp_path / "run"), "data/demo")
    assert "--resume" in train


def test_the_slurm_script_tells_how_it_is_used(run_script) -> None:
    done, started = run_script("demo")
    assert done.returncode == 2
    assert "usage: sbatch" in done.stderr
    assert not started
