"""DeepL's interface, version 2: /v2/translate, /v2/languages, /v2/usage."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from mtmoe.serving.directions import AUTO
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Interface, json_response, listed
from mtmoe.serving.interfaces.libretranslate import with_direction
from mtmoe.serving.language_names import name_in_english
from mtmoe.serving.refusal import Refusal

INTERFACE = Interface("deepl", lambda refusal: {"message": refusal.message})
_UNLIMITED = 10**12
"""Characters: clients want a limit, and there is none."""
_REFUSED = ("glossary_id", "glossary_ids", "style_id", "ignore_tags", "splitting_tags", "non_splitting_tags")
"""Fields that would change the translation, and that nothing here carries out."""


class TranslateBody(BaseModel):
    """What /v2/translate is sent."""

    text: str | list[str] = Field(description="A text, or several.")
    target_lang: str = Field(description="Code of the language to translate into, such as DE.")
    source_lang: str | None = Field(default=None, description="Code of the text's language; absent: it is detected.")
    tag_handling: Literal["html", "xml", ""] | None = Field(default=None, description="The text has tags, which stay.")
    split_sentences: Literal["0", "1", "nonewlines", 0, 1] | None = Field(
        default=None, description="0 and nonewlines: line ends are white space. Else each line stands for itself."
    )
    formality: str | None = Field(default=None, description="default, prefer_more or prefer_less, which do nothing.")
    show_billed_characters: bool = Field(default=False, description="Tell how long each text is.")


async def translate(call: Call) -> Response:
    """Translate texts."""
    body = call.body(TranslateBody)
    for field in _REFUSED:
        if call.fields.get(field):
            raise Refusal(400, f"{field} is not supported")
    if body.formality not in (None, "", "default", "prefer_more", "prefer_less"):
        raise Refusal(400, f"formality {body.formality!r} is not supported for any language")
    one_line = body.split_sentences in ("0", 0, "nonewlines")
    texts = [
        with_direction(call.service, text, body.source_lang or AUTO, body.target_lang, markup=bool(body.tag_handling))[
            0
        ]._replace(one_line=one_line)
        for text in listed(body.text)
    ]
    answers = []
    for text, found in zip(texts, await call.service.translate(texts), strict=True):
        answer: dict[str, Any] = {"detected_source_language": _shown(text.direction.source, with_region=False)}
        answer["text"] = found.text
        if body.show_billed_characters:
            answer["billed_characters"] = len(text.text)
        answers.append(answer)
    return json_response({"translations": answers})


async def languages(call: Call) -> Response:
    """List the languages: those of texts, or with ``type=target`` those to translate into."""
    kind = call.fields.get("type", "source")
    if kind not in ("source", "target"):
        raise Refusal(400, f"type {kind!r} is neither source nor target")
    directions = call.service.directions
    codes = directions.targets if kind == "target" else directions.sources
    more = {"supports_formality": False} if kind == "target" else {}
    return json_response([{"language": _shown(code), "name": name_in_english(code), **more} for code in codes])


async def usage(call: Call) -> Response:
    """Tell how many characters were translated since the server began."""
    return json_response({"character_count": call.service.num_characters, "character_limit": _UNLIMITED})


def _shown(code: str, *, with_region: bool = True) -> str:
    return (code if with_region else code.partition("-")[0]).upper()


ENDPOINTS = [
    Endpoint(INTERFACE, "POST", "/v2/translate", translate, "Translate texts.", TranslateBody),
    Endpoint(INTERFACE, "GET", "/v2/languages", languages, "List the languages."),
    Endpoint(INTERFACE, "POST", "/v2/languages", languages, "List the languages."),
    Endpoint(INTERFACE, "GET", "/v2/usage", usage, "Tell how much was translated."),
    Endpoint(INTERFACE, "POST", "/v2/usage", usage, "Tell how much was translated."),
]
