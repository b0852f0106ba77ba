"""Word-level vocabularies: the most frequent words of a text, and everything else is ``<unk>``.

A word is what stands between white space, in a line of the normal form (:mod:`mtmoe.data.cleaning.rules`). The file has
one word a line; the line's number, from 0, is the id: the special ids, then words from the most frequent one down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtmoe.config.settings import Subwords
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.readable_files import read_bytes
from mtmoe.vocabulary import NUM_SPECIAL, UNK

_SPECIAL_WORDS = ("<pad>", "<unk>", "<s>", "</s>")
_SENTENCES_PER_CALL = 100_000


def count_words(sentences: Iterable[str], settings: Subwords, words_path: Path, progress: Progress = silent) -> None:
    """Write the list that :func:`frequent_words` returns to ``words_path``; raise as it does."""
    write_atomically(words_path, words_file_content(frequent_words(sentences, settings, progress)))


def words_file_content(words: Iterable[str]) -> bytes:
    """Return the file of a list of words, special ones included."""
    return "".join(f"{word}\n" for word in words).encode()


def frequent_words(sentences: Iterable[str], settings: Subwords, progress: Progress = silent) -> list[str]:
    """Return the special words and the most frequent ones of a text, ``vocabulary_size`` in all; of equally frequent
    ones, the first in the alphabet.

    Where the text spells a special word (WikiText has ``<unk>``), it is not a word of its own.

    Raises:
        UserError: the text has fewer words.
    """
    counts: Counter[str] = Counter()
    num_sentences = 0
    for num_sentences, sentence in enumerate(sentences, start=1):
        counts.update(sentence.split())
        if num_sentences % _SENTENCES_PER_CALL == 0:
            progress("words", num_sentences, None, "sentences")
    progress("words", num_sentences, num_sentences, "sentences")
    for word in _SPECIAL_WORDS:
        counts.pop(word, None)
    num_wanted = settings.vocabulary_size - NUM_SPECIAL
    if len(counts) < num_wanted:
        raise UserError(
            f"subwords.vocabulary_size = {settings.vocabulary_size} is too large for this text: it has "
            f"{len(counts)} different words, with {NUM_SPECIAL} special ids {len(counts) + NUM_SPECIAL}",
            fix=f"set subwords.vocabulary_size to {len(counts) + NUM_SPECIAL} or less",
        )
    return [*_SPECIAL_WORDS, *sorted(counts, key=lambda word: (-counts[word], word))[:num_wanted]]


class WordVocabulary:
    """The same interface as :class:`~mtmoe.data.subwords.sentencepiece_model.SubwordModel`, pickled as that."""

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        """Read the file.

        Args:
            content: of the file, where it has been read, or is part of another.

        Raises:
            UserError: there is no such file, or it is none that :func:`count_words` wrote.
        """
        self.path, self._given = Path(path), content
        content = read_bytes(self.path) if content is None else content
        try:
            words = content.decode("utf-8").split("\n")[:-1]
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: damaged: {error}", fix="use a list that `mtmoe preprocess` wrote") from None
        self._ids = {word: number for number, word in enumerate(words)}
        if tuple(words[:NUM_SPECIAL]) != _SPECIAL_WORDS or len(self._ids) != len(words):
            raise UserError(
                f"{self.path}: not a list of words that begins with {' '.join(_SPECIAL_WORDS)}, each there once",
                fix="use a list that `mtmoe preprocess` wrote",
            )
        self.pieces = words
        for number, word in enumerate(_SPECIAL_WORDS):
            if number != UNK:  # text that spells "</s>" does not end a sentence
                del self._ids[word]

    def __reduce__(self) -> tuple[Any, ...]:
        return (WordVocabulary, (self.path, self._given))

    @property
    def size(self) -> int:
        """Number of words, special ones included."""
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text's words, without special ids but for UNK."""
        return [self._ids.get(word, UNK) for word in text.split()]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode each text as :meth:`encode` does."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return words of the ids; special ids but for UNK give nothing."""
        return " ".join(self.pieces[i] for i in map(int, ids) if i == UNK or i >= NUM_SPECIAL)
