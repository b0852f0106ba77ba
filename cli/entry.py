"""The process of a command, from its first moment to its last: signals, and standard streams that fail.

Nothing is imported here that takes time: a signal that comes before the handlers are there ends the process with a
status of the system's, and without a word.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from mtmoe.errors import UserError
from mtmoe.system.scarce_resources import is_lack_of_files, is_lack_of_memory, memory_problem

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_SECONDS_BETWEEN_TRIES = 0.02
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_replaced: list[Any] = []  # streams close their files when nobody holds them
# With less address space, libraries end the process by themselves (signal 6, OpenBLAS's own status 1) or the
# interpreter fails on its way out: seen up to 0.7 GB with torch for CPUs on two cores, where 0.8 was enough.
_LEAST_ADDRESS_SPACE = 1 << 30
MEMORY_FIX = (
    "train with a smaller --set training.batch_tokens=... or model.width, translate with a smaller --set "
    "decoding.batch_tokens=... or --beam, take fewer --workers, or allow more memory (ulimit -v, the job's limit)"
)
OPEN_FILES_FIX = "allow more of them: ulimit -n 1024"


class OutputClosed(Exception):
    """The reader of standard output has gone away (``mtmoe translate ... | head``)."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception, so that temporary files are removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run() -> NoReturn:
    """Run the command line as this process, and end the process with its exit status.

    A signal ends it with 128 and its number, whenever it comes. Behind the work, while the interpreter goes down, it is
    too late for one: what is done is done, and the status says so.
    """
    status: Any = 1
    try:
        for number in _ENDING:
            _end_on(number)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(signal.SIGINT, _interrupt)
        _keep_standard_streams()
        status = _status_of_command()
    except KeyboardInterrupt:
        status = signal_status(signal.SIGINT)
    except Terminated as terminated:
        status = signal_status(terminated.number)
    finally:
        for number in (signal.SIGINT, *_ENDING):
            signal.signal(number, signal.SIG_IGN)
        # Python notes when SIGINT ends the running of source text (a class that a library makes of it), and at the exit
        # kills itself for it, though the interrupt was caught long since. Running other text is what it forgets it by.
        exec("")
    sys.exit(status)


def signal_status(number: int) -> int:
    """Tell that a signal has ended the command, and return its exit status."""
    word = _WORDS.get(signal.Signals(number), f"ended by {signal.Signals(number).name}")
    print(word, file=sys.stderr)
    return 128 + number


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`Terminated` inside the block; do nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number in _ENDING:
        _end_on(number)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_on(number: signal.Signals) -> None:
    if signal.getsignal(number) != signal.SIG_IGN or number != getattr(signal, "SIGHUP", None):  # nohup
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    if not _is_put_off(number, frame):
        raise Terminated(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_put_off(number, frame):
        raise KeyboardInterrupt


def _is_put_off(number: int, frame: FrameType | None) -> bool:
    """Send a signal that comes in the middle of an import once more, a little later.

    An exception there is more than libraries expect: it is swallowed, leaves modules that lack their half, or ends the
    process in the initialisation of a compiled one.
    """
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None:
        return False
    again = threading.Timer(_SECONDS_BETWEEN_TRIES, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    return True


def _status_of_command() -> Any:
    try:
        from .group import main

        main()
    except SystemExit as end:
        return end.code
    except (ImportError, OSError, MemoryError, RuntimeError) as error:  # of an import: commands tell of their own
        if is_lack_of_memory(error):
            print(f"error: {memory_problem(error)}\n{MEMORY_FIX}", file=sys.stderr)
        elif is_lack_of_files(error):
            print(f"error: {error}\n{OPEN_FILES_FIX}", file=sys.stderr)
        else:
            raise
        return 1
    return 0


def check_address_space() -> None:
    """Check that the libraries can load at all; with less address space they would crash.

    Raises:
        UserError: the process may not have the address space that the libraries take.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError, ValueError):  # not a POSIX system
        return
    if 0 <= limit < _LEAST_ADDRESS_SPACE:
        raise UserError(
            f"not enough memory: the address space of this process is limited to {limit / 1e9:.2f} GB, and its "
            f"libraries need {_LEAST_ADDRESS_SPACE / 1e9:.2f} GB",
            fix="allow more: ulimit -v unlimited",
        )


# ----------------------------------------------------------------------------------------- standard streams


def replace_closed_streams() -> None:
    """Replace standard streams that were closed before Python began (``2>&-``), for which it has None.

    Input is then empty, messages are lost, and data has nowhere to go, as in a pipe that nobody reads.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        nobody, ours = os.pipe()
        os.close(nobody)
        sys.stdout = os.fdopen(ours, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class _Talk(io.FileIO):
    """Standard error: what cannot be written (a full disk, a terminal that is gone) is lost and stops no work."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError:
            return memoryview(content).nbytes


class _Data(io.FileIO):
    """Standard output: its failure is raised once; what the interpreter still writes at its end is dropped."""

    has_failed = False

    def write(self, content: Any) -> int:
        if not self.has_failed:
            try:
                return super().write(content) or 0
            except BrokenPipeError:
                self.has_failed = True
                raise OutputClosed from None
            except OSError as error:
                self.has_failed = True
                raise UserError(
                    f"standard output: cannot be written: {error.strerror}", fix="make room, or write to another place"
                ) from None
        return memoryview(content).nbytes


def _keep_standard_streams() -> None:
    replace_closed_streams()
    sys.stdout = _over(sys.stdout, _Data)
    sys.stderr = _over(sys.stderr, _Talk)


def _over(stream: Any, kind: type[io.FileIO]) -> io.TextIOWrapper:
    """Return a text stream like ``stream``, over a raw file of class ``kind`` on the same descriptor."""
    _replaced.append(stream)
    raw = kind(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",  # no letter that the terminal lacks (LANG=C) stops any work
        line_buffering=stream.line_buffering,
    )
