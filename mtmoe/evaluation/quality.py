"""Quality of translations of a corpus: sacreBLEU and chrF2 on detokenised text, never without their signatures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from mtmoe.errors import UserError
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
ANOTHER_TOKENISER = "--set training.validation.bleu_tokeniser=char"
"""How a training takes another one, for :func:`check_tokeniser`."""
_DIVIDES_AT_SPACES = ("13a", "intl")
_LINES_LOOKED_AT = 1000


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
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    name: str = "the translation",
    tokeniser: Tokeniser = "13a",
    num_samples: int = 0,
) -> Quality:
    """Score detokenised, cased text, which sacreBLEU tokenises.

    Args:
        hypotheses: a translation of each sentence.
        references: one or more reference translations of all sentences.
        name: what a message calls the hypotheses, such as their file.
        tokeniser: for BLEU; that of a language is :func:`mtmoe.languages.tokeniser_of`.
        num_samples: resampled test sets for the 95 % intervals; 0 for none. The scores do not depend on it.

    Raises:
        UserError: there are no lines, or not equally many; both counts are named. A tokeniser is not installed.
    """
    _check_line_counts({name: hypotheses}, references)
    check_tokeniser(tokeniser)
    bleu, chrf = _FloatBleu(tokenize=tokeniser), _FloatChrf()
    signed: dict[str, Any] = {}
    for metric_name, metric in (("bleu", bleu), ("chrf", chrf)):
        score = metric.corpus_score(hypotheses, references, n_bootstrap=max(num_samples, 1))
        # The score is that of the text: how it was resampled should not make its signature another one.
        metric.n_bootstrap = metric.seed = None
        signed[metric_name], signed[f"{metric_name}_signature"] = score.score, str(metric.get_signature())
        signed[f"{metric_name}_interval"] = float(score._ci) if num_samples > 1 else None
    warnings = (
        *_marks_left(name, hypotheses, references),
        *_tokenised(name, hypotheses, references),
        *_without_spaces(references, tokeniser),
    )
    return Quality(num_sentences=len(hypotheses), warnings=warnings, **signed)


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
    _check_line_counts(systems, references)
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
            for warnings in (_marks_left(name, lines, references), _tokenised(name, lines, references))
            for warning in warnings
        )
        + _without_spaces(references, tokeniser),
    )


def comparable_signature(signature: str) -> str:
    """Return a signature without what says only how often, and from which seed, the test set was resampled."""
    return "|".join(part for part in signature.split("|") if part.partition(":")[0] not in ("bs", "ar", "seed"))


def load_comet(model_name: str) -> Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], float]:
    """Return COMET, if it is installed: from source, translation and references to a score of the whole.

    Of several references each is taken by itself, and the mean over them is the score.

    Args:
        model_name: such as ``Unbabel/wmt22-comet-da``, or the path of a checkpoint; it is fetched if need be.

    Raises:
        UserError: the package unbabel-comet is not installed, or there is no such model.
    """
    try:
        import comet
        import torch
    except ImportError as error:
        raise UserError(
            f"COMET cannot be imported: {error}", fix="it is a package of its own: pip install unbabel-comet"
        ) from None
    try:
        path = model_name if Path(model_name).is_file() else comet.download_model(model_name)
        model = comet.load_from_checkpoint(path)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"the COMET model {model_name} cannot be loaded: {error}",
            fix="give a name such as Unbabel/wmt22-comet-da, or the path of a checkpoint",
        ) from None

    def score(source: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        scores = []
        for reference in references:
            rows = zip(source, hypotheses, reference, strict=True)
            data = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in rows]
            scores.append(float(model.predict(data, gpus=int(torch.cuda.is_available())).system_score))
        return sum(scores) / len(scores)

    return score


def check_tokeniser(tokeniser: Tokeniser, *, another: str = "") -> None:
    """Find out whether a tokeniser is installed, with its dictionary or model; nothing is fetched.

    Args:
        another: how another one is chosen, for the message, such as ``--tokeniser char``.

    Raises:
        UserError: it is not.
    """
    or_another = f"; or choose another tokeniser: {another}" if another else ""
    if (found := SPM_MODELS.get(tokeniser)) is not None:
        model = Path(SACREBLEU_DIR) / "models" / Path(found["url"]).name
        if not model.is_file():
            raise UserError(
                f"sacreBLEU's tokeniser {tokeniser} needs a model that is not there: {model}",
                fix=f"curl --location --create-dirs --output {shlex.quote(str(model))} {found['url']}{or_another}",
            )
    try:
        BLEU(tokenize=tokeniser)
    except (ImportError, RuntimeError):
        raise UserError(
            f"sacreBLEU's tokeniser {tokeniser} is not installed",
            fix=f"pip install 'sacrebleu[{tokeniser.partition('-')[0]}]'{or_another}",
        ) from None
    except Exception as error:  # a dictionary or a model that is damaged or of another kind
        raise UserError(
            f"sacreBLEU's tokeniser {tokeniser} cannot be used: {' '.join(str(error).split())}",
            fix=f"install it again{or_another}",
        ) from None


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


def _tokenised(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return a warning if many lines have white space before a full stop or comma, and the references have not."""
    loose = [number for number, line in enumerate(hypotheses, start=1) if _LOOSE_MARK.search(line)]
    num_in_references = sum(bool(_LOOSE_MARK.search(line)) for line in references[0])
    if len(loose) <= max(_FEWEST_LOOSE_MARKS * len(hypotheses), 2 * num_in_references):
        return ()
    return (
        f"{len(loose)} lines of {name} have white space before a full stop or comma, as if they were tokenised "
        f"(first: line {loose[0]}); scores are comparable on detokenised text only",
    )


def _without_spaces(references: Sequence[Sequence[str]], tokeniser: Tokeniser) -> tuple[str, ...]:
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
