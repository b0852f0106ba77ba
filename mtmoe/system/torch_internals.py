"""Private interfaces of torch: the only module that uses any, each with a probe and with what stands in for it.

torch may change or remove them in any release. Where one is not there, its fallback gives the same values, slower or
with less comfort; a test says which are missing. The versions of torch that were tested are the
bounds in ``pyproject.toml``.

Letters: G the four gates of an LSTM side by side, each of H units.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Internal(Generic[P, R]):
    """A private function of torch, and what stands in for it."""

    def __init__(self, path: str, fallback: Callable[P, R]) -> None:
        """``path``: module and name, such as ``torch:_foreach_copy_``; the name may have dots."""
        self.path, self.fallback = path, fallback

    @functools.cached_property
    def private(self) -> Callable[P, R] | None:
        """Return torch's function; None if this torch has none of that name."""
        found: Callable[P, R] | None = probe(self.path)
        return found

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R:
        return (self.private or self.fallback)(*arguments, **options)


def probe(path: str) -> Any:
    """Return what a ``module:name`` stands for in this torch; None if there is no such module or name."""
    module, _, name = path.partition(":")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, RuntimeError):
        return None


# ------------------------------------------------------------------------------------------ lists of tensors


def _copy_one_by_one(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def _lerp_one_by_one(starts: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    for start, end in zip(starts, ends, strict=True):
        start.lerp_(end, weight)


copy_each = Internal("torch:_foreach_copy_", _copy_one_by_one)
"""``copy_each(targets, sources)`` copies each source into the target of its place."""
lerp_each = Internal("torch:_foreach_lerp_", _lerp_one_by_one)
"""``lerp_each(starts, ends, weight)`` moves each start by ``weight`` of the way towards its end."""


# -------------------------------------------------------------------------------------------------- kernels


def _lstm_cell_in_steps(
    input_gates_BG: Tensor, hidden_gates_BG: Tensor, cell_BH: Tensor, input_bias_G: Tensor, hidden_bias_G: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    gates_BG = input_gates_BG + hidden_gates_BG + input_bias_G + hidden_bias_G
    enter_BH, forget_BH, candidate_BH, leave_BH = gates_BG.chunk(4, dim=1)
    cell_BH = forget_BH.sigmoid() * cell_BH + enter_BH.sigmoid() * candidate_BH.tanh()
    return leave_BH.sigmoid() * cell_BH.tanh(), cell_BH, gates_BG


fused_lstm_cell = Internal("torch:ops.aten._thnn_fused_lstm_cell", _lstm_cell_in_steps)
"""``fused_lstm_cell(input gates, recurrent gates, cell, bias, bias)``, on a GPU: output, cell, and one value more.
The gates have the order input, forget, candidate, output."""


def elementwise_cuda_kernel(code: str, fallback: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function of one tensor that computes C++ code on a GPU in one launch, or the fallback."""
    create = probe("torch.cuda.jiterator:_create_jit_fn")
    return fallback if create is None else create(code)


# ------------------------------------------------------------------------------------------------ processors


def _has_flags(*flags: str) -> Callable[[], bool]:
    """Return a function that says whether Linux names all these abilities of the processor."""

    def has() -> bool:
        return set(flags) <= processor_flags()

    return has


@functools.cache
def processor_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the abilities of the processor that Linux names; empty on other systems."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq")
has_avx2 = Internal("torch.cpu:_is_avx2_supported", _has_flags("avx2"))
has_avx512 = Internal("torch.cpu:_is_avx512_supported", _has_flags(*_AVX512))
has_avx512_bf16 = Internal("torch.cpu:_is_avx512_bf16_supported", _has_flags(*_AVX512, "avx512_bf16"))
has_amx = Internal("torch.cpu:_is_amx_tile_supported", _has_flags("amx_tile"))
onednn_has_bf16 = Internal("torch:ops.mkldnn._is_mkldnn_bf16_supported", _has_flags(*_AVX512))
"""Whether oneDNN computes in bf16 on this processor: with AVX-512, though not always fast."""


# ---------------------------------------------------------------------------------------------- distribution


def _leave_timeout(timeout: timedelta, group: Any = None) -> None:
    """Leave the group the timeout that it was made with."""


set_group_timeout = Internal("torch.distributed.distributed_c10d:_set_pg_timeout", _leave_timeout)
"""``set_group_timeout(timeout, group)``, after which a collective of the group fails. Without it the watchdog of
`mtmoe.distributed.watchdog` ends processes that wait, later."""


def sharding_key() -> str:
    """Return the key of a shard's metadata under which torch.distributed.checkpoint has the places of its tensors."""
    return probe("torch.distributed.checkpoint._hf_utils:CUSTOM_METADATA_KEY") or "DCP_SHARDING_INFO"


def offsets_key() -> str:
    """Return the key of the first index of a tensor's part in each dimension, in those places."""
    return probe("torch.distributed.checkpoint._hf_utils:SAVED_OFFSETS_KEY") or "saved_offsets"


INTERNALS: tuple[Internal[..., Any], ...] = (
    copy_each, lerp_each, fused_lstm_cell, has_avx2, has_avx512, has_avx512_bf16, has_amx, onednn_has_bf16,
    set_group_timeout,
)  # fmt: skip
OTHER_PATHS = (
    "torch.cuda.jiterator:_create_jit_fn",
    "torch.distributed.checkpoint._hf_utils:CUSTOM_METADATA_KEY",
    "torch.distributed.checkpoint._hf_utils:SAVED_OFFSETS_KEY",
)


def missing_internals() -> list[str]:
    """Return the paths of those that this torch does not have, so that their fallbacks are used."""
    paths = [*(internal.path for internal in INTERNALS), *OTHER_PATHS]
    return [path for path in paths if probe(path) is None]
