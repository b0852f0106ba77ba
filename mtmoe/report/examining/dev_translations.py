"""How well a run translates sentences of its dev set: by length and rare words, with its best and worst lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtmoe.evaluation.quality import Quality, measure_quality
from mtmoe.evaluation.sentence_quality import sentence_chrf
from mtmoe.inference.scoring.calibration import Reliability, reliability
from mtmoe.inference.text.word_alignment import Links
from mtmoe.inference.translation import Translation
from mtmoe.languages import Tokeniser
from mtmoe.report.examining.rare_words import Recall, band_names, rarest_band, recall_by_band

_NUM_EXAMPLES = 8
_BOUNDS = (5, 10, 20, 40)  # words of a source, the last group is above
_FEWEST = 5  # sentences, for a figure of a group
_NUM_ALIGNMENTS, _ALIGNED_WORDS = 3, (5, 16)
_UNRELATED_CHRF, _UNRELATED_WORDS = 10.0, 5


class Example(NamedTuple):
    """A sentence with its reference, its translation and the chrF2 of that, 0 to 100."""

    source: str
    reference: str
    translation: str
    chrf: float


class Group(NamedTuple):
    """Sentences that are alike, by length or by their rarest word."""

    name: str
    num_sentences: int
    bleu: float
    chrf: float


class Alignment(NamedTuple):
    """Words of a source and of its translation, and which of them belong together (by attention)."""

    source: tuple[str, ...]
    translation: tuple[str, ...]
    links: Links


class DevTranslations(NamedTuple):
    """What a run made of some sentences.

    groups: by length, in words of the source. by_rarest, recall: by how often words come in the training text; empty
    where that is not known. suspicions: how many translations look wrong, by kind. num_unrelated: sentences of at least
    5 words whose translation has hardly anything of the reference (chrF2 below 10), as what is made up has.
    confidence: whether translations are as often good as they are said to be; None without calibration.
    """

    quality: Quality
    groups: tuple[Group, ...]
    by_rarest: tuple[Group, ...]
    recall: tuple[Recall, ...]
    best: tuple[Example, ...]
    worst: tuple[Example, ...]
    suspicions: dict[str, int]
    num_unrelated: int
    alignments: tuple[Alignment, ...]
    confidence: Reliability | None
    mean_log_probability: float


def examine_translations(
    sources: Sequence[str],
    references: Sequence[str],
    translations: Sequence[Translation],
    tokeniser: Tokeniser,
    times: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
    good_chrf: float | None = None,
) -> DevTranslations:
    """Return what there is to say of translations of sentences.

    Args:
        tokeniser: of BLEU.
        times: how often words of the source and of the target come in the training text, in small letters.
        good_chrf: sentence chrF2 from which on a translation is good, for the confidence that translations tell.
    """
    texts = [translation.text for translation in translations]
    chrf = sentence_chrf()
    examples = [
        Example(source, reference, text, chrf(text, reference))
        for source, reference, text in zip(sources, references, texts, strict=True)
    ]
    # Of those that are all right or all wrong, longer ones tell more.
    ordered = sorted(examples, key=lambda example: (example.chrf, -len(example.source), example.source))
    best = sorted(examples, key=lambda example: (-example.chrf, -len(example.source), example.source))
    tokens = sum(translation.num_tokens for translation in translations)
    return DevTranslations(
        quality=measure_quality(texts, [list(references)], tokeniser=tokeniser),
        groups=tuple(_by_length(examples, tokeniser)),
        by_rarest=tuple(_by_rarest(examples, tokeniser, times[0])) if times else (),
        recall=tuple(recall_by_band(references, texts, times[1])) if times else (),
        best=tuple(best[:_NUM_EXAMPLES]),
        worst=tuple(ordered[:_NUM_EXAMPLES]),
        suspicions=dict(
            sorted(Counter(kind for translation in translations for kind in translation.suspicions).items())
        ),
        num_unrelated=sum(
            example.chrf < _UNRELATED_CHRF and len(example.reference.split()) >= _UNRELATED_WORDS
            for example in examples
        ),
        alignments=tuple(_alignments(sources, translations)),
        confidence=_confidence(examples, translations, good_chrf),
        mean_log_probability=sum(translation.log_probability for translation in translations) / max(tokens, 1),
    )


def _by_length(examples: Sequence[Example], tokeniser: Tokeniser) -> list[Group]:
    groups: dict[str, list[Example]] = {}
    for least, most in zip((1, *(bound + 1 for bound in _BOUNDS)), (*_BOUNDS, None), strict=True):
        name = f"{least} and more" if most is None else f"{least} to {most}"
        groups[name] = [
            example
            for example in examples
            if len(example.source.split()) >= least and (most is None or len(example.source.split()) <= most)
        ]
    return _measured(groups, tokeniser)


def _by_rarest(examples: Sequence[Example], tokeniser: Tokeniser, times: Mapping[str, int]) -> list[Group]:
    groups: dict[str, list[Example]] = {name: [] for name in band_names()}
    for example in examples:
        band = rarest_band(example.source, times)
        if band is not None:
            groups[band_names()[band]].append(example)
    return _measured(groups, tokeniser)


def _measured(groups: Mapping[str, Sequence[Example]], tokeniser: Tokeniser) -> list[Group]:
    """Return the quality of each group that is not too small."""
    found = []
    for name, members in groups.items():
        if len(members) >= _FEWEST:
            texts, references = [e.translation for e in members], [e.reference for e in members]
            quality = measure_quality(texts, [references], tokeniser=tokeniser)
            found.append(Group(name, len(members), quality.bleu, quality.chrf))
    return found


def _alignments(sources: Sequence[str], translations: Sequence[Translation]) -> list[Alignment]:
    """Return the alignments of the first sentences of medium length."""
    low, high = _ALIGNED_WORDS
    found = [
        Alignment(tuple(source.split()), tuple(translation.text.split()), translation.alignment)
        for source, translation in zip(sources, translations, strict=True)
        if low <= len(source.split()) <= high and translation.alignment
    ]
    return found[:_NUM_ALIGNMENTS]


def _confidence(
    examples: Sequence[Example], translations: Sequence[Translation], good_chrf: float | None
) -> Reliability | None:
    told = [
        (translation.confidence, example.chrf >= good_chrf)
        for example, translation in zip(examples, translations, strict=True)
        if good_chrf is not None and translation.confidence is not None
    ]
    return reliability([confidence for confidence, _ in told], [is_good for _, is_good in told]) if told else None
