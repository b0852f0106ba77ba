"""Translation: what a translator gives for one line."""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.inference.constraints.line_constraints import TermReport
from mtmoe.inference.scoring.rescoring import ScorePart
from mtmoe.inference.text.suspicion import Suspicion
from mtmoe.inference.text.typing_errors import Correction
from mtmoe.inference.text.word_alignment import Links


class Translation(NamedTuple):
    """The translation of one line."""

    text: str
    score: float = 0.0
    """What ranks. GNMT's score of the subwords that the search found, which may spell the text in another way than it
    is encoded; where other models take part, that of `scoring/rescoring.py`, of the text as it is encoded.
    What soft terms added is in both. Of a line that was split, the sum over its parts."""
    log_probability: float = 0.0
    """log P(text | source), natural logarithm: what ``mtmoe score`` gives for this text. Of a line that was split,
    the sum over its parts. With ``decoding.shortlist`` it is normalised over the words of the shortlist and those of
    the text (and of soft terms), so it is higher; ``mtmoe score`` always takes the whole vocabulary."""
    num_tokens: int = 0
    """Subwords of the text with the end of sentence (of each part); 0 if nothing was translated."""
    tokens: tuple[str, ...] = ()
    """Those subwords."""
    token_log_probabilities: tuple[float, ...] = ()
    """Of each token, given those before it."""
    alignment: Links = ()
    """(word of the source, word of the translation), counted from 0, by attention; if it was asked for."""
    warnings: tuple[str, ...] = ()
    """What the user should know, such as a source that was truncated."""
    alternatives: tuple[Translation, ...] = ()
    """Next best translations with other texts, highest score first (samples as they were drawn)."""
    score_parts: tuple[ScorePart, ...] = ()
    """What other models added to the score: ``(log_probability + sum of weight x value) / lp + cp``."""
    expected_utility: float | None = None
    """With ``decoding.minimum_bayes_risk`` what ranks in place of the score: chrF or BLEU, 0 to 100, that it has on
    average where the other candidates are the reference. Of a line that was split, the mean over its parts."""
    confidence: float | None = None
    """How likely the text is good, 0 to 1, where the run was calibrated (`scoring/confidence.py`); of the best one."""
    suspicions: tuple[Suspicion, ...] = ()
    """What is wrong with it by its looks, such as a loop; see `text/suspicion.py`."""
    corrections: tuple[Correction, ...] = ()
    """Words of the source that were read as others, because they are typing errors."""
    terms: tuple[TermReport, ...] = ()
    """The terms of the source, and whether this text has them."""
    source_tokens: tuple[str, ...] = ()
    """The subwords of the source that the model read, with the end of sentence (of each part)."""
