"""``[subwords]``: the vocabulary."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mtmoe.config.settings.base import MOST_VOCABULARY, Settings


class Subwords(Settings):
    """One SentencePiece model for both sides (wordpieces shared by source and target, GNMT), or a list of words."""

    algorithm: Literal["unigram", "bpe", "word"] = Field(
        default="unigram",
        description="unigram, bpe: SentencePiece models. word: the most frequent words (what white space separates) of "
        "all the text, every other one is <unk>; for language models.",
    )
    vocabulary_size: int = Field(
        default=8000,
        ge=8,
        le=MOST_VOCABULARY,
        description="Number of subwords or words, special and byte symbols included.",
    )
    byte_fallback: bool = Field(default=True, description="Spell unknown characters as bytes instead of <unk>.")
    character_coverage: float = Field(
        default=1.0,
        ge=0.98,
        le=1.0,
        description="Share of characters that get a symbol of their own; SentencePiece takes no less than 0.98.",
    )
    user_symbols: tuple[str, ...] = Field(
        default=(), description="Symbols that are never split, such as language tokens <2de>."
    )
    sample_sentences: int = Field(
        default=2_000_000,
        ge=1,
        le=100_000_000,
        description="Sentences (both sides together) that the model is trained on at most.",
    )

    file: str = Field(
        default="",
        description="Take this vocabulary (subwords.model or words.txt of a run or data directory) and learn none; "
        "train --subwords-of sets it and vocabulary_size. A language model that is to search along (translate --lm) "
        "has that of the translation run.",
    )
    extends: str = Field(
        default="",
        description="Keep this vocabulary whole; of the vocabulary_size subwords that are learned, those that it has "
        "not come behind. training.start.vocabulary = extended sets it to that of the start run.",
    )
    extended_by: Literal["both", "source", "target"] = Field(
        default="both", description="With extends: the side of the text that new subwords are learned from."
    )

    @model_validator(mode="after")
    def _extends_or_takes(self) -> Subwords:
        if self.file and self.extends:
            raise ValueError(f"file = {self.file!r} and extends = {self.extends!r} are two vocabularies: leave one out")
        if self.extended_by != "both" and not self.extends:
            raise ValueError(f'extended_by = "{self.extended_by}" does nothing without extends')
        return self

    @model_validator(mode="after")
    def _learns_nothing_of_a_file(self) -> Subwords:
        learned = ("byte_fallback", "character_coverage", "user_symbols", "sample_sentences")
        for key in learned if self.file and self.algorithm != "word" else ():
            value = getattr(self, key)
            if value != Subwords.model_fields[key].default:
                raise ValueError(f"{key} = {value} does nothing with file = {self.file!r}: nothing is learned")
        return self

    @model_validator(mode="after")
    def _only_what_is_used(self) -> Subwords:
        if self.algorithm != "word":
            return self
        if self.byte_fallback:
            raise ValueError('byte_fallback = true needs subwords, but algorithm = "word"; set byte_fallback = false')
        for key in ("character_coverage", "user_symbols", "sample_sentences"):
            value = getattr(self, key)
            if value != Subwords.model_fields[key].default:
                raise ValueError(f'{key} = {value} belongs to SentencePiece, but algorithm = "word"')
        return self


class SubwordSampling(Settings):
    """Subword regularisation: another segmentation of each sentence at every visit (Kudo 2018; BPE dropout)."""

    alpha: float = Field(
        default=0.2,
        ge=1e-4,
        le=10,
        description="unigram: smoothing (smaller is more varied); bpe: dropout probability.",
    )

    sides: Literal["both", "source"] = Field(default="both", description="Which sides are sampled.")
