"""The words of the training text's source side and how often each stands there: what a model has seen.

Text of a source language that has a dictionary (:mod:`mtmoe.data.word_dictionaries`) has them in a file, a word and
its number a line, the most frequent first; ``decoding.usual_spelling`` needs both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import regex

from mtmoe.errors import UserError
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.readable_files import read_bytes

SOURCE_WORDS_NAME = "source_words.tsv"
WORD = regex.compile(r"(?:\p{L}\p{M}*+)++(?:['’](?:\p{L}\p{M}*+)++)*+")
"""Letters that stand together, with apostrophes between them."""
_MOST_WORDS = 500_000
_MOST_COUNTED = 4 * _MOST_WORDS
_RENEW = "copy it from the data directory again, or remove it: it is for decoding.usual_spelling alone"


def count_words(sentences: Iterable[str], most_counted: int = _MOST_COUNTED) -> Counter[str]:
    """Count the words of sentences, in bounded memory: where there are too many, the rarest begin anew."""
    counts: Counter[str] = Counter()
    fewest = 1
    for sentence in sentences:
        counts.update(WORD.findall(sentence))
        while len(counts) > most_counted:
            fewest += 1
            counts = Counter({word: number for word, number in counts.items() if number >= fewest})
    return counts


def save_source_words(path: Path, counts: Counter[str]) -> None:
    """Write the most frequent words."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    write_atomically(path, "".join(f"{word}\t{number}\n" for word, number in ordered).encode())


def load_source_words(path: Path) -> dict[str, int]:
    """Read what :func:`save_source_words` wrote.

    Raises:
        UserError: it cannot be read or is damaged.
    """
    return parse_source_words(read_bytes(path), path)


def parse_source_words(content: bytes, path: Path) -> dict[str, int]:
    """Read the content of such a file; ``path`` is what messages call it.

    Raises:
        UserError: it is damaged.
    """
    found = {}
    try:
        for line in content.decode().splitlines():
            word, number = line.split("\t")
            found[word] = int(number)
    except ValueError as error:
        raise UserError(f"{path}: damaged: {error}", fix=_RENEW) from None
    return found
