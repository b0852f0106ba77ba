"""Reloading: a run whose checkpoint has changed is loaded beside the old model, which lines at work stay with.

A thread does it, when it is asked to or now and then. For a moment both models are in memory.
"""

from __future__ import annotations

import gc
import shlex
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from mtmoe.checkpoint import find_checkpoints, open_run
from mtmoe.errors import UserError
from mtmoe.inference.engine import TranslationEngine
from mtmoe.inference.models.memory_trimming import malloc_trim
from mtmoe.serving.loading import ServedRun
from mtmoe.system.resident_memory import resident_bytes

_RELEASE_SECONDS = 120.0
_MEGABYTE = 1_000_000

Identity = tuple[tuple[str, int, int], ...]


def identity_of(path: Path, checkpoint: str) -> Identity:
    """Return what tells the files of the chosen checkpoint of a run from others: names, sizes, times.

    Raises:
        UserError: no run, or no such checkpoint.
        OSError: they cannot be looked at.
    """
    if path.is_file():  # a package, which is a model in one file
        files = [path]
    else:
        folders = [found.path for found in find_checkpoints(open_run(path), checkpoint)]
        files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


class Reloading:
    """Loads runs anew. A context: its thread runs in between."""

    def __init__(
        self,
        runs: Sequence[ServedRun],
        engine: TranslationEngine,
        load: Callable[[Path], ServedRun],
        checkpoint: str,
        tell: Callable[[str], None],
        *,
        every_seconds: float | None = None,
    ) -> None:
        """Get ready.

        Args:
            load: loads a run.
            tell: takes lines for whoever runs the server.
            every_seconds: how often to look whether a checkpoint has changed; None: only when asked to.
        """
        self._directions = {run.name: list(run.directions) for run in runs}
        self._identities: dict[str, Identity | None] = {run.name: self._identity(run.name, checkpoint) for run in runs}
        self._models: dict[str, weakref.ref[object]] = {run.name: weakref.ref(run.model) for run in runs}
        self._engine, self._load, self._checkpoint, self._tell = engine, load, checkpoint, tell
        self._every_seconds = every_seconds
        self._changed = threading.Condition()
        self._is_asked = self._is_over = False
        self._thread = threading.Thread(target=self._work, name="mtmoe-reloading", daemon=True)

    def __enter__(self) -> Reloading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def ask(self) -> None:
        """Let all runs be loaded anew, changed or not; return at once."""
        with self._changed:
            self._is_asked = True
            self._changed.notify_all()

    @staticmethod
    def _identity(name: str, checkpoint: str) -> Identity | None:
        try:
            return identity_of(Path(name), checkpoint)
        except (UserError, OSError):  # a run that is being changed: it is looked at again
            return None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_asked or self._is_over, self._every_seconds)
                if self._is_over:
                    return
                asked, self._is_asked = self._is_asked, False
            for name in self._directions:
                found = self._identity(name, self._checkpoint)
                if asked or (found is not None and found != self._identities[name]):
                    self._identities[name] = found
                    self._reload(name)

    def _reload(self, name: str) -> None:
        before = _memory()
        try:
            new = self._load(Path(name))
            if list(new.directions) != self._directions[name]:
                there, here = (", ".join(map(str, found)) for found in (new.directions, self._directions[name]))
                raise UserError(f"{name} now translates {there}, not {here}", fix="restart the server")
        except (UserError, OSError) as error:
            self._tell(f"not reloaded: {error}")
            return
        except Exception as error:  # whatever it is, the old model goes on
            self._tell(f"not reloaded: {name}: {type(error).__name__}: {error}")
            return
        is_released = threading.Event()
        old = self._models[name]()
        if old is not None:
            weakref.finalize(old, is_released.set)
            del old
        self._engine.replace(name, new.model)
        self._models[name] = weakref.ref(new.model)
        del new
        released = is_released.wait(_RELEASE_SECONDS)
        gc.collect()
        if (trim := malloc_trim()) is not None:
            trim(0)
        kept = "" if released else f"; the old model is at work still, after {_RELEASE_SECONDS:.0f} s"
        self._tell(f"reloaded {shlex.quote(name)}: {before} before, {_memory()} now{kept}")


def _memory() -> str:
    found = resident_bytes()
    return "unknown memory" if found is None else f"{found / _MEGABYTE:.0f} MB"
