"""Inference in full float32, so that every way to compute a probability gives the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """No shortened mantissas (TF32) in CUDA's matrix products and LSTMs.

    With them, translating (step by step) and scoring (whole sentences) would differ by far more than 1e-4.
    """
    allowed_in_products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed_in_products
