"""``[scoring]``: how a language model scores text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mtmoe.config.settings.base import Fraction, Settings, Times, Unit


class DynamicEvaluation(Settings):
    """The model goes on learning from the text that it scores (Krause et al. 2017, arXiv 1709.07432): each segment is
    scored first, and then every weight takes a step down the gradient of the segment's mean loss, divided by the root
    of its mean square on the training text, and a step back towards where training has left it."""

    segment_tokens: Annotated[int, Unit("tokens")] = Field(
        default=5, ge=1, le=100_000, description="Tokens that are scored, and then learned from, at a time."
    )
    learning_rate: float = Field(
        default=5e-5,
        ge=0,
        le=1,
        description="Of each step; a gradient that is as large as usual moves its weight by so much. 0: nothing is "
        "learned.",
    )
    decay: Fraction = Field(
        default=1e-3,
        description="Share of the way back to the trained weights that a weight goes at each step whose gradients are "
        "as large as those of the mean weight; it is in proportion to them.",
    )
    epsilon: float = Field(
        default=1e-5,
        ge=1e-30,
        le=1,
        description="Added to the root of a weight's mean squared gradient, so that those that hardly learned in "
        "training are not moved far.",
    )
    statistics_batches: Times = Field(
        default=200,
        description="Batches of training text, each of 100 segments from as many places, whose gradients' squares are "
        "averaged.",
    )


class NeuralCache(Settings):
    """A pointer to the words just read (Grave et al. 2016, arXiv 1612.04426). A word is as likely as those places
    together that it followed: each counts by exp(theta h_t . h_i), h the model's outputs now and then."""

    size_tokens: Annotated[int, Unit("tokens")] = Field(
        default=2000, ge=1, le=1_000_000, description="Last tokens that are remembered."
    )
    theta: float = Field(
        default=0.3, ge=0, le=100, description="Sharpness: with 0 all that are remembered count alike."
    )
    weight: Fraction = Field(
        default=0.2, description="lambda: share of the cache's probability in that of a word. 0: the model's alone."
    )


class Scoring(Settings):
    """Language models on running text: what `mtmoe score` learns or remembers of the text that it scores. Training and
    its validation have nothing of it, and no run is changed."""

    dynamic: DynamicEvaluation | None = Field(default=None, description="Absent: the weights stay as they are.")
    cache: NeuralCache | None = Field(default=None, description="Absent: nothing is remembered but the LSTMs' state.")
