"""Where the project is, for tests that read its documents or run it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
