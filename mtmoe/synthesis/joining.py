"""Joining of shards: the process that finds all of them complete puts them together, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtmoe.inference.files.journal import opened_own_file
from mtmoe.synthesis.shards import Shard, shards_of
from mtmoe.synthesis.synthesis_manifest import (
    SynthesisManifest,
    added_up,
    complete_manifest,
    manifest_path,
    write_manifest,
)
from mtmoe.system.atomic_files import hidden_beside, opened_atomically, place_of
from mtmoe.system.locks import wait_for_lock

_READ_BYTES = 1 << 20


def join_if_complete(output: Path, total: int, made_of: Mapping[str, Any]) -> list[Shard]:
    """Join the shards of an output if all are there, and remove them; leave them if some are not.

    One process at a time does it. One that comes later, or goes on after one that was killed, finds what is left.

    Args:
        made_of: what each shard must have been made of.

    Returns:
        The shards that are missing; none if the output is complete.

    Raises:
        UserError: a manifest is damaged.
    """
    lock = hidden_beside(place_of(output), "join")
    with opened_own_file(lock) as file:
        wait_for_lock(file.fileno(), output)
        if _of_same_job(output, made_of) is None:
            found = {shard: _of_same_job(shard.part_of(output), made_of) for shard in shards_of(total)}
            missing = [shard for shard, manifest in found.items() if manifest is None]
            if missing:
                return missing
            _join(output, total, [manifest for manifest in found.values() if manifest])
        remove_parts(output, total)
        lock.unlink(missing_ok=True)
    return []


def _of_same_job(path: Path, made_of: Mapping[str, Any]) -> SynthesisManifest | None:
    manifest = complete_manifest(path)
    return manifest if manifest is not None and manifest.made_of == made_of else None


def _join(output: Path, total: int, manifests: Sequence[SynthesisManifest]) -> None:
    digest = hashlib.sha256()
    with opened_atomically(output) as joined:
        for shard in shards_of(total):
            with shard.part_of(output).open("rb") as part:
                while block := part.read(_READ_BYTES):
                    digest.update(block)
                    joined.write(block)
    write_manifest(output, added_up(manifests, digest.hexdigest()))


def remove_parts(output: Path, total: int) -> None:
    """Remove the parts of an output that is complete, with their manifests."""
    for shard in shards_of(total):
        part = shard.part_of(output)
        manifest_path(part).unlink(missing_ok=True)  # first: a manifest without its file says nothing
        part.unlink(missing_ok=True)
