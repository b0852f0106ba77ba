"""JSON files of ours, read through a schema: what is damaged is told by file and key, and never travels on."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mtmoe.errors import UserError


class JsonRecord(BaseModel):
    """Base of the schemas. Keys that a newer mtmoe may have added are passed over; types are not converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


Record = TypeVar("Record", bound=BaseModel)


def read_json(path: Path, schema: type[Record], *, fix: str) -> Record:
    """Read a JSON file as what its schema says.

    Args:
        fix: what to do about a damaged file.

    Raises:
        UserError: it cannot be read (with the reason of the operating system), is not JSON, or a value is not of the
            schema: with the key, what was found and what is expected.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", fix=_fix_of(error)) from None
    return parse_json(content, path, schema, fix=fix)


def parse_json(content: bytes | str, path: Path, schema: type[Record], *, fix: str) -> Record:
    """As :func:`read_json`, of a text that is there already (a line of a file, say)."""
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: damaged: {_first_problem(error)}", fix=fix) from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    found = "" if first["type"] in ("missing", "json_invalid") else f", found {_shortened(first['input'])}"
    return f"{key}: {first['msg']}{found}" if key else f"{first['msg']}{found}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _fix_of(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "change its permissions"
    return "check the path" if isinstance(error, FileNotFoundError) else ""
