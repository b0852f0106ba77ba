"""The page: its files, and what it asks for beside the interfaces of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Wanted
from mtmoe.inference.text.suspicion import SENTENCES
from mtmoe.serving.glossaries import checked_entries
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Handler, Interface, json_response, percent
from mtmoe.serving.interfaces.libretranslate import with_direction
from mtmoe.serving.service import TranslatedLine

INTERFACE = Interface("page", lambda refusal: {"error": refusal.message})
_FOLDER = Path(__file__).resolve().parent.parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/texts.js": ("texts.js", "text/javascript"),
}
_MOST_ALTERNATIVES = 8
_MOST_TERMS = 200
# Nothing from anywhere else, and no script but the page's own: text that were taken for HTML could do nothing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class LinesBody(BaseModel):
    """What /mtmoe/translate is sent."""

    text: str = Field(description="A text; its lines are translated one by one.")
    source: str = Field(description="Code of its language, or auto.")
    target: str = Field(description="Code of the language to translate into.")
    alternatives: Annotated[int, Field(ge=0, le=_MOST_ALTERNATIVES)] = Field(
        default=0, description="Further translations wanted of each line; there may be fewer."
    )
    terms: Annotated[list[tuple[str, str]], Field(max_length=_MOST_TERMS)] = Field(
        default=[], description="Terms of the text, each with its translation."
    )
    api_key: str = Field(default="", description="Where the server asks for one.")


async def translate(call: Call) -> Response:
    """Translate a text, and tell all that is known of each line."""
    body = call.body(LinesBody)
    text, detected = with_direction(call.service, body.text, body.source, body.target)
    if body.terms and text.direction.onward is None:
        entries = checked_entries([(number, *pair) for number, pair in enumerate(body.terms, start=1)])
        text = text._replace(terms=Terminology(Term(*entry) for entry in entries))
    wanted = Wanted(1 + body.alternatives, with_alignment=True, with_scores=True)
    [found] = await call.service.translate([text], wanted)
    answer: dict[str, Any] = {
        "source": text.direction.source,
        "target": text.direction.target,
        "text": found.text,
        "lines": [_shown(line) for line in found.lines],
    }
    if detected is not None:
        answer["detected"] = {"language": detected.language, "confidence": percent(detected.probability)}
    return json_response(answer)


def _shown(line: TranslatedLine) -> dict[str, Any]:
    translation = line.translation
    return {
        "source": line.line,
        "translation": translation.text,
        "alignment": translation.alignment,
        "alternatives": [each.text for each in translation.alternatives],
        "confidence": translation.confidence,
        "suspicions": [{"kind": kind, "meaning": SENTENCES[kind]} for kind in translation.suspicions],
        "corrections": [correction._asdict() for correction in translation.corrections],
        "terms": [term._asdict() for term in translation.terms],
        "warnings": translation.warnings,
    }


def _file(name: str, kind: str) -> Handler:
    async def answer(call: Call) -> Response:
        """Send a file of the page; which ones there are is settled here, not by the request."""
        content = (_FOLDER / name).read_bytes()
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return Response(content, headers=headers, media_type=f"{kind}; charset=utf-8")

    return answer


ENDPOINTS = [
    Endpoint(INTERFACE, "POST", "/mtmoe/translate", translate, "Translate a text, with all that is known.", LinesBody),
    *(
        Endpoint(INTERFACE, "GET", path, _file(name, kind), f"The page: {name}.", is_open=True)
        for path, (name, kind) in _FILES.items()
    ),
]
