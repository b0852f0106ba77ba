"""The group of all commands, and the one place where an error becomes a message and an exit status.

Exit status: 0 done; 1 something that the user can put right; 2 wrong usage; 130 and 143 stopped by SIGINT and
SIGTERM; 141 whoever read the output has closed it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from mtmoe import __version__
from mtmoe.errors import UserError
from mtmoe.processor import let_waiting_threads_sleep

from .average import average
from .bench import bench
from .bleu import bleu
from .console import OutputClosed, note
from .describe import describe
from .doctor import doctor
from .export import export
from .fetch import fetch
from .plan import plan
from .preprocess import preprocess
from .recipes import recipes
from .score import score
from .train import train
from .translate import translate

_STATUS_INTERRUPTED = 128 + signal.SIGINT
_STATUS_TERMINATED = 128 + signal.SIGTERM
_STATUS_OUTPUT_CLOSED = 128 + signal.SIGPIPE

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class Failure(click.ClickException):
    """A user's error, shown as ``error: problem`` and what to do about it on the next line."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        note(f"error: {self.message}")


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that temporary files are removed on the way out."""


class Group(click.Group):
    """Turns what commands raise into messages and exit statuses; nobody else does."""

    def invoke(self, context: click.Context) -> Any:
        _replace_closed_streams()
        let_waiting_threads_sleep()  # before any command imports torch
        try:
            with _sigterm_raises():
                return super().invoke(context)
        except UserError as error:
            raise Failure(str(error)) from None
        except OutputClosed:
            _forget_standard_output()
            raise click.exceptions.Exit(_STATUS_OUTPUT_CLOSED) from None
        except KeyboardInterrupt:
            note("interrupted")
            raise click.exceptions.Exit(_STATUS_INTERRUPTED) from None
        except _Terminated:
            note("terminated")
            raise click.exceptions.Exit(_STATUS_TERMINATED) from None
        except OSError as error:
            raise _explained(error) from None
        except RuntimeError as error:
            if not _is_out_of_device_memory(error):
                raise
            raise Failure(
                f"the device's memory is full: {str(error).splitlines()[0]}\n"
                "train with a smaller --set training.batch_tokens=..., translate with a smaller "
                "--set decoding.batch_tokens=..., or use --device cpu"
            ) from None


def _explained(error: OSError) -> Exception:
    """A message for the mistakes that a user can put right (a path, a right, a full disk); else the error."""
    if error.filename is not None and error.strerror:
        return Failure(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if error.errno in _FULL_DISK:
        return Failure(f"cannot write: {error.strerror}\nmake room, or write to another place")
    return error


def _is_out_of_device_memory(error: RuntimeError) -> bool:
    torch = sys.modules.get("torch")  # whoever has not imported it has not run out of its memory
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _replace_closed_streams() -> None:
    """Python has None for a standard stream that was closed before it began (``2>&-``). Input is then empty, talk is
    lost, and data has nowhere to go, as in a pipe that nobody reads."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        nobody, ours = os.pipe()
        os.close(nobody)
        sys.stdout = os.fdopen(ours, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _forget_standard_output() -> None:
    """Keep the interpreter from writing what is left in the buffer to a closed pipe, and complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    def terminate(signal_number: int, frame: Any) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mtmoe", message="%(prog)s %(version)s")
def main() -> None:
    """Machine translation with LSTM and sparsely-gated mixture-of-experts models.

    \b
    mtmoe recipes                                   what can be trained
    mtmoe train demo runs/demo                      fetch, preprocess and train
    mtmoe translate runs/demo < text.en > text.fr   one line out per line in
    mtmoe bleu runs/demo                            BLEU and chrF on the recipe's test sets

    RECIPE is the name of a shipped recipe or the path of a TOML file; RUN is the directory of a training run.

    Exit status: 0 all is done; 1 a mistake that you can put right; 2 wrong usage; 130 Ctrl-C; 143 SIGTERM; 141
    nobody reads the output any more.
    """


for _command in (
    recipes,
    describe,
    fetch,
    preprocess,
    train,
    translate,
    score,
    bleu,
    average,
    export,
    plan,
    doctor,
    bench,
):
    main.add_command(_command)
