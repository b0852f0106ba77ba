"""The group of all commands, and the one place where an error becomes a message and an exit status.

Exit status: 0 done; 1 something that the user can put right; 2 wrong usage; 130, 143 and 129 stopped by SIGINT, SIGTERM
and SIGHUP; 141 whoever read the output has closed it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from mtmoe import __version__
from mtmoe.errors import UserError, Warned
from mtmoe.system.printable import printable
from mtmoe.system.process_settings import hide_warnings_without_remedy, let_waiting_threads_sleep
from mtmoe.system.scarce_resources import is_lack_of_files, is_lack_of_memory, memory_problem

from .commands.bench.bench import bench
from .commands.bleu import bleu
from .commands.describe import describe
from .commands.doctor import doctor
from .commands.experts.experts import experts
from .commands.fetch import fetch
from .commands.filter import filter_
from .commands.init import init
from .commands.inside.compare import compare
from .commands.inside.explain import explain
from .commands.inside.report import report
from .commands.plan import plan
from .commands.preprocess import preprocess
from .commands.recipes import recipes
from .commands.scoring.calibrate import calibrate
from .commands.scoring.score import score
from .commands.scoring.tune_decoding import tune_decoding
from .commands.serving.add_key import add_key
from .commands.serving.serve import serve
from .commands.settings import settings
from .commands.sharing.package import package
from .commands.sharing.pull import pull
from .commands.sharing.push import push
from .commands.synthesise import synthesise
from .commands.train import train
from .commands.translate import translate
from .commands.weights.average import average
from .commands.weights.export import export
from .console import note, warn
from .entry import (
    MEMORY_FIX,
    OPEN_FILES_FIX,
    OutputClosed,
    Terminated,
    check_address_space,
    replace_closed_streams,
    signal_status,
    signals_raise,
)

_STATUS_OUTPUT_CLOSED = 128 + signal.SIGPIPE

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_MAKE_ROOM = "make room, or write to another place"
_FIXES = {
    **dict.fromkeys(_FULL_DISK, _MAKE_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "ask for the right to it (ls -ld tells whose it is), or name another"),
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "look at the spelling, or make it first",
    errno.ENOTDIR: "name a path below a directory",
    errno.EISDIR: "name a file in it",
    errno.EIO: "look at the disk (dmesg), or use another",
}
_FIX_OF_PATHS = "name another path"


class Failure(click.ClickException):
    """A user's error, shown as ``error: problem`` and what to do about it on the next line."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        note(f"error: {self.message}")


class Group(click.Group):
    """The group of commands: the only place that turns exceptions into messages and exit statuses."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        with _explained():  # --help and --version write to standard output here
            return super().make_context(*arguments, **settings)

    def invoke(self, context: click.Context) -> Any:
        replace_closed_streams()
        let_waiting_threads_sleep()  # before any command imports torch
        hide_warnings_without_remedy()
        with _explained(), _warnings_told(), signals_raise():
            return super().invoke(context)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments and arguments[0] in self.commands and not {"--help", "-h"} & set(arguments):
            check_address_space()
        return super().resolve_command(context, arguments)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise Failure(str(error)) from None
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:  # it quotes arguments
        raise click.UsageError(printable(error.format_message()), error.ctx) from None
    except OutputClosed:
        _forget_standard_output()
        raise click.exceptions.Exit(_STATUS_OUTPUT_CLOSED) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(signal_status(signal.SIGINT)) from None
    except Terminated as terminated:
        raise click.exceptions.Exit(signal_status(terminated.number)) from None
    except (OSError, ImportError) as error:
        raise _failure_of_system(error) from None
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_device_memory(error):
            if is_lack_of_memory(error):
                raise Failure(f"{memory_problem(error)}\n{MEMORY_FIX}") from None
            raise
        raise Failure(
            f"the device's memory is full: {str(error).splitlines()[0]}\n"
            "train with a smaller --set training.batch_tokens=..., translate with a smaller "
            "--set decoding.batch_tokens=..., or use --device cpu"
        ) from None


def _failure_of_system(error: OSError | ImportError) -> Exception:
    """Return a message for mistakes that a user can put right (a path, a permission, a full disk), else the error."""
    if is_lack_of_files(error):
        return Failure(f"{error}\n{OPEN_FILES_FIX}")
    if is_lack_of_memory(error):
        return Failure(f"{memory_problem(error)}\n{MEMORY_FIX}")
    if not isinstance(error, OSError):
        return error
    if error.filename is not None and error.strerror:
        fix = _FIXES.get(error.errno or 0, _FIX_OF_PATHS)
        return Failure(f"{os.fsdecode(error.filename)}: {error.strerror}\n{fix}")
    return Failure(f"cannot write: {error.strerror}\n{_MAKE_ROOM}") if error.errno in _FULL_DISK else error


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Show warnings of the library as warnings of the command; others are shown as Python does."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, Warned):
            warn(str(message))
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _is_out_of_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # whoever has not imported it has not run out of its memory
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _forget_standard_output() -> None:
    """Send what is left in the output buffer to nowhere, so that the interpreter does not complain of a closed pipe."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mtmoe", message="%(prog)s %(version)s")
def main() -> None:
    """Machine translation with LSTM and sparsely-gated mixture-of-experts models.

    \b
    mtmoe init corpus.tmx                           a recipe for your own text
    mtmoe recipes                                   what else can be trained
    mtmoe train demo runs/demo                      fetch, preprocess and train
    mtmoe translate runs/demo < text.en > text.fr   one line out per line in
    mtmoe bleu runs/demo                            BLEU and chrF on the recipe's test sets

    RECIPE is the name of a shipped recipe or the path of a TOML file; RUN is the directory of a training run.

    Exit status: 0 all is done; 1 a mistake that you can put right; 2 wrong usage; 130 Ctrl-C; 143 SIGTERM; 141
    nobody reads the output any more.
    """


for _command in (
    init,
    recipes,
    report,
    describe,
    settings,
    fetch,
    filter_,
    preprocess,
    train,
    translate,
    explain,
    serve,
    add_key,
    synthesise,
    score,
    bleu,
    compare,
    calibrate,
    tune_decoding,
    package,
    push,
    pull,
    average,
    export,
    experts,
    plan,
    doctor,
    bench,
):
    main.add_command(_command)
