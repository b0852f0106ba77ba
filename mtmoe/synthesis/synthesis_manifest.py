"""Manifest of synthetic text: what it was made of, and what became of it. Beside FILE it is FILE.manifest.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mtmoe.errors import UserError
from mtmoe.inference.files.journal import LineFaults
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, read_json

FORMAT_VERSION = 1
_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_REDO = "move the file and its manifest away, or leave out --resume to make it anew"


class SynthesisManifest(JsonRecord):
    """The content of a manifest.

    made_of: everything that the pairs depend on, with hashes of text and weights. The names of text and runs, which may
    have moved since, stand outside of it. columns: names of the columns. shard: I/N; 1/1 of the whole.
    """

    format_version: int = FORMAT_VERSION
    mtmoe: str
    origin: str
    source_language: str
    target_language: str
    license: str
    runs: tuple[str, ...]
    text: str
    reference: str = ""
    made_of: dict[str, Any]
    columns: tuple[str, ...]
    shard: str
    num_lines: _Count
    num_unreadable: _Count
    first_problem: str
    suspicious: dict[str, _Count]
    num_bytes: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def faults(self) -> LineFaults:
        """Return what is wrong with the lines."""
        return LineFaults(self.num_unreadable, self.first_problem, tuple(sorted(self.suspicious.items())))


def manifest_path(output: Path) -> Path:
    """Return where the manifest of a file is."""
    return output.with_name(f"{output.name}.manifest.json")


def write_manifest(output: Path, manifest: SynthesisManifest) -> None:
    """Write the manifest of a file that is complete."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    write_atomically(manifest_path(output), text.encode())


def complete_manifest(output: Path) -> SynthesisManifest | None:
    """Return the manifest of a file that is there and as long as the manifest says; else None.

    Raises:
        UserError: the manifest is damaged.
    """
    path = manifest_path(output)
    if not path.exists() or not output.is_file():
        return None
    manifest = read_json(path, SynthesisManifest, fix=_REDO, format_version=FORMAT_VERSION)
    return manifest if output.stat().st_size == manifest.num_bytes else None


def check_same(output: Path, manifest: SynthesisManifest, made_of: Mapping[str, Any]) -> None:
    """Check that a file was made of what a command would make it of.

    Raises:
        UserError: it was not: with the first thing that differs.
    """
    before, now = dict(_flat(manifest.made_of)), dict(_flat(made_of))
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            raise UserError(
                f"{output}: was made with {key} = {before.get(key)}, but now it is {now.get(key)}",
                fix="give the same command as before, or leave out --resume to make it anew",
            )


def added_up(manifests: Iterable[SynthesisManifest], sha256: str) -> SynthesisManifest:
    """Return the manifest of files that were joined, one after the other; ``sha256``: of all of it."""
    first, *others = manifests
    faults = first.faults
    for other in others:
        faults = faults.plus(other.faults)
    return first.model_copy(
        update={
            "shard": "1/1",
            "num_lines": first.num_lines + sum(other.num_lines for other in others),
            "num_bytes": first.num_bytes + sum(other.num_bytes for other in others),
            "sha256": sha256,
            **counts_of(faults),
        }
    )


def counts_of(faults: LineFaults) -> dict[str, Any]:
    """Return what a manifest says of faults."""
    return {
        "num_unreadable": faults.num_unreadable,
        "first_problem": faults.first_problem,
        "suspicious": dict(faults.suspicious),
    }


def sha256_of(path: Path) -> str:
    """Compute the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(inner) if isinstance(inner, tuple) else inner
