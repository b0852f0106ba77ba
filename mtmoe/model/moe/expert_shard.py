"""Which experts, or groups of experts, are made here: all of them, or the share of one process among several."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar


def _all_of(number: int) -> slice:
    return slice(0, number)


_SHARE: ContextVar[Callable[[int], slice]] = ContextVar("share", default=_all_of)


@contextlib.contextmanager
def keeping_experts(share: Callable[[int], slice]) -> Iterator[None]:
    """Layers that are made within it have but the experts, or groups of them with their gates, that ``share`` gives of
    their number, with the weights that these have among all: so a process keeps none of those of others (gates without
    noise are there as a whole for a moment, while they are drawn)."""
    token = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(token)


def kept_of(number: int) -> slice:
    """Those of so many experts or groups that a layer is to have that is made now."""
    return _SHARE.get()(number)
