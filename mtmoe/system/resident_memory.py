"""Resident memory of this process."""

from __future__ import annotations

from pathlib import Path


def resident_bytes() -> int | None:
    """Return how much of this process is in memory now; None where the system does not tell (it is not Linux)."""
    try:
        fields = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split()
        return 1024 * int(fields[fields.index("VmRSS:") + 1])
    except (OSError, ValueError):
        return None
