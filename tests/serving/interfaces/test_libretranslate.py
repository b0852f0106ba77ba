"""LibreTranslate's interface, beyond what its clients send."""

from __future__ import annotations

from typing import Any

from mtmoe.inference.translator import Translator

LINE, OTHER = "Two dogs play in the snow.", "Deux chiens jouent dans la neige."


def test_several_texts_of_several_languages(server: Any, translator: Translator) -> None:
    answer = server.send("POST", "/translate", q=[LINE, f"\n{LINE}"], source="auto", target="fr", alternatives=2)
    assert answer.status == 200
    best = translator.translate([LINE], 3)[0]
    assert answer.json["translatedText"] == [best.text, f"\n{best.text}"]
    assert answer.json["alternatives"][0] == [each.text for each in best.alternatives]
    assert [each["language"] for each in answer.json["detectedLanguage"]] == ["en", "en"]
    assert answer.json["detectedLanguage"][0]["confidence"] > 50


def test_more_alternatives_than_the_beam_has_are_as_many_as_it_has(server: Any) -> None:
    answer = server.send("POST", "/translate", q=LINE, source="en", target="fr", alternatives=50)
    assert 0 < len(answer.json["alternatives"]) <= 3


def test_html(server: Any) -> None:
    text = f'<p>{LINE}</p><script>"x"</script>'
    answer = server.send("POST", "/translate", q=text, source="en", target="fr", format="html")
    assert answer.json["translatedText"].startswith("<p>")
    assert answer.json["translatedText"].endswith('</p><script>"x"</script>')


def test_codes_as_people_write_them(server: Any) -> None:
    one = server.send("POST", "/translate", q=LINE, source="EN-us", target="fra").json
    assert one == server.send("POST", "/translate", q=LINE, source="en", target="fr").json


def test_nothing_to_translate(server: Any) -> None:
    assert server.send("POST", "/translate", q="", source="en", target="fr").json == {"translatedText": ""}
    assert server.send("POST", "/translate", q=" \n", source="auto", target="fr").json["translatedText"] == " \n"
    assert server.send("POST", "/translate", q=[], source="en", target="fr").json == {"translatedText": []}


def test_the_settings_of_surfaces(server: Any, keyed: Any) -> None:
    settings = server.send("GET", "/frontend/settings").json
    assert settings["charLimit"] == 20_000
    assert settings["language"]["source"] == {"code": "en", "name": "English"}
    assert not settings["keyRequired"]
    assert keyed[0].send("GET", "/frontend/settings").json["keyRequired"]
