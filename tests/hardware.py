"""What some tests need of the machine they run on; where it is missing they are skipped with the reason in view."""

from __future__ import annotations

import pytest
import torch

BF16_IS_SUPPORTED = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
NEEDS_BF16 = pytest.mark.skipif(
    not BF16_IS_SUPPORTED,
    reason="needs a processor with bf16 arithmetic (AVX-512), and this one has none",
)
BF16 = pytest.param("bf16", marks=NEEDS_BF16)
