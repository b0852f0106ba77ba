"""The page: what it asks for, and what its files must not do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import mtmoe.serving
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Request
from mtmoe.inference.translator import Translator

FOLDER = Path(mtmoe.serving.__file__).parent / "page"
HTML, CSS, SCRIPT, TEXTS = (
    (FOLDER / name).read_text(encoding="utf-8") for name in ("index.html", "page.css", "page.js", "texts.js")
)


def test_a_line_comes_with_all_that_is_known_of_it(server: Any, translator: Translator) -> None:
    text = "Where is the station?\n\nTwo dogs play."
    answer = server.send("POST", "/mtmoe/translate", text=text, source="auto", target="fr", alternatives=2).json
    expected = translator.translate(["Where is the station?", "Two dogs play."], 3, with_alignment=True)
    assert answer["text"] == f"{expected[0].text}\n\n{expected[1].text}"
    assert (answer["source"], answer["target"]) == ("en", "fr")
    assert answer["detected"]["language"] == "en"
    for line, translation in zip(answer["lines"], expected, strict=True):
        assert line["translation"] == translation.text
        assert line["alignment"] == [list(link) for link in translation.alignment]
        assert line["alternatives"] == [each.text for each in translation.alternatives]
        assert [each["kind"] for each in line["suspicions"]] == list(translation.suspicions)
        assert line["confidence"] is None


def test_terms_of_a_text_are_those_of_the_request(server: Any, english_french: Path) -> None:
    text, terms = "Where is the station?", [["station", "marché"]]
    answer = server.send("POST", "/mtmoe/translate", text=text, source="en", target="fr", terms=terms).json
    translator = Translator(english_french, device="cpu", soft_terms=0.5)
    request = Request(text, terms=Terminology([Term("station", "marché")]))
    assert answer["text"] == translator.translate([request])[0].text
    [told] = answer["lines"][0]["terms"]
    assert told == {"source": "station", "target": "marché", "applied": "marché" in answer["text"].split()}
    for wrong, problem in (([["", "x"]], "line 1: a side is blank"), ([["a", "b"]] * 2, "line 2: 'a' stands twice")):
        refused = server.send("POST", "/mtmoe/translate", text=text, source="en", target="fr", terms=wrong)
        assert (refused.status, problem in refused.json["error"]) == (400, True)


def test_what_looks_like_html_comes_back_as_text_in_json(server: Any) -> None:
    answer = server.send("POST", "/mtmoe/translate", text="<script>alert(1)</script> x", source="en", target="fr")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" in answer.json["lines"][0]["source"]


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/texts.js"])
def test_its_files_are_sent_with_a_policy_that_lets_in_nothing_else(server: Any, path: str) -> None:
    answer = server.send("GET", path)
    assert answer.status == 200
    assert answer.text == (FOLDER / ("index.html" if path == "/" else path[1:])).read_text(encoding="utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_it_needs_nothing_from_elsewhere() -> None:
    for content in (HTML, CSS, SCRIPT, TEXTS):
        assert not re.search(
            r"https?:|//[a-z]|@import|url\(", re.sub(r"^\s*//.*$|(?<=[;,]) //.*$", "", content, flags=re.MULTILINE)
        )


def test_nothing_becomes_html() -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert way not in SCRIPT


def test_every_text_is_there_in_every_language() -> None:
    blocks = re.findall(r"^  (\w\w): \{(.*?)^  \}", TEXTS, flags=re.MULTILINE | re.DOTALL)
    assert [code for code, _ in blocks] == ["en", "de", "fr"]
    keys = [
        {key.strip('"') for key in re.findall(r'(?:^|[,{])\s*(\w+|"[a-z ]+"): "', block, re.MULTILINE)}
        for _, block in blocks
    ]
    assert keys[0] == keys[1] == keys[2]
    used = set(re.findall(r'data-text="(\w+)"', HTML)) | set(re.findall(r'\b(?:text|state)\("(\w+)"', SCRIPT))
    kinds = set(mtmoe_suspicions())
    assert used | kinds == keys[0], "what is used, and nothing else"
    places = [re.findall(r"\{\d\}", block) for _, block in blocks]
    assert sorted(places[0]) == sorted(places[1]) == sorted(places[2])


def mtmoe_suspicions() -> tuple[str, ...]:
    from mtmoe.inference.text.suspicion import SUSPICIONS

    return SUSPICIONS


def test_every_control_has_a_name() -> None:
    for control in re.findall(r'<(?:select|textarea|input) id="([\w-]+)"', HTML):
        assert f'for="{control}"' in HTML or control == "source"  # which the script names
    assert 'source.setAttribute("aria-label"' in SCRIPT
    assert '<html lang="en">' in HTML
    assert 'name="viewport"' in HTML
