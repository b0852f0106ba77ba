"""Networks without memory: parameters that have shapes, and no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.xavier_uniform_)


class _NothingDrawn(TorchFunctionMode):
    """Leave out the random numbers that parameters begin with.

    On the device ``meta`` there is nothing to fill. To find that out torch imports its compiler and sympy, which takes
    seconds of every command that describes or loads a network.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in _DRAWS else func(*args, **(kwargs or {}))


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Make what is built inside have shapes alone: on torch's device ``meta``, with no random number drawn."""
    with torch.device("meta"), _NothingDrawn():
        yield
