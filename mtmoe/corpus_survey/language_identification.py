"""Which language a text is in, by py3langid: naive Bayes over byte n-grams, 139 languages, a model of 4.6 MB."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mtmoe.languages import has_spaces, normal_code

_SENTENCES_TOGETHER = 20
"""Sentences that are looked at as one text: one everyday sentence in twenty leaves its language unclear, no such group
did (docs/benchmarks/init.md)."""
_LEAST_CHARACTERS, _LEAST_CHARACTERS_WITHOUT_SPACES = 30, 10
"""Of a sentence that is looked at alone; shorter ones say too little."""
_SURE = 0.5
_EXCLUDED = 0.02
_LABELS = {"nb": "no", "fil": "tl"}
"""Languages that the identifier knows by another code than BCP 47's."""
_NO_LANGUAGE = "zxx"
_UNKNOWN = "und"


class Identified(NamedTuple):
    """Mean probability of each language of a text, the likeliest first."""

    probabilities: dict[str, float]

    @property
    def language(self) -> str:
        """Return the code of the likeliest language; ``und`` where none is likelier than all others together."""
        code = next(iter(self.probabilities), _UNKNOWN)
        return code if self.probabilities.get(code, 0.0) > _SURE and code != _NO_LANGUAGE else _UNKNOWN

    @property
    def is_known(self) -> bool:
        """Return whether a language was found."""
        return self.language != _UNKNOWN

    def excludes(self, code: str) -> bool:
        """Return whether the text is surely in another language than this one, which the identifier knows.

        Languages that are alike (Croatian and Bosnian) share the probability, and none excludes the other.
        """
        base = base_code(code)
        return self.is_known and base in identifiable_languages() and self.probabilities.get(base, 0.0) < _EXCLUDED


def base_code(code: str) -> str:
    """Return the language of a code without script and region: ``zh`` of ``zh-TW``, ``no`` of ``nb``."""
    base = normal_code(code).partition("-")[0]
    return _LABELS.get(base, base)


@functools.cache
def identifiable_languages() -> frozenset[str]:
    """Return the codes of the languages that can be told from each other."""
    return frozenset(map(base_code, _identifier().labels)) - {_NO_LANGUAGE}


def identify(sentences: Sequence[str]) -> Identified:
    """Identify the language of sentences that are taken to be of one, or of a mixture."""
    sums: Counter[str] = Counter()
    groups = list(_groups(sentence for sentence in sentences if any(map(str.isalpha, sentence))))
    for group in groups:
        for code, probability in _identifier().rank(group):
            sums[base_code(code)] += probability
    return Identified({code: total / len(groups) for code, total in sums.most_common()})


def is_in_other_language(sentence: str, code: str) -> bool | None:
    """Tell whether a sentence is in another language than that of ``code``; None where it is too short to tell."""
    least = _LEAST_CHARACTERS if has_spaces(code) else _LEAST_CHARACTERS_WITHOUT_SPACES
    if base_code(code) not in identifiable_languages() or sum(map(str.isalpha, sentence)) < least:
        return None
    ranked = _identifier().rank(sentence)
    best, probability = ranked[0]
    if probability <= _SURE or best == _NO_LANGUAGE:
        return False
    own = sum(float(share) for other, share in ranked if base_code(other) == base_code(code))
    return bool(own < _EXCLUDED)


def _groups(sentences: Iterable[str]) -> Iterator[str]:
    group: list[str] = []
    for sentence in sentences:
        group.append(sentence)
        if len(group) == _SENTENCES_TOGETHER:
            yield " ".join(group)
            group = []
    if group:
        yield " ".join(group)


@functools.cache
def _identifier() -> Any:
    """Return the identifier: its model takes seconds to unpack, and a tenth of a gigabyte."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
