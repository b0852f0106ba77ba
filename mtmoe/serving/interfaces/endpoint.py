"""Endpoints: the way of every request from its body to its answer or refusal, the same for all interfaces."""

from __future__ import annotations

import asyncio
import json
import math
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mtmoe.serving.api_keys import ApiKeys
from mtmoe.serving.glossaries import Glossaries
from mtmoe.serving.refusal import Refusal
from mtmoe.serving.service import TranslationService

_MOST_FIELDS = 1000
_MOST_BYTES_OF_FIELDS = 65_536
"""Of a form with a file, beside that."""
_SCHEMES = ("bearer ", "deepl-auth-key ")
CLIENT_LEFT = 499
"""Status in log and metrics of a request whose client left before the answer; nobody is sent it."""

BodyT = TypeVar("BodyT", bound=BaseModel)


class Interface(NamedTuple):
    """How an interface tells refusals. keyless_status: of a request without a key, where keys are asked for."""

    name: str
    error_body: Callable[[Refusal], dict[str, Any]]
    keyless_status: int = 403


class Server(NamedTuple):
    """What endpoints work with. log: takes a line about each request, without any text of it."""

    service: TranslationService
    keys: ApiKeys | None = None
    log: Callable[[str], None] = lambda line: None
    glossaries: Glossaries = Glossaries(None)


class UploadedFile(NamedTuple):
    """A file of a form."""

    name: str
    content: bytes


class Call(NamedTuple):
    """A request whose body was read. fields: of its JSON object or form, and of its query. who: the name of its key;
    empty where none is asked for."""

    server: Server
    request: Request
    fields: Mapping[str, Any]
    who: str = ""

    @property
    def service(self) -> TranslationService:
        return self.server.service

    def file(self) -> UploadedFile:
        """Return the file of the form.

        Raises:
            Refusal: there is none.
        """
        found = self.fields.get("file")
        if not isinstance(found, UploadedFile):
            raise Refusal(400, "file: a file is needed, in a form of the type multipart/form-data")
        return found

    def body(self, model: type[BodyT]) -> BodyT:
        """Return the fields as the interface has them.

        Raises:
            Refusal: one is missing, or of the wrong type.
        """
        try:
            return model.model_validate(self.fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise Refusal(400, f"{where}: {first['msg']}") from None


Handler = Callable[[Call], Awaitable[Response]]


class Endpoint(NamedTuple):
    """A path, and what answers it. model: of its body, for the description; is_open: needs no key; takes_file: its body
    is a form with a file."""

    interface: Interface
    method: str
    path: str
    handler: Handler
    summary: str
    model: type[BaseModel] | None = None
    is_open: bool = False
    takes_file: bool = False

    def route(self, server: Server) -> Route:
        """Return what Starlette is given."""

        async def answer(request: Request) -> Response:
            return await _answered(self, server, request)

        return Route(self.path, answer, methods=[self.method], include_in_schema=False)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer of JSON."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(body, status, headers=headers, media_type="application/json")


def refusal_response(interface: Interface, refusal: Refusal) -> Response:
    """Return a refusal in the form of the interface."""
    after = refusal.retry_after_seconds
    headers = {} if after is None else {"Retry-After": str(after)}
    return json_response(interface.error_body(refusal), refusal.status, headers)


async def _answered(endpoint: Endpoint, server: Server, request: Request) -> Response:
    begun = time.perf_counter()
    response, status, who = None, CLIENT_LEFT, ""
    try:
        limits = server.service.limits
        max_bytes = limits.max_document_bytes + _MOST_BYTES_OF_FIELDS if endpoint.takes_file else limits.max_body_bytes
        fields = await _fields(request, max_bytes, limits.timeout_seconds, takes_file=endpoint.takes_file)
        if server.keys is not None and not endpoint.is_open:
            who = _checked_key(server.keys, request, fields, endpoint.interface.keyless_status)
        response = await _unless_client_leaves(request, endpoint.handler(Call(server, request, fields, who)))
    except Refusal as refusal:
        response = refusal_response(endpoint.interface, refusal)
    except ClientDisconnect:
        response = Response(status_code=CLIENT_LEFT)
    except Exception as error:  # the text of an error may hold that of the request
        places = [f"{place.filename}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)[-3:]]
        server.log(f"error: {type(error).__name__} at {', '.join(places)}")
        response = refusal_response(endpoint.interface, Refusal(500, "the server made a mistake; its log has more"))
    finally:
        seconds = time.perf_counter() - begun
        status = status if response is None else response.status_code
        server.service.metrics.request_done(endpoint.interface.name, status, seconds)
        named = f" by {who}" if who else ""
        server.log(f"{endpoint.method} {endpoint.path} {status} in {1000 * seconds:.0f} ms{named}")
    return response


async def _unless_client_leaves(request: Request, answering: Awaitable[Response]) -> Response:
    """Return the answer; cancel it if the client closes the connection first.

    Raises:
        ClientDisconnect: it did.
    """
    answer = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for task in (answer, leaving):
            if not task.done():
                task.cancel()
                await asyncio.wait({task})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _checked_key(keys: ApiKeys, request: Request, fields: Mapping[str, Any], status: int) -> str:
    """Return whose key the request has: in a header, or in a field as LibreTranslate and old clients of DeepL send it.

    Raises:
        Refusal: none, or one that is unknown.
    """
    header = request.headers.get("authorization", "")
    scheme = next((scheme for scheme in _SCHEMES if header.lower().startswith(scheme)), None)
    key = fields.get("api_key") or fields.get("auth_key") if scheme is None else header[len(scheme) :].strip()
    if not key or not isinstance(key, str):
        raise Refusal(status, "an API key is needed")
    name = keys.name_of(key)
    if name is None:
        raise Refusal(status, "the API key is not known")
    return name


async def _fields(
    request: Request, max_bytes: int, timeout_seconds: float, *, takes_file: bool = False
) -> dict[str, Any]:
    """Return the fields of a request: of its query, and of a body that is a JSON object or a form.

    Raises:
        Refusal: too large, too slow, or something else.
    """
    fields = _form(request.url.query)
    try:
        async with asyncio.timeout(timeout_seconds):
            body = await _body(request, max_bytes)
    except TimeoutError:
        raise Refusal(408, "the request did not arrive in time") from None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return fields
    if kind == "multipart/form-data" and takes_file:
        return {**fields, **await _form_with_file(request, body)}
    try:
        if kind == "application/x-www-form-urlencoded":
            return {**fields, **_form(body.decode("ascii"))}
        if kind in ("", "application/json"):
            return {**fields, **_json_object(body)}
    except UnicodeDecodeError:
        raise Refusal(400, f"the body is no {kind or 'JSON'}: its characters are of another encoding") from None
    raise Refusal(415, "the body must be application/json or application/x-www-form-urlencoded")


async def _body(request: Request, max_bytes: int) -> bytes:
    too_large = Refusal(413, f"the body is too large: {max_bytes} bytes are the most")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > max_bytes):
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


async def _form_with_file(request: Request, body: bytes) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    try:
        parser = MultiPartParser(
            request.headers, stream(), max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_BYTES_OF_FIELDS
        )
        parser.spool_max_size = len(body) + 1  # it is in memory already: nothing goes to the disk
        form = await parser.parse()
        try:
            return {
                name: UploadedFile(value.filename or "", await value.read()) if isinstance(value, UploadFile) else value
                for name, value in form.multi_items()
            }
        finally:
            await form.close()
    except (MultiPartException, MultipartParseError, KeyError, UnicodeDecodeError, ValueError):
        raise Refusal(400, "the body is no form of the type multipart/form-data, or has more than one file") from None


def _form(text: str) -> dict[str, Any]:
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace")
    except ValueError:
        raise Refusal(400, f"a form has {_MOST_FIELDS} fields at most") from None
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"the body is no JSON{place}") from None
    if not isinstance(content, dict):
        raise Refusal(400, "the body must be a JSON object")
    return content


def _no_number(name: str) -> float:
    raise ValueError(name)


def listed(texts: str | Sequence[str]) -> list[str]:
    """Return a list of one text or of several."""
    return [texts] if isinstance(texts, str) else list(texts)


def file_response(content: bytes, name: str, mime_type: str) -> Response:
    """Return an answer that browsers save. name: of letters, digits and dots alone."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, headers=headers, media_type=mime_type)


def percent(probability: float) -> float:
    """Return a probability in percent, to one digit."""
    return round(100 * probability, 1) if math.isfinite(probability) else 0.0
