"""Robustness: how much worse translations of perturbed test sets are than those of the clean one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from mtmoe.config.settings import Data
from mtmoe.data.perturbations.insertion import removed
from mtmoe.data.repetition import has_loop
from mtmoe.evaluation.perturbed_tests import PerturbedTest, lines_of_test, perturbed_test
from mtmoe.evaluation.quality import Quality, measure_quality
from mtmoe.languages import Tokeniser
from mtmoe.system.json_files import JsonRecord

Translate = Callable[[str, Sequence[str]], Sequence[str]]
"""Translates lines; the first argument is what a message calls them."""

CLEAN = "clean"


class PerturbedQuality(JsonRecord):
    """Scores of the translations of one kind of perturbed text."""

    kind: str
    """``clean`` is the test set as it is; it stands there twice if some kinds are measured without regard to case."""
    bleu: float
    """With an item in each line: of the rest, without the item."""
    bleu_change: float
    """Against the clean text, with the same regard to case; 0 for itself."""
    bleu_signature: str
    chrf: float
    chrf_change: float
    chrf_signature: str
    num_sentences: Annotated[int, Field(ge=1)]
    num_loops: Annotated[int, Field(ge=0)]
    """Translations that loop, though neither source nor reference does (:mod:`mtmoe.data.repetition`)."""
    kept_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of inserted items, those that stand in the translation as they are, and as often as in the source; None: nothing
    was inserted."""


class Robustness(JsonRecord):
    """All kinds on one test set."""

    seed: int
    """Of what is drawn: places, items and typos."""
    kinds: tuple[PerturbedQuality, ...]


def measure_robustness(
    kinds: Sequence[str],
    source: Sequence[str],
    references: Sequence[Sequence[str]],
    data: Data,
    translate: Translate,
    *,
    tokeniser: Tokeniser,
    seed: int,
) -> Robustness:
    """Translate a test set clean and perturbed, and measure each.

    Capitals are compared with references in capitals; Title Case and small letters without regard to case; a line with
    an item in it, after the item was taken out of the translation, with the reference as it is.

    Args:
        kinds: names of :mod:`mtmoe.evaluation.perturbed_tests`.
        data: of the recipe; tells the languages.

    Raises:
        UserError: there is no such kind, or the lines cannot be measured.
    """
    lines = lines_of_test(source, references, data)
    tests = [perturbed_test(kind, lines, seed) for kind in kinds]
    clean = perturbed_test(CLEAN, lines, seed)
    clean_translations = translate(CLEAN, clean.source)
    found: list[PerturbedQuality] = []
    of_clean: dict[bool, Quality] = {}
    for ignores_case in sorted({False, *(test.ignores_case for test in tests)}):
        same = clean._replace(ignores_case=ignores_case)
        of_clean[ignores_case] = _quality(same, clean_translations, tokeniser)
        found.append(_measured(same, clean_translations, of_clean[ignores_case], of_clean[ignores_case]))
    for test in tests:
        translations = translate(test.kind, test.source)
        quality = _quality(test, translations, tokeniser)
        found.append(_measured(test, translations, quality, of_clean[test.ignores_case]))
    return Robustness(seed=seed, kinds=tuple(found))


def _quality(test: PerturbedTest, translations: Sequence[str], tokeniser: Tokeniser) -> Quality:
    plain = [
        removed(text, line.item) if line.item else text for text, line in zip(translations, test.lines, strict=True)
    ]
    return measure_quality(plain, test.references, name=test.kind, tokeniser=tokeniser, ignores_case=test.ignores_case)


def _measured(test: PerturbedTest, translations: Sequence[str], quality: Quality, clean: Quality) -> PerturbedQuality:
    pairs = list(zip(translations, test.lines, strict=True))
    kept = [text.count(line.item) == line.source.count(line.item) for text, line in pairs if line.item]
    return PerturbedQuality(
        kind=test.kind,
        bleu=quality.bleu,
        bleu_change=quality.bleu - clean.bleu,
        bleu_signature=quality.bleu_signature,
        chrf=quality.chrf,
        chrf_change=quality.chrf - clean.chrf,
        chrf_signature=quality.chrf_signature,
        num_sentences=quality.num_sentences,
        num_loops=sum(has_loop(text, line.source, *line.references) for text, line in pairs),
        kept_share=sum(kept) / len(kept) if kept else None,
    )
