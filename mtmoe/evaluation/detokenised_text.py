"""Detokenised text: signs that text is not, and that scores of it are not comparable."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mtmoe.languages import Tokeniser, is_written_without_spaces

_MARKS = {
    "▁": "SentencePiece's mark of a word's beginning (U+2581)",
    "@@ ": "BPE's mark of a divided word",
    "@-@": "the Moses tokeniser's mark of a hyphen",
    "&apos;": "an apostrophe as the Moses tokeniser escapes it",
    "&quot;": "a quotation mark as the Moses tokeniser escapes it",
}
# A mark that detokenised text writes to the word before it.
_LOOSE_MARK = re.compile(r"\S [.,](?= |$)")
_FEWEST_LOOSE_MARKS = 0.2
_DIVIDES_AT_SPACES = ("13a", "intl")
_LINES_LOOKED_AT = 1000


def warn_of_marks(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return warnings of marks that detokenised text does not have, unless the references have them, too."""
    warnings = []
    for mark, meaning in _MARKS.items():
        marked = [number for number, line in enumerate(hypotheses, start=1) if mark in f"{line} "]
        if marked and not any(mark in f"{line} " for reference in references for line in reference):
            warnings.append(
                f"{len(marked)} lines of {name} have {mark.strip()!r}, {meaning} (first: line {marked[0]}); "
                "scores are comparable on detokenised text only"
            )
    return tuple(warnings)


def warn_of_tokens(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return a warning if many lines have white space before a full stop or comma, and the references have not."""
    loose = [number for number, line in enumerate(hypotheses, start=1) if _LOOSE_MARK.search(line)]
    num_in_references = sum(bool(_LOOSE_MARK.search(line)) for line in references[0])
    if len(loose) <= max(_FEWEST_LOOSE_MARKS * len(hypotheses), 2 * num_in_references):
        return ()
    return (
        f"{len(loose)} lines of {name} have white space before a full stop or comma, as if they were tokenised "
        f"(first: line {loose[0]}); scores are comparable on detokenised text only",
    )


def warn_of_missing_spaces(references: Sequence[Sequence[str]], tokeniser: Tokeniser) -> tuple[str, ...]:
    """Return a warning if whole sentences are single words to the tokeniser."""
    if tokeniser not in _DIVIDES_AT_SPACES:
        return ()
    letters = [character for line in references[0][:_LINES_LOOKED_AT] for character in line if character.isalpha()]
    if 2 * sum(map(is_written_without_spaces, letters)) <= len(letters):
        return ()
    return (
        f"the references have no spaces between words, and the tokeniser {tokeniser} takes a sentence for one word, so "
        "BLEU says little; name the language with -l, such as -l en-zh, or a tokeniser with --tokeniser",
    )
