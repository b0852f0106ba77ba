"""Word alignment: which word of the source a word of the translation comes from, read off the attention.

Words are what white space divides; they are counted from 0, as in the Pharaoh format.

Letters: T target positions and their end, S source positions and their end, I words of the source, J words of the
translation, each with one more column for what is no word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.inference.text.spelling import as_spelt, spelling

Links = tuple[tuple[int, int], ...]
"""(word of the source, word of the translation), in the order of the translation."""


def align_words(attention_TS: Tensor, source_words: Sequence[int | None], target_words: Sequence[int | None]) -> Links:
    """Link each word of the translation to the word of the source that it attended to most.

    The attention of a word to another is the sum over the subwords of the source word, and the mean over those
    of the translation's word. A word that attended more to what is no word (the end of the source) than to any
    word has no link; of equals the first is taken. A source word can have any number of links.

    Args:
        attention_TS: what each subword of the translation attended to when it was chosen; rows sum to 1.
        source_words: word of each source subword, as :func:`words_of_subwords` gives them.
        target_words: of each target subword.

    Raises:
        ValueError: the attention has another shape: a row and a column more than there are subwords.
    """
    expected = (len(target_words) + 1, len(source_words) + 1)
    if attention_TS.shape != expected:
        raise ValueError(f"attention has shape {tuple(attention_TS.shape)}, but the subwords ask for {expected}")
    sums_TI = attention_TS.double().numpy() @ _membership([*source_words, None])
    memberships_TJ = _membership([*target_words, None])[:, :-1]
    means_JI = (memberships_TJ.T @ sums_TI) / np.maximum(memberships_TJ.sum(axis=0), 1.0)[:, None]
    links = []
    for target, weights_I in enumerate(means_JI):
        *of_words, of_nothing = weights_I
        if of_words and max(of_words) >= of_nothing and max(of_words) > 0:
            links.append((int(np.argmax(of_words)), target))
    return tuple(links)


def _membership(words: Sequence[int | None]) -> np.ndarray:
    """Return 0 and 1 by subword and word; what belongs to no word is in the last column."""
    num_words = max((word for word in words if word is not None), default=-1) + 1
    columns = [num_words if word is None else word for word in words]
    return np.eye(num_words + 1)[columns]


def words_of_subwords(ids: Sequence[int], pieces: Sequence[str]) -> list[int | None]:
    """Return which word of the normalised text each subword belongs to, or None.

    A subword that holds white space belongs to the word after it. Bytes of byte fallback are put together
    first, for they can spell white space too. What normalising removes altogether is no word and not counted.

    Args:
        ids: subwords without special symbols, unless the text has unknown characters.
        pieces: every subword, by id.
    """
    spelt = [spelling(piece_id, pieces) for piece_id in ids]
    owners = [place for place, content in enumerate(spelt) for _ in content]
    words: list[int | None] = [None] * len(ids)
    num_words = 0
    word, members = "", set[int]()
    offset = 0
    # Bytes that are not UTF-8 become one character each, so that every character knows its bytes.
    for character in [*b"".join(spelt).decode("utf-8", errors="surrogateescape"), " "]:
        num_bytes = len(character.encode("utf-8", errors="surrogateescape"))
        if character.isspace() and word:
            if normalise_line(word):
                for member in members:
                    if words[member] is None:
                        words[member] = num_words
                num_words += 1
            word, members = "", set()
        if not character.isspace():
            word += character
        members.update(owners[offset : offset + num_bytes])
        offset += num_bytes
    return words


def word_numbers(text: str) -> list[int]:
    """Return the number, in a line as it was given, of each word that its normal form has for the model.

    A word with SentencePiece's sign for a space in it is several for the model, or none.
    """
    return [
        number for number, word in enumerate(text.split()) for part in as_spelt(word).split() if normalise_line(part)
    ]


def pharaoh(links: Links) -> str:
    """Return the links as the Pharaoh format writes them: ``0-0 2-1``."""
    return " ".join(f"{source}-{target}" for source, target in links)
