"""The arithmetic that a device is fast in."""

from __future__ import annotations

import pytest
import torch

from mtmoe import precision
from mtmoe.errors import UserError
from mtmoe.precision import choose_precision

CPU = torch.device("cpu")


def _processor(monkeypatch, *, bf16: bool, amx: bool, onednn: bool) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(precision, "has_avx512_bf16", lambda: bf16)
    monkeypatch.setattr(precision, "has_amx", lambda: amx)
    monkeypatch.setattr(precision, "onednn_has_bf16", lambda: onednn)


@pytest.mark.parametrize(
    ("bf16", "amx", "onednn", "expected"),
    [
        (True, False, True, "bf16"),
        (False, True, True, "bf16"),
        (False, False, True, "fp32"),  # AVX-512 without bf16: oneDNN takes it, and is slower than in fp32
        (False, False, False, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_has_instructions_for_it(monkeypatch, bf16, amx, onednn, expected):
    _processor(monkeypatch, bf16=bf16, amx=amx, onednn=onednn)
    assert choose_precision(CPU, "auto") == expected
    assert choose_precision(CPU, "fp32") == "fp32"


def test_bf16_on_a_processor_that_cannot_is_an_error_that_says_what_to_set(monkeypatch):
    _processor(monkeypatch, bf16=False, amx=False, onednn=False)
    with pytest.raises(UserError, match=r'training\.precision = "bf16"') as e:
        choose_precision(CPU, "bf16")
    assert 'set training.precision = "auto"' in e.value.fix
