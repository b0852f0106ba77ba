"""Options of a synthesis: which side of the pairs is made, how, and from what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, get_args

from mtmoe.inference.files.translation_options import TranslationOptions
from mtmoe.synthesis.noise import NO_NOISE, Noise

Origin = Literal["back-translated", "forward-translated", "distilled"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
Method = Literal["beam", "sampling", "top-k", "noised-beam"]
METHODS: tuple[Method, ...] = get_args(Method)
Utility = Literal["bleu", "chrf"]
UTILITIES: tuple[Utility, ...] = get_args(Utility)


class SynthesisOptions(NamedTuple):
    """What is made of a text."""

    translation: TranslationOptions
    """The runs that translate, their settings and devices; its format is not read."""
    origin: Origin = "back-translated"
    """back-translated: the text is of the target language, and the run makes source sentences. forward-translated: the
    text is of the source language. distilled: the same, of the source side of training text."""
    method: Method = "beam"
    seed: int = 1
    """Of what is drawn: words, with a method that samples; noise."""
    top_k: int = 10
    """With the method top-k: words that one is drawn from at each step."""
    noise: Noise = NO_NOISE
    """Of the method noised-beam: put on what was made."""
    tag: str = ""
    """A word in front of each source sentence, which tells a model that the pair is made."""
    reference: Path | None = None
    """Translations by people of the same lines: the candidate that is most like them is taken."""
    utility: Utility = "bleu"
    """Likeness to the reference."""
    candidates: int | None = None
    """With a reference: translations of a line to choose from; None: as many as the beam holds."""
    license: str = ""
    """Terms of the text."""

    @property
    def samples(self) -> bool:
        """Return whether words are drawn."""
        return self.method in ("sampling", "top-k")

    @property
    def makes_source(self) -> bool:
        """Return whether the run makes the source side of the pairs."""
        return self.origin == "back-translated"

    def search_overrides(self) -> tuple[str, ...]:
        """Return the decoding settings of the method, before those that the user has set."""
        if not self.samples:
            return ("decoding.sampling=false", *self.translation.overrides)
        top_k = self.top_k if self.method == "top-k" else 0
        drawn = f"decoding.sampling={{top_k = {top_k}, seed = {self.seed}}}"
        return (*_NO_BEAM, drawn, *self.translation.overrides)


# What only a beam search reads, and the run's recipe may have.
_NO_BEAM = (
    "decoding.beam_size=1",
    "decoding.prune_margin=3.0",
    "decoding.beam_margin=false",
    "decoding.early_stopping=full",
    "decoding.diverse_beams=false",
    "decoding.shortlist=false",
)
