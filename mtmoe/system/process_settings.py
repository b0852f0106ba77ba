"""Settings of the whole process: environment variables of oneDNN, OpenMP and malloc, warnings, threads, denormals.

Nothing else in the library changes any of these, neither when it is imported nor when a model is made or loaded. The
commands call what is here, and so may a Python program, as early as it can::

    mtmoe.prepare_for_translation()
    translator = mtmoe.Translator("runs/demo")

What the user has set in the environment stays.

Two places take threads for the time of one operation and give them back: `mtmoe.model.ops.thread_pool` and
`mtmoe.inference.search.threads`.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ONEDNN_CAPACITY = "PRIMITIVE_CACHE_CAPACITY"


def prepare_for_translation() -> None:
    """Set the process up to translate or to score translations: few compiled products, no warnings without a remedy.

    Takes effect only before the process has first used oneDNN.
    """
    hide_warnings_without_remedy()
    # oneDNN compiles a product or an LSTM for each shape and keeps the last 1,024, a quarter of a gigabyte after 20,000
    # sentences; few of a search's many shapes come again. 128 are enough for those that do (5 % more time).
    _keep_compiled_products(128)


def prepare_for_training(device: torch.device) -> None:
    """Set the process up to train on a device: threads inherit the settings, and the first large operation starts them.

    Takes effect only before the process has first used oneDNN and taken memory for tensors.
    """
    import torch

    hide_warnings_without_remedy()
    if device.type == "cpu":
        # Adam's moments of rarely used rows decay to denormals, which are many times slower to compute with.
        torch.set_flush_denormal(True)
        # Each compiled LSTM takes 1 to 2 MB. The shapes of sentences hardly come back; those of hundreds of experts do,
        # and need more than a hundred places.
        _keep_compiled_products(256)
        # Tensors of 2 MB and more in pages of 2 MB, where the system has them on request: a stack of experts is read
        # and written from end to end, and small pages keep the processor from fetching ahead.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def let_waiting_threads_sleep() -> None:
    """Let a thread of OpenMP's without work sleep after a fraction of a millisecond in place of several.

    Until then it holds a core that another thread could use (`mtmoe.model.ops.thread_pool`). Read when torch is
    imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def hide_warnings_without_remedy() -> None:
    """Hide what torch tells every user of an LSTM with projection, who can do nothing about it.

    For good, and not while the layer computes: several threads may do that at once, and the filters are those of the
    process.
    """
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")


def use_threads(num_threads: int) -> None:
    """Compute with so many threads in this process, or in this thread of it."""
    import torch

    torch.set_num_threads(num_threads)


def _keep_compiled_products(number: int) -> None:
    if not any(f"{library}_{_ONEDNN_CAPACITY}" in os.environ for library in ("ONEDNN", "DNNL")):
        os.environ[f"ONEDNN_{_ONEDNN_CAPACITY}"] = str(number)
