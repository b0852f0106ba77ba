"""Display of synthetic text: the table of a recipe that reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtmoe.synthesis.synthesis_manifest import SynthesisManifest


def ready_source(output: Path, manifest: SynthesisManifest) -> str:
    """Return the ``[[data.train]]`` table that reads a file of synthetic pairs."""
    settings = {
        "name": re.sub(r"[^A-Za-z0-9_.-]", "_", output.name.partition(".")[0]) or "synthetic",
        "format": "tsv",
        "file.path": str(output),
        "origin": manifest.origin,
        "tag": manifest.made_of["output"]["tag"],
        "license": manifest.license,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items() if value]
    what = f"{manifest.num_lines:,} pairs, {manifest.origin}: {manifest.source_language}-{manifest.target_language}"
    return "\n".join([f"# {what}", "[[data.train]]", *lines, ""])
