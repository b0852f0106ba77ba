"""``[training.distillation]``: other runs that teach this one, word by word."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mtmoe.config.settings.base import MOST_VOCABULARY, Settings, Unit


class Distillation(Settings):
    """Learn from the words that other runs find likely at each place, beside the word that stands there (Hinton et al.
    2015; Kim and Rush 2016). The teachers read the batch along with the network, without dropout."""

    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        max_length=64,
        description="Runs of `mtmoe train` with the same subwords and languages, of any shape. Of several the mean of "
        "their probabilities is taught. Each process loads them all.",
    )
    checkpoint: str = Field(
        default="best",
        min_length=1,
        description="Their weights: best, last, a step, or a mean such as last:3. What it meant when the run began "
        "stands in its manifest.json, and stays.",
    )
    weight: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the loss that is the teachers'; the rest is the text's, with label smoothing.",
    )
    temperature: float = Field(
        default=1.0,
        ge=0.1,
        le=100,
        description="Both sides' logits are divided by it, and the teachers' part of the loss is multiplied by its "
        "square, so that its gradient keeps its size.",
    )
    top_k: Annotated[int, Unit("words")] = Field(
        default=0,
        ge=0,
        le=MOST_VOCABULARY,
        description="Words of each place that are taught with the very probability that the teachers give them; what "
        "is left to 1 is spread evenly over all others. 0: all words.",
    )
