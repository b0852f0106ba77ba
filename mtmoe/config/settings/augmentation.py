"""``[data.augmentation]``: training text as people type it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mtmoe.config.settings.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]

_EXCLUSIVE = ("upper", "title", "lower", "noise")


class Augmentation(Settings):
    """Shares of the training pairs that are changed to what people type, drawn anew in each epoch.

    What is drawn depends on seed, epoch and pair alone. Nothing of it is written to disk; dev and test text stays as it
    is. A pair whose source has no capitals, typos or marks to lose, or which gets too long or needs a character that
    the vocabulary has not, stays as it is, too.
    """

    upper: Share = Field(default=0.0, description="Pairs with both sides in capitals; for decoding.usual_case = false.")
    title: Share = Field(
        default=0.0,
        description="Pairs in whose source each word begins with a capital; for decoding.usual_case = false.",
    )
    lower: Share = Field(default=0.05, description="Pairs whose source is in small letters.")
    no_punctuation: Share = Field(
        default=0.05, description="Pairs whose source loses the punctuation that ends it; the target keeps its own."
    )
    typos: Share = Field(default=0.1, description="Pairs with typos in the source; see typo_rate.")
    typo_rate: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Words of such a source that have a typo: a key beside the right one on the keyboard of the source "
        "language, two letters swapped, one lost or doubled.",
    )
    items: Share = Field(
        default=0.0,
        description="Pairs with a web or mail address, emoji, placeholder or tag inserted on both sides: at their "
        "ends, or in front of two words of which the lexicon is sure that they translate each other; for "
        "decoding.pass_through = [].",
    )
    merged: Share = Field(
        default=0.01, description="Pairs with another pair of the same source of text behind them, in one line."
    )
    noise: Share = Field(
        default=0.005, description="Pairs in whose place both sides are the same line of numbers, codes and signs."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Augmentation:
        exclusive = {key: getattr(self, key) for key in _EXCLUSIVE}
        if sum(exclusive.values()) > 1 + 1e-9:
            told = ", ".join(f"{key} = {value}" for key, value in exclusive.items())
            raise ValueError(f"{told} exclude each other in a pair, but add up to {sum(exclusive.values()):g}")
        others = ("no_punctuation", "typos", "items", "merged")
        if not any((*exclusive.values(), *(getattr(self, key) for key in others))):
            raise ValueError(f"all shares are 0 ({', '.join((*exclusive, *others))}); leave the table out")
        if self.typo_rate != Augmentation.model_fields["typo_rate"].default and not self.typos:
            raise ValueError(f"typo_rate = {self.typo_rate} does nothing: typos = 0")
        return self
