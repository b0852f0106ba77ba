"""The vocabulary of a recipe, whichever kind it is: making its file, finding it in a directory, loading it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords import SubwordModel, train_subwords
from mtmoe.data.words import WordVocabulary, count_words
from mtmoe.progress import Progress, silent

Vocabulary = SubwordModel | WordVocabulary

_SUBWORDS, _WORDS = "subwords.model", "words.txt"


def make_vocabulary(
    sentences: Iterable[str], settings: Subwords, directory: Path, seed: int, progress: Progress = silent
) -> Path:
    """Learn the vocabulary from the sentences and write its file into the directory.

    Raises:
        UserError: the text does not give the wanted size.
    """
    if settings.algorithm == "word":
        count_words(sentences, settings, directory / _WORDS, progress)
    else:
        train_subwords(sentences, settings, directory / _SUBWORDS, seed, progress)
    return vocabulary_file(directory)


def vocabulary_file(directory: Path) -> Path:
    """The vocabulary of a data or run directory."""
    words = directory / _WORDS
    return words if words.exists() else directory / _SUBWORDS


def vocabulary_name(path: Path) -> str:
    """The name that a copy of this vocabulary has in a directory."""
    return _WORDS if path.name == _WORDS else _SUBWORDS


def load_vocabulary(path: Path) -> Vocabulary:
    """Raises UserError as the two kinds do."""
    return WordVocabulary(path) if path.name == _WORDS else SubwordModel(path)
