"""``[about]``: what a recipe tells people."""

from __future__ import annotations

from pydantic import Field

from mtmoe.config.settings.base import Settings


class Result(Settings):
    """One measured result of a recipe; a number without its circumstances is not a result."""

    test_set: str = Field(description="Name of the test set.")
    bleu: float = Field(ge=0, le=100, description="sacreBLEU score.")
    chrf: float = Field(default=0.0, ge=0, le=100, description="chrF2 score.")
    signature: str = Field(description="sacreBLEU's signature of the BLEU score.")
    hardware: str = Field(description="What it ran on.")
    training_minutes: float = Field(gt=0, description="Wall-clock minutes of training.")
    commit: str = Field(description="Commit of this repository that produced it.")


class About(Settings):
    """What a person wants to know before choosing the recipe."""

    description: str = Field(default="", description="One sentence.")
    hardware: str = Field(default="", description="Hardware that the settings were chosen for.")
    results: tuple[Result, ...] = Field(default=(), description="Measured results.")
