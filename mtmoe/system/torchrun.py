"""Environment variables of torchrun, which tell a process which of how many it is."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from mtmoe.errors import UserError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_MOST_PROCESSES = 1_000_000  # as many GPUs as the largest machines have, several times
_FIX = "start all processes with torchrun, which sets it; or unset RANK"


class Place(NamedTuple):
    """The number of a process among all, and among those of its machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def is_launched() -> bool:
    """Return whether this process is one of several, or says so."""
    return "RANK" in os.environ


def place_of_process() -> Place:
    """Return the place of this process; without torchrun it is the first of one.

    Raises:
        UserError: variables are missing, no numbers, or contradict each other.
    """
    local_size = local_world_size()
    if not is_launched():
        return Place(0, 1, 0, local_size)
    missing = [name for name in _NAMES if name not in os.environ]
    if missing:
        raise UserError(
            f"RANK = {os.environ['RANK']!r} in the environment, but no {', '.join(missing)}: this process is one of "
            "several and cannot find the others",
            fix="start all of them with torchrun, or unset RANK",
        )
    size = _number("WORLD_SIZE", 1, _MOST_PROCESSES)
    rank, local = _number("RANK", 0, _MOST_PROCESSES), local_rank()
    _number("MASTER_PORT", 1, 65535)
    _less("RANK", rank, "WORLD_SIZE", size)
    _less("LOCAL_RANK", local, "WORLD_SIZE", size)
    if "LOCAL_WORLD_SIZE" in os.environ:
        _less("LOCAL_RANK", local, "LOCAL_WORLD_SIZE", local_size)
        if local_size > size:
            raise UserError(
                f"LOCAL_WORLD_SIZE = {local_size} and WORLD_SIZE = {size} in the environment: a machine has no more "
                "processes than there are in all",
                fix=_FIX,
            )
    return Place(rank, size, local, local_size)


def local_rank() -> int:
    """Return the number of this process among those of its machine.

    Raises:
        UserError: LOCAL_RANK is no such number.
    """
    return _number("LOCAL_RANK", 0, _MOST_PROCESSES) if "LOCAL_RANK" in os.environ else 0


def local_world_size() -> int:
    """Return the number of processes on this machine.

    Raises:
        UserError: LOCAL_WORLD_SIZE is no such number.
    """
    return _number("LOCAL_WORLD_SIZE", 1, _MOST_PROCESSES) if "LOCAL_WORLD_SIZE" in os.environ else 1


def _number(name: str, least: int, most: int) -> int:
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise UserError(f"{name} = {text!r} in the environment: is not a whole number from {least} to {most}", fix=_FIX)
    return int(text)


def _less(name: str, value: int, bound_name: str, bound: int) -> None:
    if value >= bound:
        raise UserError(
            f"{name} = {value} and {bound_name} = {bound} in the environment: processes are numbered from 0 to "
            f"{bound_name} - 1 = {bound - 1}",
            fix=_FIX,
        )


def check_master_address() -> None:
    """Look up the main process's machine, if there are several processes.

    Raises:
        UserError: there is no machine of that name.
    """
    if not is_launched():
        return
    address = os.environ["MASTER_ADDR"]
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"MASTER_ADDR = {address!r} in the environment: no machine of this name is known ({why})",
            fix="name the main process's machine: torchrun --master-addr or --rdzv-endpoint",
        ) from None
