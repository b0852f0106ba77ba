"""Significance of differences between systems: paired bootstrap resampling (Koehn 2004)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from mtmoe.errors import UserError
from mtmoe.evaluation.bleu_tokenisers import check_tokeniser
from mtmoe.evaluation.detokenised_text import warn_of_marks, warn_of_missing_spaces, warn_of_tokens
from mtmoe.evaluation.quality import check_line_counts
from mtmoe.languages import Tokeniser


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


def compare(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    num_samples: int = 1000,
    tokeniser: Tokeniser = "13a",
) -> Comparison:
    """Test whether systems differ from the first one by more than chance (paired bootstrap, Koehn 2004).

    Args:
        systems: name and translations of at least two systems.
        references: as for :func:`measure_quality`.
        num_samples: resampled test sets. Their seed is in the signatures.
        tokeniser: as for :func:`measure_quality`.

    Raises:
        UserError: fewer than two systems, or other line counts; both counts are named.
    """
    if len(systems) < 2:
        raise UserError(f"a comparison needs at least 2 systems, found {len(systems)}", fix="name another run")
    check_line_counts(systems, references)
    check_tokeniser(tokeniser)
    metrics = {"bleu": BLEU(tokenize=tokeniser, references=references), "chrf": CHRF(references=references)}
    test = PairedTest(list(systems.items()), metrics, references=None, test_type="bs", n_samples=num_samples)
    signatures, results = test()
    bleu_key, chrf_key = signatures  # in the order of the metrics
    compared = zip(systems, _estimates(results[bleu_key]), _estimates(results[chrf_key]), strict=True)
    return Comparison(
        systems=tuple(ComparedSystem(*row) for row in compared),
        bleu_signature=str(signatures[bleu_key]),
        chrf_signature=str(signatures[chrf_key]),
        num_sentences=len(references[0]),
        warnings=tuple(
            warning
            for name, lines in systems.items()
            for warnings in (warn_of_marks(name, lines, references), warn_of_tokens(name, lines, references))
            for warning in warnings
        )
        + warn_of_missing_spaces(references, tokeniser),
    )


def _estimates(results: Sequence[Any]) -> Iterator[Estimate]:
    for result in results:
        p_value = None if result.p_value is None else float(result.p_value)
        if p_value is not None and result.score == results[0].score:
            p_value = 1.0  # sacreBLEU gives 1 / (samples + 1), as if no difference at all were significant
        yield Estimate(float(result.score), float(result.mean), float(result.ci), p_value)
