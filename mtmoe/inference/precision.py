"""The arithmetic of inference, and weights as it wants them: full float32, so that every way to compute a probability
gives the same; or bf16 or int8, which are faster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from mtmoe.model.gating import Gate
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel


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


def prepare_for_search(model: nn.Module, precision: str) -> None:
    """Turn the weights of a model into those of ``decoding.precision``, and lay them out for many steps, in place.

    Raises:
        UserError: int8, and the model is not on a CPU.
    """
    lower_precision(model, precision)
    for module in model.modules():
        if isinstance(module, TranslationModel | LanguageModel) and next(module.parameters()).device.type == "cpu":
            module.join_step_weights()


def lower_precision(model: nn.Module, precision: str) -> None:
    """Turn the weights of a model into those of ``decoding.precision``, in place; "fp32" leaves it as it is.

    Gates keep theirs: they are small, and which experts a token is sent to is the one thing that rounding changes by
    leaps. LSTM cells, softmaxes and log-probabilities are float32 in any precision. "int8" is of the output layer,
    the largest matrix: in the others it gains less, and for single sentences it is slower.

    Raises:
        UserError: int8, and the model is not on a CPU.
    """
    if precision == "fp32":
        return
    if precision == "int8":
        for module in model.modules():
            if isinstance(module, TranslationModel | LanguageModel):
                module.project_in_int8()
        return
    kept = {id(p) for module in model.modules() if isinstance(module, Gate) for p in module.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.to(torch.bfloat16)
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            module.flatten_parameters()  # cuDNN wants them side by side
