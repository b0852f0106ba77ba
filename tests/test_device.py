"""Devices by name, and the arithmetic that they are fast in."""

from __future__ import annotations

import pytest
import torch

from mtmoe.device import choose_device, precision_on
from mtmoe.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error_that_names_it(name):
    with pytest.raises(UserError, match=f"device '{name}'"):
        choose_device(name)


def _processor(monkeypatch, *, bf16: bool, amx: bool, onednn: bool) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)


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
    assert precision_on(CPU, "auto") == expected
    assert precision_on(CPU, "fp32") == "fp32"


def test_bf16_on_a_processor_that_cannot_is_an_error_that_says_what_to_set(monkeypatch):
    _processor(monkeypatch, bf16=False, amx=False, onednn=False)
    with pytest.raises(UserError, match=r'training\.precision = "bf16"') as e:
        precision_on(CPU, "bf16")
    assert 'set training.precision = "auto"' in e.value.fix
