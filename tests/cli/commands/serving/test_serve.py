"""`mtmoe serve` as a process: it says where it is, drains at SIGTERM, and tells mistakes in two lines."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mtmoe.inference.translator import Translator


@contextlib.contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command; yield the process and its port when it is ready."""
    command = [sys.executable, "-m", "mtmoe", "serve", *map(str, arguments), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stderr is not None
        try:
            lines = []
            while not lines or "serving http" not in lines[-1]:
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            yield process, int(lines[-1].rpartition(":")[2])
        finally:
            process.kill()


def ask(port: int, text: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    body = json.dumps({"q": text, "source": "en", "target": "fr"})
    connection.request("POST", "/translate", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_sighup_loads_anew_and_sigterm_in_the_middle_answers_all_that_was_accepted(tiny_run: Any) -> None:
    lines = [f"the red dog sees {word} house today" for word in ("a", "the", "man", "woman")]
    expected = [translation.text for translation in Translator(tiny_run.run, device="cpu").translate(lines)]
    texts = ["\n".join(lines[n % 4 :] * 5) for n in range(8)]
    with served(tiny_run.run, "--timeout", 600) as (process, port), ThreadPoolExecutor(8) as pool:
        assert ask(port, lines[0]) == (200, {"translatedText": expected[0]})
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert any(line.startswith(f"reloaded {tiny_run.run}: ") for line in process.stderr)
        answers = [pool.submit(ask, port, text) for text in texts]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        accepted = 0.0
        while accepted < 1 + sum(len(text.splitlines()) for text in texts):  # until the server has taken them all
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read().decode()
            accepted = float(metrics.partition('\nmtmoe_lines_total{direction="en-fr"} ')[2].split()[0])
        connection.close()
        process.send_signal(signal.SIGTERM)
        for number, answer in enumerate(answers):
            assert answer.result() == (200, {"translatedText": "\n".join(expected[number % 4 :] * 5)})
        told = process.stderr.read()
        assert process.wait(60) == 0
        assert "every accepted request was answered" in told
        assert "red dog" not in told
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_mistakes_are_told_before_anything_is_served(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = invoke("serve", tiny_run.run, "--port", port)
        assert result.exit_code == 1
        assert f"cannot serve at 127.0.0.1:{port}" in result.stderr
    keys, glossaries = tmp_path / "keys", tmp_path / "glossaries"
    keys.write_text("anna secret\n")
    glossaries.mkdir()
    (glossaries / "x.json").write_text("{}")
    for arguments, said in (
        (("--api-keys", keys), "line 1: is not NAME sha256:DIGITS"),
        (("--api-keys", tmp_path / "none"), "none: No such file or directory"),
        (("--host", "no such host"), "name an address of this machine"),
        ((tiny_run.run,), "both translate en-fr"),
        (("--tls-certificate", keys, "--tls-key", keys), "are no certificate and its key"),
        (("--pivot", "en"), "no direction goes by way of 'en'"),
        (("--glossaries", glossaries), "x.json: damaged"),
    ):
        result = invoke("serve", tiny_run.run, "--port", 0, *arguments)
        assert result.exit_code == 1, said
        assert said in result.stderr
    assert invoke("serve", tiny_run.run, "--tls-key", keys).exit_code == 2
    assert invoke("serve").exit_code == 2


def test_a_key_is_printed_once_and_its_hash_kept(invoke: Any, tmp_path: Path) -> None:
    from mtmoe.serving.api_keys import read_api_keys

    result = invoke("add-key", tmp_path / "keys", "anna")
    assert result.exit_code == 0
    [key] = result.stdout.split()
    assert read_api_keys(tmp_path / "keys").name_of(key) == "anna"
    again = invoke("add-key", tmp_path / "keys", "anna")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "anna has a key already" in again.stderr
