"""``[about]``: what a recipe tells people."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from mtmoe.config.settings.base import Settings, Unit

Group = Literal[
    "start here",
    "small benchmarks",
    "WMT",
    "the paper's translation models",
    "the paper's language models of 1 billion words (Table 7)",
    "the paper's language models of 100 billion words (Table 8)",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""Groups of the shipped recipes, in the order in which they are listed."""


class Result(Settings):
    """One measured result of a recipe; a number without its circumstances is not a result."""

    test_set: str = Field(description="Name of the test set.")
    bleu: float | None = Field(default=None, ge=0, le=100, description="sacreBLEU score.")
    chrf: float = Field(default=0.0, ge=0, le=100, description="chrF2 score.")
    signature: str = Field(default="", description="sacreBLEU's signature of the BLEU score.")
    perplexity: float | None = Field(
        default=None, ge=1, le=1e9, description="Of a language model, per token of its vocabulary."
    )
    hardware: str = Field(description="What it ran on.")
    training_minutes: Annotated[float, Unit("minutes")] = Field(
        gt=0, le=1e9, description="Wall-clock minutes of training."
    )
    commit: str = Field(description="Commit of this repository that produced it.")

    @model_validator(mode="after")
    def _is_one_number(self) -> Result:
        if (self.bleu is None) == (self.perplexity is None):
            raise ValueError("a result is either a bleu or a perplexity")
        if self.bleu is not None and not self.signature:
            raise ValueError(f"bleu = {self.bleu:g} needs its signature")
        return self


class About(Settings):
    """What a person wants to know before choosing the recipe."""

    description: str = Field(default="", description="One sentence.")
    group: Group | None = Field(default=None, description="Heading that `mtmoe recipes` lists the recipe under.")
    hardware: str = Field(default="", description="Hardware that the settings were chosen for.")
    results: tuple[Result, ...] = Field(default=(), description="Measured results.")
