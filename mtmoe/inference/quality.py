"""Corpus quality of translations: sacreBLEU and chrF2 on detokenised text, never without their signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from mtmoe.errors import UserError

_MARKS = {
    "▁": "SentencePiece's mark of a word's beginning (U+2581)",
    "@@ ": "BPE's mark of a divided word",
    "@-@": "the Moses tokeniser's mark of a hyphen",
    "&apos;": "an apostrophe as the Moses tokeniser escapes it",
    "&quot;": "a quotation mark as the Moses tokeniser escapes it",
}


class Quality(NamedTuple):
    """Scores of a test set, 0 to 100, each with what it takes to reproduce it."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    num_sentences: int
    warnings: tuple[str, ...] = ()
    """Why the scores may not be what they seem."""


class Estimate(NamedTuple):
    """A score and its distribution over resampled test sets."""

    score: float
    mean: float
    interval: float
    """Half of the 95 % interval around the mean."""
    p_value: float | None
    """Probability of so large a difference to the first system by chance; None for the first system."""


class ComparedSystem(NamedTuple):
    """One of the systems of a comparison."""

    name: str
    bleu: Estimate
    chrf: Estimate


class Comparison(NamedTuple):
    """Systems against the first of them, by paired bootstrap resampling."""

    systems: tuple[ComparedSystem, ...]
    bleu_signature: str
    chrf_signature: str
    num_sentences: int
    warnings: tuple[str, ...] = ()


def measure_quality(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, name: str = "the translation"
) -> Quality:
    """Score detokenised, cased text; sacreBLEU tokenises it (13a).

    Args:
        hypotheses: a translation of each sentence.
        references: one or more reference translations of all sentences.
        name: what a message calls the hypotheses, such as their file.

    Raises:
        UserError: there are no lines, or not equally many; both counts are named.
    """
    _check_line_counts({name: hypotheses}, references)
    bleu, chrf = BLEU(), CHRF()
    return Quality(
        bleu=bleu.corpus_score(hypotheses, references).score,
        bleu_signature=str(bleu.get_signature()),
        chrf=chrf.corpus_score(hypotheses, references).score,
        chrf_signature=str(chrf.get_signature()),
        num_sentences=len(hypotheses),
        warnings=_marks_left(name, hypotheses, references),
    )


def compare(
    systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], *, num_samples: int = 1000
) -> Comparison:
    """Test whether systems differ from the first one by more than chance (paired bootstrap, Koehn 2004).

    Args:
        systems: name and translations of at least two systems.
        references: as for :func:`measure_quality`.
        num_samples: resampled test sets. Their seed is in the signatures.

    Raises:
        UserError: fewer than two systems, or other line counts; both counts are named.
    """
    if len(systems) < 2:
        raise UserError(f"a comparison needs at least 2 systems, found {len(systems)}", fix="name another run")
    _check_line_counts(systems, references)
    metrics = {"bleu": BLEU(references=references), "chrf": CHRF(references=references)}
    test = PairedTest(list(systems.items()), metrics, references=None, test_type="bs", n_samples=num_samples)
    signatures, results = test()
    bleu_key, chrf_key = signatures  # in the order of the metrics
    compared = zip(systems, _estimates(results[bleu_key]), _estimates(results[chrf_key]), strict=True)
    return Comparison(
        systems=tuple(ComparedSystem(*row) for row in compared),
        bleu_signature=str(signatures[bleu_key]),
        chrf_signature=str(signatures[chrf_key]),
        num_sentences=len(references[0]),
        warnings=tuple(w for name, lines in systems.items() for w in _marks_left(name, lines, references)),
    )


def _estimates(results: Sequence[Any]) -> Iterator[Estimate]:
    for result in results:
        p_value = None if result.p_value is None else float(result.p_value)
        if p_value is not None and result.score == results[0].score:
            p_value = 1.0  # sacreBLEU gives 1 / (samples + 1), as if no difference at all were significant
        yield Estimate(float(result.score), float(result.mean), float(result.ci), p_value)


def _check_line_counts(systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]]) -> None:
    if not references or not references[0]:
        raise UserError("there are no reference lines to compare with", fix="give the reference translation")
    for number, reference in enumerate(references[1:], start=2):
        if len(reference) != len(references[0]):
            raise UserError(
                f"reference {number} has {len(reference)} lines, but reference 1 has {len(references[0])}",
                fix="line n of each file must belong to sentence n",
            )
    for name, hypotheses in systems.items():
        if len(hypotheses) != len(references[0]):
            raise UserError(
                f"{name} has {len(hypotheses)} lines, but the reference has {len(references[0])}",
                fix="line n of each file must belong to sentence n; a blank line counts as a line",
            )


def _marks_left(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Warnings of marks that detokenised text does not have; those that the references have too are theirs."""
    warnings = []
    for mark, meaning in _MARKS.items():
        marked = [number for number, line in enumerate(hypotheses, start=1) if mark in f"{line} "]
        if marked and not any(mark in f"{line} " for reference in references for line in reference):
            warnings.append(
                f"{len(marked)} lines of {name} have {mark.strip()!r}, {meaning} (first: line {marked[0]}); "
                "scores are comparable on detokenised text only"
            )
    return tuple(warnings)
