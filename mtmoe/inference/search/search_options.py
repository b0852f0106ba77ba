"""Search options: the settings that a search reads, and how many hypotheses are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mtmoe.config.settings import Decoding, Sampling
from mtmoe.errors import UserError


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The meaning of each field is in :class:`mtmoe.config.settings.Decoding`."""

    beam_size: int
    length_alpha: float
    coverage_beta: float
    prune_margin: float
    max_length_ratio: float
    max_length_extra: int
    min_length_ratio: float = 0.0
    no_repeat_ngram: int = 0
    beam_margin: float | None = None
    early_stopping: Literal["full", "exact", "best"] = "full"
    groups: int = 1
    """Return the number of beams of a sentence, which share ``beam_size``: of ``decoding.diverse_beams``."""
    diversity_penalty: float = 0.0
    sampling: Sampling | None = None
    soft_terms: float | None = None
    num_best: int = 1
    """Hypotheses wanted of each sentence; pruning may leave fewer. The first does not depend on it."""
    keep_attention: bool = False
    """Whether hypotheses carry their attention."""

    def __post_init__(self) -> None:
        if self.num_best < 1 or self.beam_size < 1:
            raise ValueError(f"num_best = {self.num_best} and beam_size = {self.beam_size} must be at least 1")
        if self.beam_size % self.groups:
            raise ValueError(f"beam_size = {self.beam_size} is not a multiple of groups = {self.groups}")
        if self.sampling is None and self.num_best > self.beam_size:
            raise UserError(
                f"num_best = {self.num_best} is more than decoding.beam_size = {self.beam_size}",
                fix=f"search with a beam of at least {self.num_best}, or ask for at most {self.beam_size}",
            )

    @classmethod
    def from_settings(cls, decoding: Decoding, *, num_best: int = 1, keep_attention: bool = False) -> SearchOptions:
        """Return the options that a recipe's ``[decoding]`` table states."""
        diverse = decoding.diverse_beams
        return cls(
            beam_size=decoding.beam_size,
            length_alpha=decoding.length_alpha,
            coverage_beta=decoding.coverage_beta,
            prune_margin=decoding.prune_margin,
            max_length_ratio=decoding.max_length_ratio,
            max_length_extra=decoding.max_length_extra,
            min_length_ratio=decoding.min_length_ratio,
            no_repeat_ngram=decoding.no_repeat_ngram,
            beam_margin=decoding.beam_margin,
            early_stopping=decoding.early_stopping,
            groups=diverse.groups if diverse else 1,
            diversity_penalty=diverse.penalty if diverse else 0.0,
            sampling=decoding.sampling,
            soft_terms=decoding.soft_terms,
            num_best=num_best,
            keep_attention=keep_attention,
        )

    def max_length(self, num_source_subwords: int) -> int:
        """Return the length of the longest translation in subwords, EOS not counted; at least 1."""
        return max(1, int(self.max_length_ratio * num_source_subwords) + self.max_length_extra)

    def min_length(self, num_source_subwords: int) -> int:
        """Return the length of the shortest translation in subwords, EOS not counted."""
        return min(int(self.min_length_ratio * num_source_subwords), self.max_length(num_source_subwords))

    @property
    def num_beams(self) -> int:
        """Return how many beams a sentence has, which are searched separately: its groups, or one a sample."""
        return self.num_best if self.sampling else self.groups

    @property
    def width(self) -> int:
        """Return how many hypotheses one beam has."""
        return 1 if self.sampling else self.beam_size // self.groups

    def beams_of(self, index: int) -> range:
        """Return the numbers of the beams of a source."""
        return range(index * self.num_beams, (index + 1) * self.num_beams)
