"""The process of a command: signals at any moment, and standard streams that fail."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_MTMOE = f"{shlex.quote(sys.executable)} -m mtmoe"


def _bash(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("arguments", ["--version", "train --help", "settings"])
def test_a_full_device_for_standard_output_is_a_line(arguments: str) -> None:
    result = _bash(f"{_MTMOE} {arguments} >/dev/full")
    assert result.returncode == 1
    problem = "error: standard output: cannot be written: No space left on device"
    assert result.stderr == f"{problem}\nmake room, or write to another place\n"


@pytest.mark.parametrize("arguments", ["--help", "settings"])
def test_standard_output_that_nobody_reads_is_status_141_without_a_word(arguments: str) -> None:
    result = _bash(f"{{ {_MTMOE} {arguments}; echo $? >&2; }} | true")
    assert result.stderr == "141\n"


@pytest.mark.parametrize(("arguments", "status"), [("settings", 0), ("describe no-such-recipe", 1), ("nonsense", 2)])
def test_a_full_device_for_standard_error_changes_nothing(arguments: str, status: int) -> None:
    as_usual, full = (_bash(f"{_MTMOE} {arguments} 2>{place}") for place in ("/dev/null", "/dev/full"))
    assert (full.returncode, full.stdout) == (as_usual.returncode, as_usual.stdout)
    assert full.returncode == status


_SIGNALLED = """
import os, sys
number, moment = int(sys.argv[1]), sys.argv[2]
class AtImport:
    def find_spec(self, name, *_):
        if name == "mtmoe.cli.group":
            os.kill(os.getpid(), number)
if moment == "import":
    sys.meta_path.insert(0, AtImport())
else:
    import atexit
    atexit.register(os.kill, os.getpid(), number)
sys.argv = ["mtmoe", "recipes"]  # takes longer than the signal does
from mtmoe.cli import run
run()
"""


def _signalled(number: int, moment: str, prefix: str = "") -> subprocess.CompletedProcess[str]:
    return _bash(f"{prefix} {shlex.quote(sys.executable)} -c {shlex.quote(_SIGNALLED)} {number} {moment}")


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "ended by SIGHUP")],
)
def test_a_signal_before_the_command_has_begun_is_a_status_and_a_word(number: signal.Signals, word: str) -> None:
    result = _signalled(number, "import")
    assert (result.returncode, result.stdout, result.stderr) == (128 + number, "", f"{word}\n")


_IN_AN_IMPORT = """
import os, sys
sys.argv = ["mtmoe", "recipes"]  # takes longer than the signal does
from mtmoe.cli import run
import click
class Swallowing:
    # Modules that try others, and take every failure for their absence.
    def find_spec(self, name, *_):
        if name == "mtmoe.config":
            try:
                os.kill(os.getpid(), int(os.environ["NUMBER"]))
            except BaseException:
                print("swallowed", file=sys.stderr)
sys.meta_path.insert(0, Swallowing())
run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_an_import_comes_behind_it(number: signal.Signals) -> None:
    result = _bash(f"NUMBER={number:d} {shlex.quote(sys.executable)} -c {shlex.quote(_IN_AN_IMPORT)}")
    assert "swallowed" not in result.stderr
    assert "Traceback" not in result.stderr
    assert result.returncode in (128 + number, 0)  # 0: it was done before the signal could come once more


def test_an_interrupt_while_a_library_runs_text_is_a_status_of_a_module_too(tmp_path: Path) -> None:
    """Named tuples are made so; and with ``python -m`` the interpreter would end itself by SIGINT in the end."""
    begun = _SIGNALLED.replace("            os.kill(", "            exec('os.kill(os.getpid(), number)'); os.kill(")
    (tmp_path / "signalled.py").write_text(begun)
    python = f"PYTHONPATH={tmp_path} {shlex.quote(sys.executable)}"
    result = _bash(f"{python} -m signalled {signal.SIGINT:d} import")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_behind_the_end_of_the_work_does_not_undo_it(number: signal.Signals) -> None:
    result = _signalled(number, "end")
    assert (result.returncode, result.stderr) == (0, "")
    assert "wmt14-en-fr" in result.stdout


def test_nohup_is_respected() -> None:
    result = _signalled(signal.SIGHUP, "import", prefix="nohup")
    assert result.returncode == 0
    assert "wmt14-en-fr" in result.stdout


def test_few_open_files_are_a_line(tmp_path: Path, tiny_run: object) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))

    (tmp_path / "a.en").write_text("the man\n")
    arguments = [sys.executable, "-m", "mtmoe", "translate", tiny_run.run, tmp_path / "a.en", "--device", "cpu"]  # type: ignore[attr-defined]
    result = subprocess.run(arguments, capture_output=True, text=True, preexec_fn=few, timeout=600, check=False)
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or "ulimit -n" in result.stderr
    assert os.listdir(tmp_path) == ["a.en"]
