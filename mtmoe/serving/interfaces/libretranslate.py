"""LibreTranslate's interface: /translate, /translate_file, /detect, /languages, /frontend/settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from mtmoe.inference.requests import Wanted
from mtmoe.serving.detection import Detected
from mtmoe.serving.directions import AUTO, ServedDirection
from mtmoe.serving.document_store import format_of_upload, supported_suffixes
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Interface, file_response, json_response, listed, percent
from mtmoe.serving.language_names import name_in_english
from mtmoe.serving.refusal import Refusal
from mtmoe.serving.service import TextToTranslate, TranslationService

INTERFACE = Interface("libretranslate", lambda refusal: {"error": refusal.message})
_PREFIX = re.compile("(?:/[A-Za-z0-9._~-]+)*")
MOST_ALTERNATIVES = 100


class TranslateBody(BaseModel):
    """What /translate is sent."""

    q: str | list[str] = Field(description="A text, or several.")
    source: str = Field(description="Code of its language, or auto.")
    target: str = Field(description="Code of the language to translate into.")
    format: Literal["text", "html"] = Field(default="text", description="html: tags stay, as does all that is no text.")
    alternatives: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] = Field(
        default=0, description="Further translations wanted; there may be fewer."
    )
    api_key: str = Field(default="", description="Where the server asks for one.")


class DetectBody(BaseModel):
    """What /detect is sent."""

    q: str | list[str] = Field(description="A text.")
    api_key: str = Field(default="", description="Where the server asks for one.")


def with_direction(
    service: TranslationService, text: str, source: str, target: str, *, markup: bool = False
) -> tuple[TextToTranslate, Detected | None]:
    """Return a text with its direction, and what was detected where the source is ``auto``.

    Raises:
        Refusal: the direction is not served.
    """
    if source.lower() != AUTO:
        return TextToTranslate(text, service.directions.find(source, target), markup), None
    wanted = service.directions.target_of(target)
    detected = service.detect(text, wanted)[0]
    return TextToTranslate(text, service.directions.find(detected.language, wanted), markup), detected


async def translate(call: Call) -> Response:
    """Translate a text or several."""
    body = call.body(TranslateBody)
    pairs = [
        with_direction(call.service, text, body.source, body.target, markup=body.format == "html")
        for text in listed(body.q)
    ]
    found = await call.service.translate([text for text, _ in pairs], Wanted(num_best=1 + body.alternatives))
    columns: dict[str, list[Any]] = {"translatedText": [each.text for each in found]}
    if body.alternatives:
        columns["alternatives"] = [list(each.alternatives) for each in found]
    if body.source.lower() == AUTO:
        columns["detectedLanguage"] = [_shown(detected) for _, detected in pairs if detected]
    return json_response({key: values[0] if isinstance(body.q, str) else values for key, values in columns.items()})


class TranslateFileBody(BaseModel):
    """What /translate_file is sent, beside the file."""

    source: str = Field(description="Code of the document's language; or auto, where only one is translated.")
    target: str = Field(description="Code of the language to translate into.")
    api_key: str = Field(default="", description="Where the server asks for one.")


def direction_of_document(service: TranslationService, source: str, target: str) -> ServedDirection:
    """Return the direction of a document: its language is not detected, but the only one may be left out.

    Raises:
        Refusal: the direction is not served, or there are several.
    """
    if source.lower() != AUTO:
        return service.directions.find(source, target)
    wanted = service.directions.target_of(target)
    sources = [each.source for each in service.directions if each.target == wanted]
    if len(sources) != 1:
        raise Refusal(400, f"the language of a document is needed, one of {', '.join(sources)}")
    return service.directions.find(sources[0], wanted)


async def translate_file(call: Call) -> Response:
    """Translate a document, and tell where to fetch it."""
    body, file = call.body(TranslateFileBody), call.file()
    suffix, format = format_of_upload(file.name, file.content)
    direction = direction_of_document(call.service, body.source, body.target)
    call.service.documents.check_room(len(file.content))
    content = await call.service.translate_document(file.content, "the document", format, direction)
    number = call.service.documents.add(content, suffix, format)
    url = call.request.url.replace(path=f"{_prefix(call)}/download_file/{number}{suffix}", query="")
    return json_response({"translatedFileUrl": str(url)})


def _prefix(call: Call) -> str:
    """Return the path below which a proxy has the server, as it says; empty where it says nothing, or no path."""
    prefix = call.request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    return prefix if _PREFIX.fullmatch(prefix) else ""


async def download_file(call: Call) -> Response:
    """Send a translated document; who knows its name was told it."""
    name = call.request.path_params["name"]
    document = call.service.documents.find(name.partition(".")[0])
    return file_response(document.content, f"translation{document.suffix}", document.format.mime_type)


async def detect(call: Call) -> Response:
    """Tell which language a text is in."""
    text = " ".join(listed(call.body(DetectBody).q))
    if len(text) > call.service.limits.max_characters:
        raise Refusal(413, f"the request has {len(text)} characters, and {call.service.limits.max_characters} may be")
    return json_response([_shown(each) for each in call.service.detect(text)])


async def languages(call: Call) -> Response:
    """List the languages, with what each can be translated into."""
    directions = call.service.directions
    codes = dict.fromkeys([*directions.sources, *directions.targets])
    shown = []
    for code in codes:
        entry: dict[str, Any] = {"code": code, "name": name_in_english(code), "targets": directions.targets_of(code)}
        if pivoted := directions.pivoted_targets_of(code):
            entry["pivoted_targets"] = pivoted
        shown.append(entry)
    return json_response(shown)


async def settings(call: Call) -> Response:
    """Tell clients with a surface of their own what the server can do."""
    first = next(iter(call.service.directions))
    return json_response(
        {
            "apiKeys": call.server.keys is not None,
            "keyRequired": call.server.keys is not None,
            "charLimit": call.service.limits.max_characters,
            "frontendTimeout": 500,
            "filesTranslation": True,
            "supportedFilesFormat": supported_suffixes(),
            "suggestions": False,
            "language": {
                "source": {"code": first.source, "name": name_in_english(first.source)},
                "target": {"code": first.target, "name": name_in_english(first.target)},
            },
        }
    )


def _shown(detected: Detected) -> dict[str, Any]:
    return {"language": detected.language, "confidence": percent(detected.probability)}


ENDPOINTS = [
    Endpoint(INTERFACE, "POST", "/translate", translate, "Translate a text or several.", TranslateBody),
    Endpoint(
        INTERFACE,
        "POST",
        "/translate_file",
        translate_file,
        "Translate a document.",
        TranslateFileBody,
        takes_file=True,
    ),
    Endpoint(INTERFACE, "GET", "/download_file/{name}", download_file, "Send a translated document.", is_open=True),
    Endpoint(INTERFACE, "POST", "/detect", detect, "Detect the language of a text.", DetectBody),
    Endpoint(INTERFACE, "GET", "/languages", languages, "List the languages.", is_open=True),
    Endpoint(INTERFACE, "GET", "/frontend/settings", settings, "Tell what the server can do.", is_open=True),
]
