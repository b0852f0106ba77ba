"""Nearest names: the guesses at what a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(word: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like the word, or None. The words of a name may be in another order."""
    candidates = list(names)
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if near:
        return near[0]
    by_words = {_words_sorted(name): name for name in candidates}
    near = difflib.get_close_matches(_words_sorted(word), by_words, n=1, cutoff=0.6)
    return by_words[near[0]] if near else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``; did you mean 'NAME'?`` with the nearest name, or an empty text where none is near."""
    near = nearest_name(word, names)
    return f"; did you mean {near!r}?" if near else ""


def _words_sorted(name: str) -> str:
    return "_".join(sorted(name.split("_")))
