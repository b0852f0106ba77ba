"""API keys: a file of names and hashes; a key itself is shown once, when it is made.

A key has 256 random bits, so that a plain SHA-256 of it cannot be turned round; a slow hash, which passwords need,
would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from mtmoe.errors import UserError

_LINE = re.compile(r"([\w.@-]{1,64})\s+sha256:([0-9a-f]{64})")
NAME = re.compile(r"[\w.@-]{1,64}")


class ApiKeys:
    """Names by the hashes of their keys."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def name_of(self, key: str) -> str | None:
        """Return whose key it is; None if it is nobody's. Takes the same time for whatever key."""
        digest, found = digest_of(key), None
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_api_keys(path: Path) -> ApiKeys:
    """Read a file of keys: ``NAME sha256:DIGITS`` a line; blank lines and those that begin with # are left out.

    Raises:
        UserError: no such file, a line of another form, a name that stands twice, or no key at all.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text in UTF-8", fix="make keys with mtmoe add-key") from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(
                f"{path}, line {number}: is not NAME sha256:DIGITS", fix=f"make keys with mtmoe add-key {path} NAME"
            )
        if match[1] in names.values():
            raise UserError(f"{path}, line {number}: {match[1]} has a key already", fix="give each key its own name")
        names[match[2]] = match[1]
    if not names:
        raise UserError(f"{path}: has no key", fix=f"mtmoe add-key {path} NAME")
    return ApiKeys(names)


def add_api_key(path: Path, name: str) -> str:
    """Make a key, append its hash to the file (which is made if need be, for its owner alone), and return the key.

    Raises:
        UserError: no name of letters, digits and ``.@_-``, or one that has a key.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a key", fix="take 1 to 64 letters, digits, or . @ _ -")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if name in before.split():
        raise UserError(f"{path}: {name} has a key already", fix="take another name, or remove its line first")
    key = secrets.token_urlsafe(32)
    line = ("" if before.endswith("\n") or not before else "\n") + f"{name} sha256:{digest_of(key)}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(line)
    return key
