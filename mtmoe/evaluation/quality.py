"""Quality of translations of a corpus: sacreBLEU and chrF2 on detokenised text, never without their signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from mtmoe.errors import UserError
from mtmoe.evaluation.bleu_tokenisers import check_tokeniser
from mtmoe.evaluation.detokenised_text import warn_of_marks, warn_of_missing_spaces, warn_of_tokens
from mtmoe.languages import Tokeniser


class Quality(NamedTuple):
    """Scores of a test set, 0 to 100, each with what it takes to reproduce it."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    num_sentences: int
    warnings: tuple[str, ...] = ()
    """Why the scores may not be what they seem."""
    bleu_interval: float | None = None
    """Half of the 95 % interval by bootstrap resampling; None if it was not asked for."""
    chrf_interval: float | None = None


def measure_quality(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    name: str = "the translation",
    tokeniser: Tokeniser = "13a",
    num_samples: int = 0,
    ignores_case: bool = False,
) -> Quality:
    """Score detokenised text, which sacreBLEU tokenises; cased, unless ``ignores_case`` lower-cases all of it.

    Args:
        hypotheses: a translation of each sentence.
        references: one or more reference translations of all sentences.
        name: what a message calls the hypotheses, such as their file.
        tokeniser: for BLEU; that of a language is :func:`mtmoe.languages.tokeniser_of`.
        num_samples: resampled test sets for the 95 % intervals; 0 for none. The scores do not depend on it.

    Raises:
        UserError: there are no lines, or not equally many; both counts are named. A tokeniser is not installed.
    """
    check_line_counts({name: hypotheses}, references)
    check_tokeniser(tokeniser)
    bleu, chrf = _FloatBleu(tokenize=tokeniser, lowercase=ignores_case), _FloatChrf(lowercase=ignores_case)
    signed: dict[str, Any] = {}
    for metric_name, metric in (("bleu", bleu), ("chrf", chrf)):
        score = metric.corpus_score(hypotheses, references, n_bootstrap=max(num_samples, 1))
        # The score is that of the text: how it was resampled should not make its signature another one.
        metric.n_bootstrap = metric.seed = None
        signed[metric_name], signed[f"{metric_name}_signature"] = score.score, str(metric.get_signature())
        signed[f"{metric_name}_interval"] = float(score._ci) if num_samples > 1 else None
    warnings = (
        *warn_of_marks(name, hypotheses, references),
        *warn_of_tokens(name, hypotheses, references),
        *warn_of_missing_spaces(references, tokeniser),
    )
    return Quality(num_sentences=len(hypotheses), warnings=warnings, **signed)


def comparable_signature(signature: str) -> str:
    """Return a signature without what says only how often, and from which seed, the test set was resampled."""
    return "|".join(part for part in signature.split("|") if part.partition(":")[0] not in ("bs", "ar", "seed"))


def check_line_counts(systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]]) -> None:
    """Raise UserError unless all have as many lines as the first reference, and there are some."""
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


class _FloatBleu(BLEU):
    """BLEU with scores of one type. sacreBLEU's are 0.0 or numpy numbers, which its own bootstrap cannot mix."""

    def _compute_score_from_stats(self, stats: Any) -> Any:
        """Return the score of summed statistics."""
        return _as_float(super()._compute_score_from_stats(stats))


class _FloatChrf(CHRF):
    """chrF with scores of one type."""

    def _compute_score_from_stats(self, stats: Any) -> Any:
        """Return the score of summed statistics."""
        return _as_float(super()._compute_score_from_stats(stats))


def _as_float(score: Any) -> Any:
    score.score = float(score.score)
    return score
