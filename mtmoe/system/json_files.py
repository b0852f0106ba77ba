"""JSON files of ours, read through a schema: what is damaged is told by file and key, and never travels on."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mtmoe.errors import UserError
from mtmoe.system.readable_files import read_bytes


class JsonRecord(BaseModel):
    """Base of the schemas. Keys that a newer mtmoe may have added are passed over; types are not converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Versioned(JsonRecord):
    format_version: int


Record = TypeVar("Record", bound=BaseModel)


def read_json(path: Path, schema: type[Record], *, fix: str, format_version: int | None = None) -> Record:
    """Read a JSON file as what its schema says.

    Args:
        fix: what to do about a damaged file.
        format_version: that it must have, if it has one.

    Raises:
        UserError: it cannot be read (see :func:`~mtmoe.system.readable_files.read_bytes`), is not JSON, has another
            version, or a value is not of the schema: with the key, what was found and what is expected.
    """
    return parse_json(read_bytes(path), path, schema, fix=fix, format_version=format_version)


def parse_json(
    content: bytes | str, path: Path, schema: type[Record], *, fix: str, format_version: int | None = None
) -> Record:
    """Parse as :func:`read_json` does, of a text that is there already (a line of a file, say)."""
    if format_version is not None:
        found = parse_json(content, path, _Versioned, fix=fix).format_version
        if found != format_version:
            raise UserError(
                f"{path}: format version {found}, but this mtmoe reads version {format_version}",
                fix="use the mtmoe that made it, or make it anew into a new directory",
            )
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: damaged: {first_problem(error)}", fix=fix) from None


def first_problem(error: ValidationError) -> str:
    """Return the first thing that a schema found wrong: key, what is expected, what was found."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    found = "" if first["type"] in ("missing", "json_invalid") else f", found {_shortened(first['input'])}"
    return f"{key}: {first['msg']}{found}" if key else f"{first['msg']}{found}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
