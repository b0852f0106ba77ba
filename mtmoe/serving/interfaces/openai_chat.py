"""OpenAI's interface of chat completions: a model for each direction, and the last message of the user is the text."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from mtmoe.inference.requests import Wanted
from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.interfaces.endpoint import Call, Endpoint, Interface, json_response
from mtmoe.serving.refusal import Refusal
from mtmoe.serving.service import TextToTranslate

_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_MOST_CHOICES = 100


def _error_body(refusal: Refusal) -> dict[str, Any]:
    kind = _KINDS.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": _CODES.get(refusal.status)}}


INTERFACE = Interface("openai", _error_body, keyless_status=401)


class ContentPart(BaseModel):
    """A part of a message."""

    type: str
    text: str = ""


class Message(BaseModel):
    """A message. Only the last one of the user is read."""

    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    """What a stream has."""

    include_usage: bool = False


class ChatBody(BaseModel):
    """What /v1/chat/completions is sent. Settings of the sampling (temperature and the like) change nothing."""

    model: str = Field(description="A direction, such as en-de.")
    messages: list[Message] = Field(min_length=1, description="The last one of the user is the text.")
    stream: bool = Field(default=False, description="Answer line by line.")
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=_MOST_CHOICES)] | None = Field(
        default=1, description="Translations wanted; there may be fewer."
    )


async def complete(call: Call) -> Response:
    """Answer with the translation of the user's last message."""
    body = call.body(ChatBody)
    text = TextToTranslate(_text(body.messages), _direction(call, body.model))
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
    if body.stream:
        if body.n is not None and body.n > 1:
            raise Refusal(400, "n: a stream has one choice")
        pieces = await call.service.stream(text)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(_events(head, pieces, text.text, with_usage), media_type="text/event-stream")
    [found] = await call.service.translate([text], Wanted(num_best=body.n or 1))
    choices = [
        {"index": place, "message": {"role": "assistant", "content": each}, "finish_reason": "stop", "logprobs": None}
        for place, each in enumerate((found.text, *found.alternatives))
    ]
    usage = _usage(text.text, found.text, *found.alternatives)
    return json_response({**head, "object": "chat.completion", "choices": choices, "usage": usage})


async def models(call: Call) -> Response:
    """List the directions."""
    listed = [_model(direction) for direction in call.service.directions]
    return json_response({"object": "list", "data": listed})


async def model(call: Call) -> Response:
    """Tell of one direction."""
    return json_response(_model(_direction(call, call.request.path_params["model"])))


def _model(direction: ServedDirection) -> dict[str, Any]:
    return {"id": str(direction), "object": "model", "created": 0, "owned_by": "mtmoe"}


def _direction(call: Call, name: str) -> ServedDirection:
    names = {str(direction): direction for direction in call.service.directions}
    if name not in names:
        raise Refusal(404, f"model {name!r} does not exist; there is {', '.join(names)}")
    return names[name]


def _text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user" and message.content is not None:
            if isinstance(message.content, str):
                return message.content
            return "".join(part.text for part in message.content if part.type == "text")
    raise Refusal(400, "messages: there is none of the user")


def _usage(source: str, *translations: str) -> dict[str, int]:
    """Count words that white space divides: the subwords of a run are nobody's unit of account."""
    prompt, completion = len(source.split()), sum(len(text.split()) for text in translations)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def _events(
    head: dict[str, Any], pieces: AsyncIterator[str], source: str, with_usage: bool
) -> AsyncIterator[str]:
    """Yield server-sent events: a chunk for each line, one with the reason of the end, the usage, and the end."""

    def chunk(delta: dict[str, str], reason: Literal["stop"] | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _event({**head, "object": "chat.completion.chunk", "choices": [choice]})

    translated = []
    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            translated.append(piece)
            yield chunk({"content": piece})
    except Refusal as refusal:
        yield _event(_error_body(refusal))
        return
    yield chunk({}, "stop")
    if with_usage:
        usage = _usage(source, "".join(translated))
        yield _event({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


ENDPOINTS = [
    Endpoint(INTERFACE, "POST", "/v1/chat/completions", complete, "Translate the user's last message.", ChatBody),
    Endpoint(INTERFACE, "GET", "/v1/models", models, "List the directions."),
    Endpoint(INTERFACE, "GET", "/v1/models/{model}", model, "Tell of one direction."),
]
