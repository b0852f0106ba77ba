"""The compiled library: where it is, what its functions take, and which processors it has code for.

It is built with the package where there is a C++ compiler (`setup.py`). Without it everything is computed by torch,
which gives the same translations more slowly.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from mtmoe.errors import UserError

LIBRARY = "_inference.library"
"""Its file, on every system. It is no module of Python, and does not look like one."""

INTERFACE = 4
"""What the library's functions take and do; a library that was built of older sources has another one."""

FAMILIES = ("plain", "avx2", "avx512")
"""Families of processors by the number that the library knows them by; each has the instructions of those before."""

_int, _long, _pointer, _name = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p


class Shape(ctypes.Structure):
    """The settings that shape a model (`source/model.h`)."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in (
            "width", "attention_width", "vocabulary", "encoder_layers", "decoder_layers", "encoder_bottom",
            "residual", "bottom_residual", "additive", "context", "output_attention",
        )),
        ("embedding_factor", ctypes.c_float),
    ]  # fmt: skip


class SearchOptions(ctypes.Structure):
    """The options of a search (`source/search.h`)."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in (
            "width", "num_best", "num_words", "early_stopping", "begin_of_sentence", "end_of_sentence",
        )),
        ("prune_margin", ctypes.c_double),
        ("beam_margin", ctypes.c_double),
        ("coverage_beta", ctypes.c_double),
    ]  # fmt: skip


LETTERS = ("letters_of", "words_of", "begins_within", "ends_within", "most_in_row")
"""What the library wants to know of the subwords of a vocabulary, numbers of `SubwordLetters`."""


class Letters(ctypes.Structure):
    """What the subwords of a vocabulary consist of, by addresses (`source/repetition.h`)."""

    _fields_ = [(name, ctypes.c_void_p) for name in LETTERS]


_FUNCTIONS = {
    "mtmoe_delete": (None, [_pointer]),
    "mtmoe_new": (_pointer, [ctypes.POINTER(Shape), _int, _int]),
    "mtmoe_add_matrix": (_int, [_pointer, _name, _pointer, _pointer, _int, _int]),
    "mtmoe_add_numbers": (_int, [_pointer, _name, _pointer]),
    "mtmoe_set_feed_forward": (_int, [_pointer, _name, *[_int] * 5, ctypes.c_float]),
    "mtmoe_finish": (_int, [_pointer]),
    "mtmoe_num_bytes": (ctypes.c_long, [_pointer]),
    "mtmoe_best_family": (_int, []),
    "mtmoe_interface": (_int, []),
    "mtmoe_encode": (_int, [_pointer, _pointer, _pointer, _int, _pointer, _pointer]),
    "mtmoe_step": (_int, [_pointer, _int, *[_pointer] * 6, _int]),
    "mtmoe_project": (_int, [_pointer, _int, _pointer, _pointer]),
    "mtmoe_next_words": (
        _int,
        [_pointer, _int, _pointer, _int, _pointer, _int, _pointer, _pointer, _pointer, _int, _int, *[_pointer] * 4],
    ),
    "mtmoe_coverage_penalty": (None, [_int, _pointer, _long, _pointer, ctypes.c_double, _pointer]),
    "mtmoe_search_new": (
        _pointer, [_pointer, ctypes.POINTER(SearchOptions), _pointer, _int, ctypes.POINTER(Letters)],
    ),
    "mtmoe_search_delete": (None, [_pointer]),
    "mtmoe_search_set_penalties": (_int, [_pointer, _pointer, _pointer, _int]),
    "mtmoe_search_add": (_int, [_pointer, _long, _pointer, _int, _int, _int, _int]),
    "mtmoe_search_drop": (_int, [_pointer, _long]),
    "mtmoe_search_steps": (_int, [_pointer, _int, _pointer]),
    "mtmoe_search_take": (None, [_pointer, _int, *[_pointer] * 6]),
}  # fmt: skip


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the library; None where it was not built, or cannot be loaded."""
    path = Path(__file__).with_name(LIBRARY)
    if not path.is_file():
        return None
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):  # of another system, or another version
        return None
    return loaded if loaded.mtmoe_interface() == INTERFACE else None


@functools.cache
def best_family() -> str | None:
    """Return the family of this processor, one of FAMILIES; None where there is no library."""
    loaded = library()
    return None if loaded is None else FAMILIES[loaded.mtmoe_best_family()]


def check(status: int) -> None:
    """Raise UserError if one of the library's functions has had no memory."""
    if status:
        raise UserError(
            "there is no memory left to translate with", fix="fewer lines at a time: --set decoding.batch_tokens=8192"
        )
