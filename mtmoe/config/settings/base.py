"""What every table of a recipe is: strict, immutable, without room for a misspelt key."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

Positive = Annotated[int, Field(gt=0)]

Count = Annotated[int, Field(ge=0)]

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Settings(BaseModel):
    """A table of a recipe: immutable, and with no room for a misspelt key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
