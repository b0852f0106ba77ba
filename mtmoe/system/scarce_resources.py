"""Errors that mean too little memory or too few file descriptors, whichever library raises them.

What is lacking is no damage of a file, and no fault of the program: it is told in one line.
"""

from __future__ import annotations

import errno
import os
import re

_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|std::bad_array_new_length|failed to map "
    r"segment|could not create a (memory|primitive)|can't start new thread|unable to allocate|malloc of size|"
    r"Resource temporarily unavailable|bytes of memory|unable to mmap|Storage size calculation overflowed",
    re.IGNORECASE,
)


def is_lack_of_files(error: BaseException) -> bool:
    """Return whether the process may not open as many files as it needs.

    The loader of libraries has but words for it.
    """
    words = map(os.strerror, _TOO_MANY_FILES)
    return getattr(error, "errno", None) in _TOO_MANY_FILES or any(word in str(error) for word in words)


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether there was too little memory, or address space; each library says it in its own words."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError | OSError) and bool(_OUT_OF_MEMORY.search(str(error)))


def memory_problem(error: BaseException) -> str:
    """Return what was asked for, as far as it is known, on one line."""
    said = (str(error).strip().splitlines() or [""])[0][:300]
    return f"not enough memory{f': {said}' if said else ''}"
