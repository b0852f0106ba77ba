"""The Dockerfile without Docker: its commands run in folders in place of the root, and its server is asked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

import mtmoe
from mtmoe.sharing.packaging import PackageOptions, package_run
from tests.inference.conftest import SENTENCES, untrained_run
from tests.paths import ROOT


class Instruction(NamedTuple):
    """A line of a Dockerfile, continued ones joined."""

    name: str
    rest: str


def _instructions() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [Instruction(*re.split(r"\s+", line.strip(), maxsplit=1)) for line in lines]


INSTRUCTIONS = _instructions()
RUNS = [each.rest for each in INSTRUCTIONS if each.name == "RUN"]


def _form(name: str) -> list[str]:
    [found] = [each.rest for each in INSTRUCTIONS if each.name == name]
    command: list[str] = json.loads(found[found.index("[") :])
    return command


def test_it_has_two_stages_of_one_python_and_ends_as_a_user_without_rights():
    assert [each.rest.split()[0] for each in INSTRUCTIONS if each.name == "FROM"] == ["python:3.11", "python:3.11-slim"]
    names = [each.name for each in INSTRUCTIONS]
    assert names.index("USER") < names.index("ENTRYPOINT")
    [user] = [each.rest for each in INSTRUCTIONS if each.name == "USER"]
    assert f"--uid {user} " in next(command for command in RUNS if command.startswith("useradd"))
    assert Instruction("STOPSIGNAL", "SIGTERM") in INSTRUCTIONS
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs"} <= set(ignored)


def test_the_first_stage_builds_a_wheel_and_the_second_installs_it_with_the_server(clone, tmp_path):
    """The commands as they stand there, but for the network: pip is told by its variables to do without."""
    build, install = RUNS[0], RUNS[1]
    wheels = tmp_path / "wheels"
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = build.replace("${PIP_OPTIONS}", "").replace("/src", str(clone)).replace("/wheels", str(wheels))
    _shell(command, tmp_path, offline)
    [made] = wheels.iterdir()
    assert made.name.startswith(f"mtmoe-{mtmoe.__version__}-py3-none-linux")
    source = tmp_path / "src"
    source.mkdir()
    (source / "constraints.txt").write_bytes((clone / "constraints.txt").read_bytes())
    command = install.replace("${PIP_OPTIONS}", "").replace("/src", str(source)).replace("/wheels", str(wheels))
    command = command.replace("/opt/mtmoe", str(tmp_path / "venv"))
    assert "[serve]" in command
    _shell(command, tmp_path, {**offline, "PIP_NO_DEPS": "1"})
    assert (tmp_path / "venv" / "bin" / "mtmoe").is_file()
    assert not wheels.exists()


def test_its_server_answers_its_health_check_translates_and_ends_by_its_signal(installed, tmp_path):
    run = untrained_run(tmp_path, SENTENCES)
    package_run(PackageOptions(run, "0.1.0"), tmp_path / "model.mtmoe")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert Instruction("EXPOSE", "8000") in INSTRUCTIONS

    def placed(words: list[str]) -> list[str]:
        replaced = {"/opt/mtmoe": str(installed), "/models/model.mtmoe": str(tmp_path / "model.mtmoe"), "8000": port}
        for old, new in replaced.items():
            words = [word.replace(old, new) for word in words]
        return words

    with subprocess.Popen(placed(_form("ENTRYPOINT") + _form("CMD")), stderr=subprocess.PIPE, cwd=tmp_path) as server:
        try:
            _wait_until_healthy(placed(_form("HEALTHCHECK")), server)
            body = json.dumps({"q": "Where is the station?", "source": "en", "target": "fr"}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/translate", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                assert "translatedText" in json.load(response)
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


def _wait_until_healthy(check: list[str], server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while subprocess.run(check, capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, server.stderr.read() if server.stderr else b""
        if time.monotonic() > deadline:
            pytest.fail("no answer to the health check")
        time.sleep(0.2)


def _shell(command: str, cwd: Path, variables: dict[str, str]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **variables, "PATH": path}
    done = subprocess.run(["sh", "-ec", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
