"""The vocabulary of a recipe, whichever kind it is: making its file or taking
that of another run, finding it in a directory, loading it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.extending import extended_subwords, extended_words
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.data.subwords.trial_process import check_in_child_process
from mtmoe.data.subwords.word_vocabulary import WordVocabulary, count_words
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.readable_files import read_bytes

Vocabulary = SubwordModel | WordVocabulary

_SUBWORDS, _WORDS = "subwords.model", "words.txt"
VOCABULARY_NAMES = (_SUBWORDS, _WORDS)
"""Of its file in a directory: one of subwords, one of words."""


def make_vocabulary(
    sentences: Iterable[str], settings: Subwords, directory: Path, seed: int, progress: Progress = silent
) -> Path:
    """Learn the vocabulary from the sentences and write its file into the directory.

    With ``subwords.extends`` it is that vocabulary, and what was learned and it has not comes behind.

    Raises:
        UserError: the text does not give the wanted size; the vocabulary to extend is not there or of another kind.
    """
    if settings.extends:
        old = load_foreign_vocabulary(vocabulary_to_take(settings))
        if isinstance(old, WordVocabulary):
            write_atomically(directory / _WORDS, extended_words(old, sentences, settings, progress))
        else:
            write_atomically(directory / _SUBWORDS, extended_subwords(old, sentences, settings, seed, progress))
    elif settings.algorithm == "word":
        count_words(sentences, settings, directory / _WORDS, progress)
    else:
        train_subwords(sentences, settings, directory / _SUBWORDS, seed, progress)
    return vocabulary_file(directory)


def vocabulary_to_take(settings: Subwords) -> Path:
    """Return ``subwords.file``, or else ``subwords.extends``, if it is there.

    Raises:
        UserError: it is not, or it is of the other kind than ``subwords.algorithm``.
    """
    key = "file" if settings.file else "extends"
    path = Path(getattr(settings, key))
    if not path.is_file():
        raise UserError(
            f"subwords.{key} = {str(path)!r}: no such file",
            fix="name the vocabulary of a run, or the run itself with --subwords-of RUN",
        )
    if (vocabulary_name(path) == _WORDS) != (settings.algorithm == "word"):
        raise UserError(
            f'subwords.{key} = {str(path)!r} is not a vocabulary of subwords.algorithm = "{settings.algorithm}"',
            fix=f"{_WORDS} is one of words, every other name one of subwords",
        )
    return path


def take_vocabulary(settings: Subwords, tokens: Sequence[str], directory: Path) -> Path:
    """Copy ``subwords.file`` into the directory.

    Args:
        tokens: of languages and of made text, which have to be in it.

    Raises:
        UserError: it has another size than ``subwords.vocabulary_size``, or lacks a token; as the two kinds do.
    """
    path = vocabulary_to_take(settings)
    vocabulary = load_foreign_vocabulary(path)
    if vocabulary.size != settings.vocabulary_size:
        raise UserError(
            f"subwords.vocabulary_size = {settings.vocabulary_size}, but subwords.file = {settings.file!r} has "
            f"{vocabulary.size} entries",
            fix=f"set subwords.vocabulary_size to {vocabulary.size}",
        )
    missing = [token for token in tokens if token not in vocabulary.pieces]
    if missing:
        raise UserError(
            f"subwords.file = {settings.file!r} lacks {', '.join(missing)}, which the directions or tags of data.train "
            "need",
            fix="take the vocabulary of a run into the same languages, with the same tags, or leave subwords.file out",
        )
    copy = directory / vocabulary_name(path)
    write_atomically(copy, read_bytes(path))
    return copy


def settings_to_take(directory: Path) -> dict[str, Any]:
    """Return the table ``subwords`` of a recipe that takes the vocabulary of a run or data directory.

    Raises:
        UserError: there is none.
    """
    path = vocabulary_file(directory).absolute()
    if not path.is_file():
        raise UserError(f"{directory}: holds no vocabulary", fix="name a run, or the DATA_DIR of `mtmoe preprocess`")
    kind = {"algorithm": "word", "byte_fallback": False} if vocabulary_name(path) == _WORDS else {}
    return {"file": str(path), "vocabulary_size": load_foreign_vocabulary(path).size, **kind}


def vocabulary_file(directory: Path) -> Path:
    """Return the vocabulary of a data or run directory."""
    words = directory / _WORDS
    return words if words.exists() else directory / _SUBWORDS


def vocabulary_name(path: Path) -> str:
    """Return the name that a copy of this vocabulary has in a directory."""
    return _WORDS if path.name == _WORDS else _SUBWORDS


def load_foreign_vocabulary(path: Path, content: bytes | None = None) -> Vocabulary:
    """Load a vocabulary that nobody here has made, or that may have changed since.

    Args:
        content: of the file, where it has been read, or is part of another.

    SentencePiece reads its models in C++, where a damaged or crafted one can end the process: a child process tries it
    first.

    Raises:
        UserError: the child did not survive it; else as the two kinds do.
    """
    if path.name != _WORDS:
        check_in_child_process(path, content)
    return load_vocabulary(path, content)


def load_vocabulary(path: Path, content: bytes | None = None) -> Vocabulary:
    """Load either kind of vocabulary, of the content that was read of it, else of its file.

    Raises:
        UserError: as the two kinds do.
    """
    return WordVocabulary(path, content) if path.name == _WORDS else SubwordModel(path, content)
