"""DeepL's interface, version 2: /v2/translate, /v2/document, /v2/languages, /v2/usage, /v2/glossaries."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.serving.directions import AUTO, ServedDirection
from mtmoe.serving.document_store import format_of_upload
from mtmoe.serving.glossaries import EntriesFormat, Glossary, parse_entries
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Interface, file_response, json_response, listed
from mtmoe.serving.interfaces.libretranslate import direction_of_document, with_direction
from mtmoe.serving.language_names import name_in_english
from mtmoe.serving.refusal import Refusal

INTERFACE = Interface("deepl", lambda refusal: {"message": refusal.message})
_UNLIMITED = 10**12
"""Characters: clients want a limit, and there is none."""
_REFUSED = ("glossary_ids", "style_id", "ignore_tags", "splitting_tags", "non_splitting_tags")
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
    glossary_id: str | None = Field(
        default=None, description="How terms are to be translated; needs source_lang and a direction of the glossary."
    )


class GlossaryBody(BaseModel):
    """What /v2/glossaries is sent to make a glossary."""

    name: str = Field(description="For people; several may have the same.")
    source_lang: str = Field(description="Code of the language of the terms.")
    target_lang: str = Field(description="Code of the language of their translations.")
    entries: str = Field(description="The terms: one a line, source and translation divided by a tab (or a comma).")
    entries_format: EntriesFormat = Field(default="tsv", description="tsv or csv.")


async def translate(call: Call) -> Response:
    """Translate texts."""
    body = call.body(TranslateBody)
    for field in _REFUSED:
        if call.fields.get(field):
            raise Refusal(400, f"{field} is not supported")
    if body.formality not in (None, "", "default", "prefer_more", "prefer_less"):
        raise Refusal(400, f"formality {body.formality!r} is not supported for any language")
    one_line = body.split_sentences in ("0", 0, "nonewlines")
    directed = (
        with_direction(call.service, text, body.source_lang or AUTO, body.target_lang, markup=bool(body.tag_handling))
        for text in listed(body.text)
    )
    texts = [text._replace(one_line=one_line) for text, _ in directed]
    if body.glossary_id:
        glossary = call.server.glossaries.get(body.glossary_id, call.who)
        if not body.source_lang:
            raise Refusal(400, "source_lang: is needed with a glossary")
        texts = [text._replace(terms=_terms_for(glossary, text.direction)) for text in texts]
    answers = []
    for text, found in zip(texts, await call.service.translate(texts), strict=True):
        answer: dict[str, Any] = {"detected_source_language": _shown(text.direction.source, with_region=False)}
        answer["text"] = found.text
        if body.show_billed_characters:
            answer["billed_characters"] = len(text.text)
        answers.append(answer)
    return json_response({"translations": answers})


class DocumentBody(BaseModel):
    """What /v2/document is sent, beside the file."""

    target_lang: str = Field(description="Code of the language to translate into, such as DE.")
    source_lang: str | None = Field(default=None, description="Code of the document's language; it must be given where "
                                    "the server translates several into that one.")  # fmt: skip
    filename: str = Field(default="", description="Name of the file, if it has another one in the form.")


class DocumentKeyBody(BaseModel):
    """What tells that a document is one's own."""

    document_key: str = Field(description="As the upload was answered.")


async def upload(call: Call) -> Response:
    """Take in a document, and begin to translate it."""
    body, file = call.body(DocumentBody), call.file()
    for field in (*_REFUSED, "output_format"):
        if call.fields.get(field):
            raise Refusal(400, f"{field} is not supported")
    name = body.filename or file.name
    suffix, format = format_of_upload(name, file.content)
    direction = direction_of_document(call.service, body.source_lang or AUTO, body.target_lang)
    call.service.documents.check_room(len(file.content))
    translating = call.service.translate_document(file.content, "the document", format, direction)
    number, document = call.service.documents.start(translating, suffix, format, len(file.content))
    return json_response({"document_id": number, "document_key": document.key})


async def document_status(call: Call) -> Response:
    """Tell how far a document is."""
    number = call.request.path_params["document"]
    document = call.service.documents.find(number, call.body(DocumentKeyBody).document_key)
    answer: dict[str, Any] = {"document_id": number, "status": document.status}
    if document.status == "done":
        answer["billed_characters"] = 0
    if document.status == "error":
        answer["message"] = answer["error_message"] = document.message
    return json_response(answer)


async def document_result(call: Call) -> Response:
    """Send a document that is translated, once."""
    number = call.request.path_params["document"]
    document = call.service.documents.find(number, call.body(DocumentKeyBody).document_key)
    if document.status != "done":
        raise Refusal(503, "the document is not translated yet" if document.status != "error" else document.message)
    call.service.documents.fetched(number)
    return file_response(document.content, f"translation{document.suffix}", document.format.mime_type)


def _terms_for(glossary: Glossary, direction: ServedDirection) -> Terminology:
    if not glossary.is_for(direction.source, direction.target):
        raise Refusal(400, f"the glossary is for {glossary.source}-{glossary.target}, not for {direction}")
    if direction.onward is not None:
        raise Refusal(400, f"{direction} takes {direction.runs}, so that no glossary can be used")
    return glossary.terms


async def make_glossary(call: Call) -> Response:
    """Make a glossary."""
    body = call.body(GlossaryBody)
    directions = call.service.directions
    direction = directions.find(body.source_lang, body.target_lang)
    codes = (_without_region(direction.source), _without_region(direction.target))
    entries = parse_entries(body.entries, body.entries_format)
    made = await asyncio.to_thread(call.server.glossaries.make, body.name, *codes, entries, call.who)
    return json_response(_told(made), 201)


async def glossaries(call: Call) -> Response:
    """List the glossaries."""
    return json_response({"glossaries": [_told(glossary) for glossary in call.server.glossaries.of(call.who)]})


async def glossary(call: Call) -> Response:
    """Tell of one glossary."""
    return json_response(_told(_glossary(call)))


async def glossary_entries(call: Call) -> Response:
    """Send the entries of a glossary, divided by tabs."""
    rows = ("\t".join(entry) for entry in _glossary(call).entries)
    return Response("\n".join(rows).encode(), media_type="text/tab-separated-values")


async def delete_glossary(call: Call) -> Response:
    """Delete a glossary."""
    await asyncio.to_thread(call.server.glossaries.delete, call.request.path_params["glossary_id"], call.who)
    return Response(status_code=204)


async def glossary_languages(call: Call) -> Response:
    """List the directions that a glossary can be for."""
    pairs = [
        {"source_lang": _without_region(each.source), "target_lang": _without_region(each.target)}
        for each in call.service.directions
        if each.onward is None
    ]
    return json_response({"supported_languages": pairs})


def _glossary(call: Call) -> Glossary:
    return call.server.glossaries.get(call.request.path_params["glossary_id"], call.who)


def _told(glossary: Glossary) -> dict[str, Any]:
    return {
        "glossary_id": glossary.glossary_id,
        "name": glossary.name,
        "ready": True,
        "source_lang": glossary.source,
        "target_lang": glossary.target,
        "creation_time": glossary.creation_time,
        "entry_count": len(glossary.entries),
    }


def _without_region(code: str) -> str:
    return code.partition("-")[0]


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
    return (code if with_region else _without_region(code)).upper()


ENDPOINTS = [
    Endpoint(INTERFACE, "POST", "/v2/translate", translate, "Translate texts.", TranslateBody),
    Endpoint(INTERFACE, "POST", "/v2/document", upload, "Translate a document.", DocumentBody, takes_file=True),
    Endpoint(
        INTERFACE, "POST", "/v2/document/{document}", document_status, "Tell how far a document is.", DocumentKeyBody
    ),
    Endpoint(INTERFACE, "POST", "/v2/document/{document}/result", document_result, "Send a document.", DocumentKeyBody),
    Endpoint(INTERFACE, "GET", "/v2/languages", languages, "List the languages."),
    Endpoint(INTERFACE, "POST", "/v2/languages", languages, "List the languages."),
    Endpoint(INTERFACE, "GET", "/v2/usage", usage, "Tell how much was translated."),
    Endpoint(INTERFACE, "POST", "/v2/usage", usage, "Tell how much was translated."),
    Endpoint(INTERFACE, "GET", "/v2/glossary-language-pairs", glossary_languages, "List directions of glossaries."),
    Endpoint(INTERFACE, "POST", "/v2/glossaries", make_glossary, "Make a glossary.", GlossaryBody),
    Endpoint(INTERFACE, "GET", "/v2/glossaries", glossaries, "List the glossaries."),
    Endpoint(INTERFACE, "GET", "/v2/glossaries/{glossary_id}", glossary, "Tell of a glossary."),
    Endpoint(INTERFACE, "DELETE", "/v2/glossaries/{glossary_id}", delete_glossary, "Delete a glossary."),
    Endpoint(INTERFACE, "GET", "/v2/glossaries/{glossary_id}/entries", glossary_entries, "Send a glossary's entries."),
]
