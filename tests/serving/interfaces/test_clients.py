"""Clients as they are on the registry, unmodified, against a server; what they get is what `mtmoe translate` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deepl
import openai
import pytest
from deep_translator import LibreTranslator
from libretranslatepy import LibreTranslateAPI

from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.serving.api_keys import add_api_key
from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.loading import ServedRun, load_run
from tests.inference.conftest import SENTENCES
from tests.inference.held_models import AtOnce

ENGLISH = SENTENCES[:3]


@pytest.fixture(scope="module")
def expected(translator: Translator) -> list[str]:
    """What `mtmoe translate` writes."""
    return [translation.text for translation in translator.translate(ENGLISH)]


def test_libretranslatepy(server: Any, expected: list[str]) -> None:
    client = LibreTranslateAPI(server.url)
    assert client.translate(ENGLISH[0], "en", "fr") == expected[0]
    assert client.translate("\n".join(ENGLISH), "auto", "fr") == "\n".join(expected)
    assert client.detect("Les enfants attendent le bus près du marché.")[0]["language"] == "fr"
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["fr"]},
        {"code": "fr", "name": "French", "targets": ["en"]},
    ]


def test_libretranslatepy_with_a_key(keyed: Any, expected: list[str]) -> None:
    server, key = keyed
    assert LibreTranslateAPI(server.url, api_key=key).translate(ENGLISH[0], "en", "fr") == expected[0]
    assert LibreTranslateAPI(server.url).languages()
    with pytest.raises(OSError, match="403"):
        LibreTranslateAPI(server.url, api_key="wrong").translate(ENGLISH[0], "en", "fr")


def test_deep_translator(keyed: Any, expected: list[str]) -> None:
    server, key = keyed
    client = LibreTranslator(source="en", target="fr", api_key=key, custom_url=f"{server.url}/")
    assert client.translate_batch(ENGLISH) == expected
    assert key not in "".join(server.log), "it was in the query"


def test_deepl(keyed: Any, expected: list[str]) -> None:
    server, key = keyed
    client = deepl.Translator(key, server_url=server.url)
    one = client.translate_text(ENGLISH[0], target_lang="FR")
    assert (one.text, one.detected_source_lang) == (expected[0], "EN")
    several = client.translate_text(ENGLISH, source_lang="EN", target_lang="FR")
    assert [each.text for each in several] == expected
    as_one = client.translate_text("Where is\nthe station?", target_lang="FR", split_sentences="nonewlines")
    assert as_one.text == expected[0]
    tagged = client.translate_text("<p>Where is the station?</p>", target_lang="FR", tag_handling="html")
    assert tagged.text == f"<p>{expected[0]}</p>"
    assert [(each.code, each.name) for each in client.get_source_languages()] == [("EN", "English")]
    assert [each.code for each in client.get_target_languages()] == ["FR"]
    assert client.get_usage().character.count > 0
    with pytest.raises(deepl.DeepLException, match="there is no glossary 'g'"):
        client.translate_text("x", source_lang="EN", target_lang="FR", glossary="g")
    with pytest.raises(deepl.DeepLException, match="without --glossaries DIR"):
        client.create_glossary("x", "EN", "FR", {"a": "b"})
    with pytest.raises(deepl.DeepLException, match="'JA' is not served"):
        client.translate_text("x", target_lang="JA")
    with pytest.raises(deepl.AuthorizationException):
        deepl.Translator("wrong", server_url=server.url).translate_text("x", target_lang="FR")


def test_deepl_glossaries(english_french: Path, running: Any, tmp_path: Path) -> None:
    share = ["decoding.soft_terms=0.9"]  # so much that a model that knows nothing follows them
    entries = {"station": "marché", "Two dogs": "la gare"}
    runs = [load_run(english_french, device="cpu", overrides=share)]
    translator = Translator(english_french, device="cpu", overrides=share, soft_terms=0.9)
    terms = Terminology(Term(*entry) for entry in entries.items())
    keys = [add_api_key(tmp_path / "keys", name) for name in ("anna", "bert")]
    with running(runs, glossaries=tmp_path / "glossaries", keys=tmp_path / "keys") as server:
        client, other = (deepl.Translator(key, server_url=server.url) for key in keys)
        made = client.create_glossary("Trains", "EN", "FR", entries)
        assert (made.name, made.source_lang, made.target_lang, made.entry_count) == ("Trains", "EN", "FR", 2)
        assert made.ready
        assert client.get_glossary(made.glossary_id).creation_time == made.creation_time
        assert client.get_glossary_entries(made) == entries
        assert [each.glossary_id for each in client.list_glossaries()] == [made.glossary_id]
        assert other.list_glossaries() == []
        assert [(pair.source_lang, pair.target_lang) for pair in client.get_glossary_languages()] == [("en", "fr")]
        found = client.translate_text(ENGLISH, source_lang="EN", target_lang="FR", glossary=made)
        expected = translator.translate([Request(line, terms=terms) for line in ENGLISH])
        assert [each.text for each in found] == [each.text for each in expected]
        plain = client.translate_text(ENGLISH, source_lang="EN", target_lang="FR")
        assert [each.text for each in plain] == [each.text for each in translator.translate(ENGLISH)]
        assert plain[0].text != found[0].text
        assert "marché" in found[0].text
        from_csv = client.create_glossary_from_csv("CSV", "EN", "FR", "a,b\n")
        assert client.get_glossary_entries(from_csv.glossary_id) == {"a": "b"}
        with pytest.raises(deepl.GlossaryNotFoundException):
            other.get_glossary(made.glossary_id)
        with pytest.raises(deepl.DeepLException, match="no glossary"):
            other.translate_text("x", source_lang="EN", target_lang="FR", glossary=made.glossary_id)
        client.delete_glossary(made)
        with pytest.raises(deepl.GlossaryNotFoundException):
            client.get_glossary(made)
        with pytest.raises(deepl.DeepLException, match="'JA' is not served"):
            client.create_glossary("x", "EN", "JA", {"a": "b"})


def test_a_third_language_by_way_of_one_that_both_runs_have(running: Any) -> None:
    def run(source: str, target: str) -> ServedRun:
        def translate(lines: Any, wanted: Any) -> list[Translation]:
            return [Translation(f"{target}({line.text})", alignment=((0, 1), (1, 0))) for line in lines]

        return ServedRun(
            f"{source}-{target}", [ServedDirection(source, target, f"{source}-{target}")], AtOnce(translate), 2
        )

    with running([run("de", "en"), run("en", "fr")], pivot="en") as server:
        client = LibreTranslateAPI(server.url)
        assert client.translate("zwei Hunde\n\nda", "de", "fr") == "fr(en(zwei Hunde))\n\nfr(en(da))"
        assert client.languages() == [
            {"code": "de", "name": "German", "targets": ["en", "fr"], "pivoted_targets": ["fr"]},
            {"code": "en", "name": "English", "targets": ["fr"]},
            {"code": "fr", "name": "French", "targets": []},
        ]
        answer = server.send("POST", "/mtmoe/translate", text="zwei Hunde", source="de", target="fr").json
        assert answer["lines"][0]["alignment"] == [[0, 0], [1, 1]]
        with openai.OpenAI(api_key="key", base_url=f"{server.url}/v1", max_retries=0) as chat:
            messages = [{"role": "user", "content": "zwei\nHunde"}]
            chunks = list(chat.chat.completions.create(model="de-fr", messages=messages, stream=True))
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == "fr(en(zwei))\nfr(en(Hunde))"
        asked = server.send("POST", "/v2/translate", text=["x"], source_lang="DE", target_lang="FR", glossary_id="g")
        assert asked.status == 404


def test_openai(keyed: Any, expected: list[str]) -> None:
    server, key = keyed
    with openai.OpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["en-fr"]
        assert client.models.retrieve("en-fr").owned_by == "mtmoe"
        messages = [
            {"role": "system", "content": "You translate."},
            {"role": "user", "content": [{"type": "text", "text": ENGLISH[0]}]},
        ]
        answer = client.chat.completions.create(model="en-fr", messages=messages, n=3)
        assert answer.choices[0].message.content == expected[0]
        assert 1 < len(answer.choices) <= 3
        assert answer.usage.prompt_tokens == len(ENGLISH[0].split())
        several = [{"role": "user", "content": "\n".join(ENGLISH) + "\n"}]
        stream = client.chat.completions.create(
            model="en-fr", messages=several, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        pieces = [
            chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
        ]
        assert pieces == [expected[0], "\n" + expected[1], "\n" + expected[2], "\n"]
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage.completion_tokens == len(" ".join(expected).split())
        with pytest.raises(openai.NotFoundError, match="'gpt' does not exist"):
            client.chat.completions.create(model="gpt", messages=several)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="wrong", base_url=f"{server.url}/v1", max_retries=0).models.list()
