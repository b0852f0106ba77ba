"""How well a run translates sentences of its dev set: by length, with its best and worst lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.evaluation.quality import Quality, measure_quality
from mtmoe.evaluation.sentence_quality import sentence_chrf
from mtmoe.inference.translation import Translation
from mtmoe.languages import Tokeniser

_NUM_EXAMPLES = 8
_BOUNDS = (5, 10, 20, 40)  # words of a source, the last group is above
_FEWEST = 5  # sentences, for a figure of a group


class Example(NamedTuple):
    """A sentence with its reference, its translation and the chrF2 of that, 0 to 100."""

    source: str
    reference: str
    translation: str
    chrf: float


class LengthGroup(NamedTuple):
    """Sentences of similar length, in words of the source."""

    name: str
    num_sentences: int
    bleu: float
    chrf: float


class DevTranslations(NamedTuple):
    """What a run made of some sentences. suspicions: how many translations look wrong, by kind."""

    quality: Quality
    groups: tuple[LengthGroup, ...]
    best: tuple[Example, ...]
    worst: tuple[Example, ...]
    suspicions: dict[str, int]
    mean_log_probability: float


def examine_translations(
    sources: Sequence[str], references: Sequence[str], translations: Sequence[Translation], tokeniser: Tokeniser
) -> DevTranslations:
    """Return what there is to say of translations of sentences.

    Args:
        tokeniser: of BLEU.
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
        measure_quality(texts, [list(references)], tokeniser=tokeniser),
        tuple(_by_length(examples, tokeniser)),
        tuple(best[:_NUM_EXAMPLES]),
        tuple(ordered[:_NUM_EXAMPLES]),
        dict(sorted(Counter(kind for translation in translations for kind in translation.suspicions).items())),
        sum(translation.log_probability for translation in translations) / max(tokens, 1),
    )


def _by_length(examples: Sequence[Example], tokeniser: Tokeniser) -> list[LengthGroup]:
    groups: dict[str, list[Example]] = {}
    for least, most in zip((1, *(bound + 1 for bound in _BOUNDS)), (*_BOUNDS, None), strict=True):
        name = f"{least} and more" if most is None else f"{least} to {most}"
        groups[name] = [
            example
            for example in examples
            if len(example.source.split()) >= least and (most is None or len(example.source.split()) <= most)
        ]
    found = []
    for name, members in groups.items():
        if len(members) >= _FEWEST:
            texts, references = [e.translation for e in members], [e.reference for e in members]
            quality = measure_quality(texts, [references], tokeniser=tokeniser)
            found.append(LengthGroup(name, len(members), quality.bleu, quality.chrf))
    return found
