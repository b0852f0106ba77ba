"""Loops: translations that say a phrase again and again."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from mtmoe.data.words import set_apart

_MOST_WORDS = 20
_LONG_PHRASE = 4  # words; twice in a row is a loop, where shorter ones may be emphasis ("very, very")
_FEWEST_TIMES = 3
_FEWEST_TIMES_OF_A_WORD = 4
_NOT_OF_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]")


def has_loop(translation: str, others: Sequence[str] = ()) -> bool:
    """Return whether a phrase stands in the translation several times in a row.

    A word counts from the fourth time on, a phrase of two or three words from the third, a longer one (up to 20 words)
    from the second. Case and punctuation make no difference. In scripts without spaces a word is a letter with its
    marks.

    Args:
        others: texts that may repeat themselves with good reason, such as source and reference: if one of them does,
            the translation has no loop.
    """
    return _repeats(translation) and not any(map(_repeats, others))


def _repeats(text: str) -> bool:
    words = _words(text)
    return any(_most_times(words, length) >= _times_of_a_loop(length) for length in range(1, _MOST_WORDS + 1))


def _times_of_a_loop(length: int) -> int:
    return _FEWEST_TIMES_OF_A_WORD if length == 1 else _FEWEST_TIMES if length < _LONG_PHRASE else 2


def _most_times(words: Sequence[str], length: int) -> int:
    """Return how often in a row any phrase of so many words stands there."""
    most = same = 0
    for word, before in zip(words[length:], words, strict=False):
        same = same + 1 if word == before else 0
        most = max(most, same)
    return 1 + most // length


def _words(text: str) -> list[str]:
    plain = (_NOT_OF_WORD.sub("", word) for word in set_apart(text.casefold()).split())
    return [word for word in plain if any(map(str.isalnum, word))]
