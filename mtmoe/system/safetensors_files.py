"""Tensors written to safetensors files, one after the other: whole, synced, into pipes and devices too.

The bytes are those of safetensors' own ``save``. Its ``save_file`` cannot be used: it makes and renames a file of its
own, which replaces devices and links, changes who may read them, and stays behind when the process is killed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mtmoe.system.atomic_files import opened_atomically

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ALIGNMENT = 8
_TYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""By their names in torch and NumPy; safetensors stores the last first."""
_RANKS = {name: rank for rank, name in enumerate(_TYPES)}


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor | np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically, as :func:`~mtmoe.system.atomic_files.opened_atomically` does.

    Raises:
        OSError: it cannot be written.
        KeyError: a tensor has a type that safetensors files of ours do not have.
    """
    with opened_atomically(path) as file:
        write_tensors(file, tensors, metadata)


@contextlib.contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """Yield a name of a file for safetensors, which opens no name that is not UTF-8: then that of a descriptor."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, Tensor | np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to an open file; errors as :func:`save_tensors`."""
    names = sorted(tensors, key=lambda name: (-_RANKS[_type_of(tensors[name])], name))
    header = json.dumps(dict(_described(names, tensors, metadata)), separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    for name in names:
        file.write(_bytes_of(tensors[name]))


def _described(
    names: list[str], tensors: Mapping[str, Tensor | np.ndarray], metadata: Mapping[str, str] | None
) -> Iterator[tuple[str, object]]:
    if metadata is not None:
        yield "__metadata__", dict(metadata)
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        yield name, {"dtype": _TYPES[_type_of(tensor)], "shape": list(tensor.shape), "data_offsets": [begin, end]}


def _type_of(tensor: Tensor | np.ndarray) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes_of(tensor: Tensor | np.ndarray) -> memoryview:
    """Return the values in their order, in little-endian bytes as every machine that torch runs on has them."""
    import numpy as np

    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
