"""Sequences of words inside others."""

from __future__ import annotations

Words = tuple[int, ...]


def occurs(phrase: Words, ids: Words) -> bool:
    """Whether ``ids`` has the words of the phrase one after the other."""
    return any(ids[start : start + len(phrase)] == phrase for start in range(len(ids) - len(phrase) + 1))
