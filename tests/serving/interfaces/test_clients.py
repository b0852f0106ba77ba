"""Clients as they are on the registry, unmodified, against a server; what they get is what `mtmoe translate` gives."""

from __future__ import annotations

from typing import Any

import deepl
import openai
import pytest
from deep_translator import LibreTranslator
from libretranslatepy import LibreTranslateAPI

from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES

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
    with pytest.raises(deepl.DeepLException, match="glossary_id is not supported"):
        client.translate_text("x", source_lang="EN", target_lang="FR", glossary="g")
    with pytest.raises(deepl.DeepLException, match="'JA' is not served"):
        client.translate_text("x", target_lang="JA")
    with pytest.raises(deepl.AuthorizationException):
        deepl.Translator("wrong", server_url=server.url).translate_text("x", target_lang="FR")


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
