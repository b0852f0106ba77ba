"""``[family]``: many recipes of one file, one for each direction between the languages of a data set."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from mtmoe.config.settings.base import Pairs, Settings

Table = dict[str, Any]
"""Tables of a recipe, which are checked when a member is read."""


class Size(Settings):
    """Settings for text of some size."""

    variant: str = Field(
        default="", pattern=r"^[A-Za-z0-9.]*$", description="Empty, or the ending of the member's name: small."
    )
    least_pairs: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        description="Training pairs from which on the settings are taken, in place of those of a smaller text."
    )
    settings: Table = Field(description="Tables of a recipe.")


class Family(Settings):
    """One recipe for each direction of each pair of languages and each variant, all made of the file that it stands in.

    In all texts of the file {pair}, {source}, {target}, {num_pairs} and the words of ``words`` are replaced. Over the
    file's tables come the settings of the languages, then of the size, then of the direction.
    """

    name: str = Field(
        default="", description="Name of a member, such as wmt19-{source}-{target}; -VARIANT comes after it."
    )
    description: str = Field(default="", description="One sentence on the family.")
    words: dict[str, str] = Field(default={}, description="Further words in braces, and what they stand for.")
    pairs: dict[str, Pairs] = Field(
        default={},
        description="Training pairs of each pair of languages, which is named as the data set names it, such as de-en. "
        "Each is there in both directions. Without any, the file is there for others to extend.",
    )
    sizes: tuple[Size, ...] = Field(default=(), description="Settings by the number of training pairs.")
    languages: dict[str, Table] = Field(
        default={}, description="Settings of the members that translate from or into a language."
    )
    directions: dict[str, Table] = Field(default={}, description="Settings of the members of one direction.")

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Family:
        codes = {code for pair in self.pairs for code in pair.split("-")}
        for pair in self.pairs:
            if len(pair.split("-")) != 2 or not all(pair.split("-")):
                raise ValueError(f"pairs: {pair!r} is not two languages with a hyphen between them, such as de-en")
        for direction in self.directions if self.pairs else ():
            if direction not in self.pairs and "-".join(reversed(direction.split("-"))) not in self.pairs:
                raise ValueError(f"directions: {direction!r} is in none of the pairs")
        if codes and not ("{source}" in self.name and "{target}" in self.name):
            raise ValueError(f"name = {self.name!r} has no {{source}} and {{target}}: all members would have one name")
        return self
