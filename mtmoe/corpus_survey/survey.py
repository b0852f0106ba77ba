"""A survey of parallel text: how much there is, how long its sentences are, and what is wrong with it.

Text streams by in bounded memory. Pairs are counted to the end. Faults are counted among the first million pairs, and
languages in a sample of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.config.settings import Cleaning, Data
from mtmoe.corpus_survey.corpus_languages import decide_languages
from mtmoe.corpus_survey.corpus_location import Corpus, locate
from mtmoe.corpus_survey.language_identification import is_in_other_language
from mtmoe.corpus_survey.shifted_lines import ShiftedPart, ShiftFinder
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.cleaning.rules import DROPS, Cleaner
from mtmoe.data.raw.sentence_pairs import OnBadLine, Pair, ignore_bad_line
from mtmoe.data.raw.sources import read_pairs
from mtmoe.data.subwords.sentencepiece_model import sample_sentences
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent

LEAST_PAIRS = 100
"""Pairs that must be left to train on and to hold out: from fewer nothing is learned, and nothing can be measured."""
MOST_EXAMINED = 1_000_000
SAMPLE_PAIRS = 10_000
_PAIRS_FOR_LANGUAGE = 2000
_PAIRS_PER_CALL = 10_000
_SEED = 1
_USUAL_CHARACTERS = 0.9995
_SHORTEST_CODE = 2
_UNKNOWN_LANGUAGES = LanguagePair("qaa", "qab")  # codes that are for private use


class Lengths(NamedTuple):
    """Characters of a sentence of one side, in the sample: the mean, the 99.9th percentile and the longest."""

    mean: float
    most: int
    longest: int


class OtherLanguage(NamedTuple):
    """Sentences of one side that are in another language than the side's, among those long enough to tell."""

    num_sentences: int
    num_told: int

    @property
    def share(self) -> float:
        """Return their share; 0 where no sentence was long enough."""
        return self.num_sentences / self.num_told if self.num_told else 0.0


class Alphabet(NamedTuple):
    """Different characters of both sides in the sample: of all text, and of 99.95 % of it."""

    size: int
    size_of_usual: int


class Survey(NamedTuple):
    """What was found.

    num_pairs: pairs, lines or units of the text, usable or not.
    counts: pairs by what became of them, of the num_examined first ones: ``kept``, or the first cleaning rule that they
        break; and ``control_characters``, ``line_separators``, ``white_space``, ``unicode_nfc`` of those kept.
    sample: pairs that are fit to train on, in normal form.
    shifted: parts whose sources fit the neighbours' targets better than their own.
    length_ratio: 99.5th percentile of the ratio of a pair's lengths, as `data.cleaning.max_length_ratio` takes it.
    """

    corpus: Corpus
    languages: LanguagePair
    num_pairs: int
    num_examined: int
    counts: dict[str, int]
    sample: list[Pair]
    lengths: tuple[Lengths, Lengths]
    length_ratio: float
    alphabet: Alphabet
    other_language: tuple[OtherLanguage, OtherLanguage]
    shifted: list[ShiftedPart]

    @property
    def num_usable(self) -> int:
        """Return the pairs that are fit to train on; estimated where not all were examined."""
        return round(self.counts["kept"] * self.num_pairs / self.num_examined)


def take_survey(paths: Sequence[Path], asked: LanguagePair, progress: Progress = silent) -> Survey:
    """Look at the text in one file or directory, or in two aligned files.

    Raises:
        UserError: it cannot be read, is not in two languages, or too little of it can be used.
    """
    where = " and ".join(map(str, paths))
    corpus = locate(paths, asked)
    languages = decide_languages(corpus, first_pairs(corpus), asked, where)
    cleaner = Cleaner(Cleaning(on_invalid_utf8="skip"))
    shifts = ShiftFinder()
    counted = _Counted(corpus_pairs(corpus, languages, cleaner.count_bad_line), progress)
    examined = shifts.watched(islice(counted, MOST_EXAMINED))
    joined = sample_sentences(("\t".join(pair) for pair in cleaner.clean(examined)), SAMPLE_PAIRS, _SEED)
    counts, num_examined = dict(cleaner.report), cleaner.report["read"]
    num_bad = num_examined - counted.number
    for _ in counted:
        pass
    progress("read", counted.number, counted.number, "pairs")
    sample = [Pair(*line.split("\t")) for line in joined]
    if len(sample) < LEAST_PAIRS:
        raise _too_few(where, counts)
    return Survey(
        corpus, languages, counted.number + num_bad, num_examined, counts, sample,
        (_lengths([pair.source for pair in sample]), _lengths([pair.target for pair in sample])),
        _length_ratio(sample), _alphabet(sample),
        (_other_language(sample, 0, languages.source), _other_language(sample, 1, languages.target)), shifts.parts,
    )  # fmt: skip


def recipe_data(corpus: Corpus, languages: LanguagePair) -> dict[str, Any]:
    """Return the table `data` of a recipe that reads this corpus and leaves out what is no text."""
    own_sets = {part: [source] for part, source in corpus.own_sets.items()}
    return {
        "source_language": languages.source,
        "target_language": languages.target,
        "train": [{"name": corpus.name, **corpus.source}],
        "valid": "split",
        "test": "split",
        "cleaning": {"on_invalid_utf8": "skip"},
        **own_sets,
    }


class _Counted:
    """An iterator over pairs that counts them."""

    def __init__(self, pairs: Iterator[Pair], progress: Progress) -> None:
        self.number = 0
        self._pairs, self._progress = pairs, progress

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        pair = next(self._pairs)
        self.number += 1
        if self.number % _PAIRS_PER_CALL == 0:
            self._progress("read", self.number, None, "pairs")
        return pair


def corpus_pairs(corpus: Corpus, languages: LanguagePair, on_bad_line: OnBadLine = ignore_bad_line) -> Iterator[Pair]:
    """Stream the pairs as a recipe would; nothing is fetched.

    Raises:
        UserError: a language has a code that no recipe takes.
    """
    for code in languages:
        if len(code) < _SHORTEST_CODE:
            raise UserError(f"{code!r} is no language code", fix="give codes such as en with --source and --target")
    data = Data.model_validate_json(json.dumps(recipe_data(corpus, languages)))
    return read_pairs(data.train[0], data, Path(), on_bad_line)


def first_pairs(corpus: Corpus) -> list[Pair]:
    """Read the first pairs, by which the languages are identified.

    A translation memory needs the codes in it; for all others any two will do.
    """
    names = corpus.named if corpus.format == "tmx" else _UNKNOWN_LANGUAGES
    return list(islice(corpus_pairs(corpus, names), _PAIRS_FOR_LANGUAGE))


def _too_few(where: str, counts: dict[str, int]) -> UserError:
    kept, read = counts["kept"], counts["read"]
    lost = ", ".join(f"{counts[rule]:,} {rule.replace('_', ' ')}" for rule in DROPS if counts[rule])
    if counts["duplicate"] and kept == 1:
        return UserError(f"{where}: all {read:,} pairs are the same one", fix="name a file of different sentences")
    why = f"{kept:,} usable pairs of {read:,} ({lost})" if lost else f"{kept:,} pairs"
    return UserError(
        f"{where}: has {why}; a model needs some thousands, and at least {LEAST_PAIRS}",
        fix="name a file with more text",
    )


def _lengths(sentences: Sequence[str]) -> Lengths:
    lengths = sorted(map(len, sentences))
    return Lengths(sum(lengths) / len(lengths), _percentile(lengths, 0.999), lengths[-1])


def _percentile(ordered: Sequence[Any], share: float) -> Any:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _length_ratio(sample: Sequence[Pair]) -> float:
    ratios = [(max(map(len, pair)) + 10) / (min(map(len, pair)) + 10) for pair in sample]
    return float(_percentile(sorted(ratios), 0.995))


def _alphabet(sample: Sequence[Pair]) -> Alphabet:
    counts = Counter(chain.from_iterable(side for pair in sample for side in pair))
    wanted, num_usual = _USUAL_CHARACTERS * counts.total(), 0
    for number, (_, count) in enumerate(counts.most_common(), start=1):
        num_usual += count
        if num_usual >= wanted:
            return Alphabet(len(counts), number)
    return Alphabet(len(counts), len(counts))


def _other_language(sample: Sequence[Pair], side: int, code: str) -> OtherLanguage:
    told = [is_in_other_language(pair[side], code) for pair in sample[:_PAIRS_FOR_LANGUAGE]]
    return OtherLanguage(told.count(True), len(told) - told.count(None))
