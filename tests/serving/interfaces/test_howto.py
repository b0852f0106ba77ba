"""What docs/howto/server.md shows of clients is run as it stands there, against a server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Request
from mtmoe.inference.translator import Translator
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "howto" / "server.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    # The page's runs are English-German, the test's English-French.
    return [re.sub(r'\bde\b(?=["\s]|$)', "fr", block.replace("DE", "FR")) for block in found]


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.split()[1])
def test_clients(server: Any, english_french: Path, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ADDRESS in block
    exec(block.replace(ADDRESS, server.url), {})
    terms = Terminology([Term("station", "Bahnhof")]) if "glossary" in block else None
    translator = Translator(english_french, device="cpu", soft_terms=0.5)
    [expected] = translator.translate([Request("Where is the station?", terms=terms)])
    assert capsys.readouterr().out == f"{expected.text}\n"


def test_lines_of_curl(server: Any) -> None:
    commands = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    lines = [line for line in commands if line.startswith("curl ")]  # others are of docker
    assert len(lines) == 2
    for line in lines:
        program, address, *options = shlex.split(line)
        assert program == "curl"
        data = [value for option, value in zip(options[::2], options[1::2], strict=True) if option == "-d"]
        kind = "application/json" if "-H" in options else "application/x-www-form-urlencoded"
        body = data[0] if len(data) == 1 else "&".join(data).replace(" ", "+")
        answer = server.send("POST", address.removeprefix(ADDRESS), body, {"Content-Type": kind})
        assert answer.status == 200
        assert answer.json["translatedText"]
