"""Files of tensors have the bytes that safetensors would write."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from mtmoe.system.safetensors_files import save_tensors, write_tensors


def test_the_bytes_are_those_of_safetensors_for_all_types_shapes_and_names():
    names = "bool uint8 int8 int16 uint16 float16 bfloat16 int32 uint32 float32 float64 int64 uint64"
    types = [getattr(torch, name) for name in names.split()]
    tensors = {f"b{number}.é\n": torch.ones(3, number % 3).to(dtype) for number, dtype in enumerate(types)}
    tensors |= {f"a{number}": torch.tensor(number).to(dtype) for number, dtype in enumerate(types)}
    for metadata in (None, {"format": "pt\t語"}):
        file = io.BytesIO()
        write_tensors(file, tensors, metadata)
        assert file.getvalue() == safetensors.torch.save(tensors, metadata)


def test_what_does_not_lie_in_order_is_written_in_order():
    matrix = np.arange(6, dtype=np.int32).reshape(2, 3)
    for transposed in (matrix.T, torch.from_numpy(matrix).T):
        file = io.BytesIO()
        write_tensors(file, {"x": transposed})
        assert file.getvalue() == safetensors.numpy.save({"x": np.ascontiguousarray(matrix.T)})


def test_no_tensors_are_a_file_too(tmp_path):
    save_tensors(tmp_path / "none", {})
    assert safetensors.torch.load_file(tmp_path / "none") == {}


def test_a_full_device_is_an_error_of_the_operating_system():
    with pytest.raises(OSError, match="No space left on device"):
        save_tensors(Path("/dev/full"), {"x": torch.ones(9)})
