"""Package writing: the same members give the same bytes, whenever and wherever they are written."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch import Tensor

from mtmoe.checkpoint.packages.package import CARD, MANIFEST
from mtmoe.checkpoint.packages.package_manifest import PACKAGE_FORMAT_VERSION, Member, PackageManifest, Precision
from mtmoe.checkpoint.run_files import FORMAT_VERSION, Checkpoint
from mtmoe.system.atomic_files import make_directory, opened_atomically
from mtmoe.system.safetensors_files import write_tensors

_LEVEL = 6  # of deflate: 9 takes three times as long for a thousandth of the size
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can state
_ACCESS = 0o644 << 16


class PackedModel(NamedTuple):
    """What the manifest tells of the model. checkpoints: those whose mean the weights are, oldest first."""

    mtmoe_version: str
    checkpoints: Sequence[Checkpoint]
    weights_digest: str
    precision: Precision


def tensors_as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file."""
    file = io.BytesIO()
    write_tensors(file, tensors)
    return file.getvalue()


def described_members(members: Mapping[str, bytes]) -> dict[str, Member]:
    """Return size and SHA-256 of each member, by name in the order of the alphabet."""
    return {
        name: Member(num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in sorted(members.items())
    }


def write_package(file: BinaryIO, model: PackedModel, members: Mapping[str, bytes]) -> None:
    """Write a package to an open file.

    Args:
        members: content by name, all but the manifest.
    """
    manifest = PackageManifest(
        format="mtmoe package",
        format_version=PACKAGE_FORMAT_VERSION,
        run_format_version=FORMAT_VERSION,
        mtmoe_version=model.mtmoe_version,
        checkpoints=tuple(checkpoint.name for checkpoint in model.checkpoints),
        step=model.checkpoints[-1].step,
        weights_digest=model.weights_digest,
        precision=model.precision,
        members=described_members(members),
    )
    content = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
    # Those first that a person looks for who unpacks it.
    first = {name: members[name] for name in (CARD,) if name in members}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**first, MANIFEST: content, **dict(sorted(members.items()))}.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, _ACCESS, 3
            archive.writestr(info, data, compresslevel=_LEVEL)


def save_package(path: Path, model: PackedModel, members: Mapping[str, bytes]) -> None:
    """Write a package's file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    make_directory(path.parent)
    with opened_atomically(path) as file:
        write_package(file, model, members)
