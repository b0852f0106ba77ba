"""The manifest of a package: what it holds, and how to know that it is whole."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from mtmoe.system.json_files import JsonRecord

PACKAGE_FORMAT_VERSION = 1
Precision = Literal["int8", "bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Of the weights of a package, the smallest first."""

_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]


class PackageVersion(JsonRecord):
    """What every package states, whatever else its format has."""

    format: Literal["mtmoe package"]
    format_version: int


class Member(JsonRecord):
    """A file of a package."""

    num_bytes: _Count
    sha256: _Sha256


class PackageManifest(PackageVersion):
    """The content of ``manifest.json``.

    ``run_format_version``: of the run (``mtmoe.checkpoint.FORMAT_VERSION``), which says what the weights mean.
    ``checkpoints``: those whose mean the weights are, else one; ``step``: of the newest. ``weights_digest``: of the
    weights in float32 as the run has them.
    """

    run_format_version: int
    mtmoe_version: str
    checkpoints: Annotated[tuple[str, ...], Field(min_length=1)]
    step: _Count
    weights_digest: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    precision: Precision
    members: dict[_Name, Member]
