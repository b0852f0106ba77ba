"""Who may read what safetensors writes: as any new file, not its owner alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def usual_access(path: Path) -> Iterator[None]:
    """Around writing ``path`` with safetensors, which (0.8) takes the access of a temporary file, mode 600: a run on a
    shared disk could be read by nobody else. Afterwards it has that of a file that was opened as any other."""
    path.touch()  # asks for the umask without changing it, which would be that of all threads
    mode = path.stat().st_mode
    yield
    path.chmod(mode)
