"""The application: all endpoints, refusals of unknown paths in the form of the interface, headers of all answers."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtmoe.serving.interfaces import deepl, libretranslate, openai_chat, operation, page
from mtmoe.serving.interfaces.endpoint import Endpoint, Interface, Server, refusal_response
from mtmoe.serving.refusal import Refusal

_BY_PREFIX = (("/v2/", deepl.INTERFACE), ("/v1/", openai_chat.INTERFACE))
_SAME_EVERYWHERE = ((b"x-content-type-options", b"nosniff"),)


def endpoints() -> list[Endpoint]:
    """Return all endpoints; the last one describes the others."""
    parts = (libretranslate, deepl, openai_chat, page, operation)
    listed = [endpoint for part in parts for endpoint in part.ENDPOINTS]
    return [*listed, operation.described(listed)]


def application(server: Server, *, cors_origins: Sequence[str] = ()) -> Starlette:
    """Return the ASGI application.

    Args:
        cors_origins: origins of pages elsewhere that may ask this server, or ``*``; by default none.
    """
    middleware = [Middleware(_WithHeaders)]
    if cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    return Starlette(
        routes=[endpoint.route(server) for endpoint in endpoints()],
        middleware=middleware,
        exception_handlers={HTTPException: _unknown},
    )


def _interface_of(path: str) -> Interface:
    return next((interface for prefix, interface in _BY_PREFIX if path.startswith(prefix)), libretranslate.INTERFACE)


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer a request for which there is no endpoint."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentences = {404: "there is nothing here", 405: f"{request.method} is not for this path"}
    return refusal_response(_interface_of(request.url.path), Refusal(status, sentences.get(status, "not understood")))


class _WithHeaders:
    """Adds headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SAME_EVERYWHERE]
            await send(message)

        await self.app(scope, receive, with_headers)
