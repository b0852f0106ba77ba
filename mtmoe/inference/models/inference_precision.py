"""Precision of inference, and weights as it wants them: full float32, so that every way to compute a probability
gives the same; or bf16 or int8, which are faster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import nn

from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe.gating import Gate
from mtmoe.model.translation import TranslationModel


class _FullPrecision:
    """Settings of the process, which threads may want at the same time: the first one sets them, the last one puts them
    back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._before = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._num_inside += 1
            if self._num_inside == 1:
                self._before.callback(
                    setattr, torch.backends.cuda.matmul, "allow_tf32", torch.backends.cuda.matmul.allow_tf32
                )
                torch.backends.cuda.matmul.allow_tf32 = False
                self._before.enter_context(torch.backends.cudnn.flags(allow_tf32=False))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if not self._num_inside:
                self._before.close()


_FULL_PRECISION = _FullPrecision()


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Use no shortened mantissas (TF32) in CUDA's matrix products and LSTMs.

    With them, translating (step by step) and scoring (whole sentences) would differ by far more than 1e-4.
    """
    with _FULL_PRECISION:
        yield


def prepare_for_search(model: nn.Module, precision: str, *, with_shortlist: bool = False) -> None:
    """Convert the weights of a model into those of ``decoding.precision``, and lay them out for many steps, in place.

    with_shortlist: no product with the whole vocabulary will be asked for.

    Raises:
        UserError: int8, and the model is not on a CPU.
    """
    models = [module for module in model.modules() if isinstance(module, TranslationModel | LanguageModel)]
    if precision in ("int8", "bf16-int8") and not with_shortlist:
        for module in models:
            module.project_in_int8()
    if precision == "bf16-int8":  # before the others are rounded
        for module in models:
            module.join_step_weights(in_int8=True)
    if precision in ("bf16", "bf16-int8"):
        lower_to_bf16(model)
    if precision != "bf16-int8" and next(model.parameters()).device.type == "cpu":
        for module in models:
            module.join_step_weights()


def lower_to_bf16(model: nn.Module) -> None:
    """Convert all weights but those of gates, in place.

    Gates keep theirs: they are small, and which experts a token is sent to is the one thing that rounding changes by
    leaps. LSTM cells, softmaxes and log-probabilities are float32 in any precision.
    """
    kept = {id(p) for module in model.modules() if isinstance(module, Gate) for p in module.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.to(torch.bfloat16)
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            module.flatten_parameters()  # cuDNN wants them side by side
