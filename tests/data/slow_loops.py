"""The obvious way to tell loops: every phrase and every window is looked at."""

from __future__ import annotations

from mtmoe.data.repetition import window_of_chain


def too_often(symbols, measures, limits) -> bool:
    """Return whether any phrase stands anywhere once more often in a row than the limits say, or too few
    different words in a row."""
    for begin in range(len(symbols)):
        for length in range(1, len(symbols) - begin + 1):
            phrase = symbols[begin : begin + length]
            num_letters = sum(map(measures.letters_of, phrase))
            times = limits.times(num_letters, measures.num_words(phrase), length) + 1
            if num_letters and symbols[begin : begin + times * length] == phrase * times:
                return True
    words = [symbol for symbol in symbols if measures.letters_of(symbol)]
    windows = [
        set(words[begin : begin + window])
        for num_different in range(1, 11)
        if (window := window_of_chain(num_different))
        for begin in range(len(words) - window + 1)
        if len(set(words[begin : begin + window])) <= num_different
    ]
    return bool(windows) and not limits.may_chain
