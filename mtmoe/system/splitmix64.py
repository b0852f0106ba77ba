"""SplitMix64: a hash of 64 bits, from which random numbers that belong to a key are made (Steele, Lea and Flood 2014).

The n-th output of the generator with the seed s is :func:`mix` of ``s + n * STEP``, modulo 2^64. Tensors hold the bits
as signed numbers: torch has no arithmetic for unsigned ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mtmoe.system.torch_internals import elementwise_cuda_kernel

# Signed, as tensors want them.
STEP, FIRST_FACTOR, SECOND_FACTOR = (
    n - (1 << 64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ROUNDS = ((30, FIRST_FACTOR), (27, SECOND_FACTOR))  # shift, factor
_LAST_SHIFT = 31


def mix(keys: Tensor) -> Tensor:
    """Return SplitMix64's output function of each int64 element, which may be overwritten: every bit depends on all."""
    if keys.device.type == "cpu":
        mix_array(keys.numpy().view(np.uint64))  # three times faster than torch
        return keys
    one_kernel = keys.is_cuda and not torch.compiler.is_compiling()  # which fuses the steps by itself
    return _mix_by_one_kernel()(keys) if one_kernel else mix_step_by_step(keys)


def mix_array(bits: np.ndarray) -> np.ndarray:
    """Replace each element of an array of uint64 by SplitMix64's output function of it, and return the array."""
    room = np.empty_like(bits)
    for shift, factor in _ROUNDS:
        np.right_shift(bits, np.uint64(shift), out=room)
        bits ^= room
        bits *= np.uint64(factor % (1 << 64))
    np.right_shift(bits, np.uint64(_LAST_SHIFT), out=room)
    bits ^= room
    return bits


@functools.cache
def _mix_by_one_kernel() -> Callable[[Tensor], Tensor]:
    """Return the function for a GPU, where eleven launches a call were a quarter of those of a training step."""
    rounds = "".join(f"z ^= z >> {shift}; z *= {factor % (1 << 64)}ull; " for shift, factor in _ROUNDS)
    code = f"""template <typename T> T scrambled(T key) {{
        unsigned long long z = static_cast<unsigned long long>(key);
        {rounds}
        return static_cast<T>(z ^ (z >> {_LAST_SHIFT}));
    }}"""
    return elementwise_cuda_kernel(code, mix_step_by_step)


def mix_step_by_step(keys: Tensor) -> Tensor:
    """Compute :func:`mix` by torch's own operations: the reference, and what other devices take."""
    for shift, factor in _ROUNDS:
        keys ^= shift_right(keys, shift)
        keys *= factor
    keys ^= shift_right(keys, _LAST_SHIFT)
    return keys


def shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift to the right with zeros from the left, unlike torch's shift of signed numbers."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def signed(number: int) -> int:
    """Return the 64 low bits of a number as a signed number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
