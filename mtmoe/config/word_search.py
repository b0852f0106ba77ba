"""Word search in lists of recipes and settings: which of them have all words, and what a misspelt word is near to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mtmoe.config.nearest_names import did_you_mean
from mtmoe.errors import UserError


def names_with_words(texts: Mapping[str, str], words: Sequence[str], kind: str, command: str) -> list[str]:
    """Return the names whose text has all of the words, in their order; capital letters and parts of words count alike.

    Args:
        texts: what is searched, by name.
        words: what to find; without any, all names are returned.
        kind: what a name is of, for messages, such as ``recipe``.
        command: the command that lists all names.

    Raises:
        UserError: no text has a word, or none has all of them; it tells the nearest word that there is.
    """
    folded = {name: text.casefold() for name, text in texts.items()}
    found = [name for name, text in folded.items() if all(word.casefold() in text for word in words)]
    if found or not words:
        return found
    for word in words:
        if not any(word.casefold() in text for text in folded.values()):
            in_names, in_texts = (sorted(set(re.findall(r"[\w-]+", " ".join(of)))) for of in (folded, folded.values()))
            guess = did_you_mean(word.casefold(), in_names) or did_you_mean(word.casefold(), in_texts)
            raise UserError(f"no {kind} has the word {word!r}{guess}", fix=f"`{command}` lists all of them")
    raise UserError(f"no {kind} has all of the words {', '.join(map(repr, words))}", fix="leave a word out")
