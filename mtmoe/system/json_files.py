"""Small files of ours, read with care: JSON through a schema, and the true reason where one cannot be read.

What is damaged is told by file and key, and never travels on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mtmoe.errors import UserError


class JsonRecord(BaseModel):
    """Base of the schemas. Keys that a newer mtmoe may have added are passed over; types are not converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Versioned(JsonRecord):
    format_version: int


Record = TypeVar("Record", bound=BaseModel)


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: it cannot be read, with the reason of the operating system and what helps against that; what has the
            name is no regular file (a named pipe would never end).
    """
    _check_is_no_other_thing(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def check_readable(path: Path) -> Path:
    """Return the path of a regular file that may be read: for libraries that open files by name, do not tell the reason
    of the operating system, and would wait at a named pipe for ever.

    Raises:
        UserError: as :func:`read_bytes`.
    """
    _check_is_no_other_thing(path)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise unreadable(path, error) from None


def _check_is_no_other_thing(path: Path) -> None:
    try:
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None
    if is_other:
        raise UserError(
            f"{path}: is a {'directory' if path.is_dir() else 'pipe or device'}, not a file",
            fix="restore it from a backup",
        )


def unreadable(path: Path, error: OSError) -> UserError:
    """Return what a user is told of a file that the operating system does not give.

    A right that is missing is no damage, and nobody is advised to delete what is sound.
    """
    if isinstance(error, PermissionError):
        return UserError(f"{path}: cannot be read: {error.strerror}", fix="change its permissions, or be another user")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: cannot be read: {error.strerror}", fix="check the path, or restore it from a backup")
    return UserError(
        f"{path}: cannot be read: {error.strerror or error}", fix="check the disk and the path; nothing was changed"
    )


def read_json(path: Path, schema: type[Record], *, fix: str, format_version: int | None = None) -> Record:
    """Read a JSON file as what its schema says.

    Args:
        fix: what to do about a damaged file.
        format_version: that it must have, if it has one.

    Raises:
        UserError: as :func:`read_bytes`; it is not JSON, has another version, or a value is not of the schema: with
            the key, what was found and what is expected.
    """
    content = read_bytes(path)
    if format_version is not None:
        found = parse_json(content, path, _Versioned, fix=fix).format_version
        if found != format_version:
            raise UserError(
                f"{path}: format version {found}, but this mtmoe reads version {format_version}",
                fix="use the mtmoe that made it, or make it anew into a new directory",
            )
    return parse_json(content, path, schema, fix=fix)


def parse_json(content: bytes | str, path: Path, schema: type[Record], *, fix: str) -> Record:
    """Parse as :func:`read_json` does, of a text that is there already (a line of a file, say)."""
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
