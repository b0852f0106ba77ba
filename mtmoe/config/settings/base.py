"""Base of all tables of a recipe, types with their ranges, and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Unit:
    """The unit of a number, as metadata of its type: ``Annotated[int, Unit("steps")]``. Descriptions tell it."""

    name: str


Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

# Every number has a greatest value. It is beyond what anybody has use for, and small enough for what is computed from
# it: sizes of tensors and sums of tokens stay far below 2^63, and a misspelt zero is told before any work.

MOST_WIDTH = 65_536
"""Eight times the paper's widest layer; a square matrix of it has 17 GB."""
MOST_EXPERTS = 1 << 20
"""Eight times the paper's most."""
MOST_LAYERS = 100
"""Of a stack or of a network: many times what has been trained; each is a module even where it is only described."""
MOST_BEAM = 1000
"""Hypotheses, and with them rows of logits of the whole vocabulary, for each sentence; beyond 10 to 50 translations get
worse."""
MOST_VOCABULARY = 1_000_000

Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Beam = Annotated[int, Field(gt=0, le=MOST_BEAM)]
Experts = Annotated[int, Field(ge=1, le=MOST_EXPERTS)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000), Unit("steps")]  # at ten a second, three years
StepsOrNone = Annotated[int, Field(ge=0, le=1_000_000_000), Unit("steps")]
Pairs = Annotated[int, Field(ge=1, le=1_000_000_000), Unit("pairs")]  # no dev or test set is as large
Sentences = Annotated[int, Field(ge=1, le=1_000_000_000), Unit("sentences")]
SentencesOrNone = Annotated[int, Field(ge=0, le=1_000_000_000), Unit("sentences")]
BatchTokens = Annotated[int, Field(ge=1, le=1 << 30), Unit("tokens")]  # ids of one batch alone take 8 GB
# A book's chapter; attention grows with its square.
TokensOfSentence = Annotated[int, Field(ge=1, le=100_000), Unit("subwords")]
Times = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=0, le=1 << 50), Unit("bytes")]  # a petabyte
Seed = Annotated[int, Field(ge=0, le=(1 << 32) - 1)]  # what every generator takes
Margin = Annotated[float, Field(gt=0, le=1e9)]  # beyond any difference of log probabilities: drops nothing
LossWeight = Annotated[float, Field(ge=0, le=1000)]  # float32's gradients stay finite

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Settings(BaseModel):
    """A table of a recipe: immutable, and with no room for a misspelt key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
