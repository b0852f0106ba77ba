"""``[training.start]``: the weights of another run that a training begins with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mtmoe.config.settings.base import Sentences, Settings


class Interpolation(Settings):
    """When training ends, take weights between those of step 0 and the last ones: as near to the last ones as the old
    text allows, which is the dev set of `data.replay`. They are those that the last checkpoint translates with, and it
    is the best one."""

    most_lost_bleu: float = Field(
        default=1.0, ge=0, le=100, description="BLEU that the old text may lose of what it had at step 0."
    )
    translate_sentences: Sentences = Field(
        default=2000,
        description="Dev sentences, of all sets together, that are translated for each of 2 to 6 trials, with the beam "
        "of `mtmoe translate`. What few sentences lose says little.",
    )


class Start(Settings):
    """Begin with the weights of another run, not with random ones; optimizer, schedule and step begin anew."""

    run: str = Field(
        min_length=1,
        description="The start run: a RUN_DIR of `mtmoe train`; train --from sets it. It is read once, before the "
        "first step; what was taken over stands in the new run's manifest.json.",
    )
    checkpoint: str = Field(
        default="best",
        min_length=1,
        description="Its weights: best, last, a step, a name in RUN/checkpoints, or a mean such as last:3. Of a run "
        "with an EMA they are the average, as everywhere.",
    )
    vocabulary: Literal["same", "extended", "own"] = Field(
        default="same",
        description="same: the text is encoded with the start run's subwords, in place of [subwords]; the languages "
        "are its own. extended: they are kept, and what [subwords] learns from the side in another language comes "
        "behind (from both sides, where the languages are the same). own: [subwords] is learned from the new text "
        "alone. Subwords that both have keep their vectors, every other one begins as the mean of the vectors of what "
        "the old model splits it into.",
    )
    frozen: tuple[str, ...] = Field(
        default=(),
        description="Layers that stay as they are: embeddings, encoder, attention, decoder, experts, gates, or one "
        "layer such as encoder.lstm1 or decoder.moe1.",
    )
    interpolation: Interpolation | None = Field(
        default=None, description="Absent: what was trained is kept as it is. Needs `data.replay`."
    )
