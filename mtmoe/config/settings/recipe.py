"""The recipe: all its tables, and the checks between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from mtmoe.config.settings.about import About
from mtmoe.config.settings.base import Seed, Settings
from mtmoe.config.settings.curriculum import check_curriculum
from mtmoe.config.settings.data import Data
from mtmoe.config.settings.decoding import Decoding
from mtmoe.config.settings.model import Model
from mtmoe.config.settings.scoring import Scoring
from mtmoe.config.settings.subwords import Subwords
from mtmoe.config.settings.training import Training

_ENCODER_AND_ATTENTION = (
    "encoder_layers",
    "encoder_bottom",
    "encoder_moe_after",
    "attention",
    "attention_width",
    "attention_context",
    "output_attention",
)


class Recipe(Settings):
    """One experiment: everything that changes its numbers."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the experiment.")
    task: Literal["translation", "language-model"] = Field(
        default="translation",
        description="language-model: a decoder without a source, trained on text of data.target_language.",
    )
    about: About = Field(default=About(), description="For people.")
    seed: Seed = Field(default=1, description="Seeds everything that is random.")
    data: Data = Field(description="Which text.")
    subwords: Subwords = Field(default=Subwords(), description="Subword model.")
    model: Model = Field(default=Model(), description="Network.")
    training: Training = Field(description="Training.")
    decoding: Decoding = Field(default=Decoding(), description="Translation.")
    scoring: Scoring = Field(default=Scoring(), description="Scoring of text by a language model.")

    @model_validator(mode="after")
    def _settings_of_experts_have_experts(self) -> Recipe:
        if self.has_experts:
            return self
        why = (
            'model.moe.kind = "dense"'
            if self.model.moe.kind == "dense"
            else "model.encoder_moe_after and model.decoder_moe_after are empty"
        )
        if self.training.expert_optimizer != "adam":
            raise ValueError(
                f'training.expert_optimizer = "{self.training.expert_optimizer}" has no experts to update: {why}'
            )
        if self.training.distributed is not None and self.training.distributed.expert_processes is not None:
            raise ValueError(
                f"training.distributed.expert_processes = {self.training.distributed.expert_processes} has no experts "
                f"to divide: {why}"
            )
        return self

    @model_validator(mode="after")
    def _replays_what_there_is(self) -> Recipe:
        replay = self.data.replay
        if replay is not None and not replay.data_dir and self.training.start is None:
            raise ValueError(
                f"data.replay.weight = {replay.weight} has no text: name a data directory in data.replay.data_dir, or "
                "a run in training.start.run"
            )
        return self

    @model_validator(mode="after")
    def _interpolates_where_old_text_is_measured(self) -> Recipe:
        start = self.training.start
        if start is not None and start.interpolation is not None and self.data.replay is None:
            raise ValueError(
                f"training.start.interpolation.most_lost_bleu = {start.interpolation.most_lost_bleu} is of the start "
                "run's dev set, which there is with data.replay alone: set data.replay.weight"
            )
        return self

    @model_validator(mode="after")
    def _curriculum_is_of_its_sources(self) -> Recipe:
        changes = self.training.curriculum
        if not changes:
            return self
        if self.data.multilingual is not None and self.data.multilingual.temperature != 1:
            raise ValueError(
                f"training.curriculum (weight = {changes[0].weight} of {changes[0].source!r}) and "
                f"data.multilingual.temperature = {self.data.multilingual.temperature} both say how often text is seen"
            )
        if self.training.bptt_steps:
            raise ValueError(
                f"training.curriculum (weight = {changes[0].weight} of {changes[0].source!r}) does nothing: with "
                f"training.bptt_steps = {self.training.bptt_steps} the text runs on as it stands"
            )
        weights = {source.name: source.weight for source in self.data.train}
        if self.data.replay is not None:
            weights["replay"] = self.data.replay.weight
        check_curriculum(changes, weights)
        return self

    @model_validator(mode="after")
    def _readings_differ(self) -> Recipe:
        consistency = self.training.consistency
        noisy = self.has_experts and self.model.moe.gate == "noisy-top-k"
        if consistency is not None and not self.model.dropout and not noisy:
            raise ValueError(
                f"training.consistency.weight = {consistency.weight} compares two readings that are the same: "
                "model.dropout = 0.0, and no gate draws noise"
            )
        return self

    @property
    def has_experts(self) -> bool:
        """Return whether any layer is a mixture of experts."""
        model = self.model
        return model.moe.kind == "mixture" and bool(model.encoder_moe_after or model.decoder_moe_after)

    @model_validator(mode="after")
    def _task_has_its_settings(self) -> Recipe:
        return self._suits_language_models() if self.task == "language-model" else self._suits_translation()

    def _suits_translation(self) -> Recipe:
        if self.data.monolingual:
            raise ValueError(
                'data.source_language is missing: task = "translation" needs it, for example "en"; a model '
                'of one language has task = "language-model"'
            )
        for key, value, absent in (
            ("subwords.algorithm", self.subwords.algorithm, self.subwords.algorithm != "word"),
            ("training.bptt_steps", self.training.bptt_steps, self.training.bptt_steps == 0),
            *(
                (f"training.{key}", getattr(self.training, key), getattr(self.training, key) == 0)
                for key in ("activation_penalty", "activation_change_penalty")
            ),
        ):
            if not absent:
                raise ValueError(f'{key} = {value!r} belongs to task = "language-model", but task = "translation"')
        for key, what in _memories(self.scoring):
            raise ValueError(f'scoring.{key} ({what}) belongs to task = "language-model", but task = "translation"')
        sampling = self.training.subword_sampling
        if sampling is not None and self.subwords.algorithm == "bpe" and sampling.alpha > 1:
            raise ValueError(
                f'training.subword_sampling.alpha = {sampling.alpha} is a probability with subwords.algorithm = "bpe"'
            )
        model = self.model
        if model.softmaxes > 1:
            raise ValueError(
                f'model.softmaxes = {model.softmaxes} belongs to task = "language-model", but task = "translation"'
            )
        if model.attention_context == "parallel" and model.decoder_layers < 2:
            raise ValueError(
                'model.attention_context = "parallel" feeds the decoder layers above the first, '
                f"but model.decoder_layers = {model.decoder_layers}"
            )
        return self

    def _suits_language_models(self) -> Recipe:
        if not self.data.monolingual:
            raise ValueError(
                f'data.source_language = "{self.data.source_language}" belongs to task = "translation", but '
                f'task = "{self.task}" reads data.target_language = "{self.data.target_language}" alone'
            )
        translation_only = (
            *(("model", self.model, key) for key in _ENCODER_AND_ATTENTION),
            ("training", self.training, "subword_sampling"),
            ("training", self.training, "guided_alignment"),
        )
        for table, settings, key in translation_only:
            value = getattr(settings, key)
            if value != type(settings).model_fields[key].default:
                raise ValueError(f'{table}.{key} = {value} belongs to task = "translation", but task = "{self.task}"')
        if self.model.tied_embeddings == "target":
            raise ValueError(f'model.tied_embeddings = "target": task = "{self.task}" has no source; all or none')
        self._mixture_is_whole()
        validation = self.training.validation
        if validation.metric == "bleu" or validation.translate_sentences:
            raise ValueError(
                f'training.validation.metric = "{validation.metric}" and training.validation.translate_sentences = '
                f'{validation.translate_sentences}, but task = "{self.task}" translates nothing: set metric = '
                '"perplexity" and translate_sentences = 0'
            )
        if self.decoding != Decoding():
            raise ValueError(f'the settings of decoding do nothing: task = "{self.task}" translates nothing')
        for key, what in _memories(self.scoring) if self.training.bptt_steps == 0 else ():
            raise ValueError(
                f"scoring.{key} ({what}) is of running text, but with training.bptt_steps = 0 the model reads each "
                "line by itself; a model that is trained with bptt_steps = 35 reads them as one text"
            )
        weighted = [source for source in self.data.train if source.weight != 1.0]
        if self.training.bptt_steps and weighted:
            raise ValueError(
                f"weight = {weighted[0].weight} of {weighted[0].name!r} does nothing: with training.bptt_steps = "
                f"{self.training.bptt_steps} the text runs on as it stands"
            )
        return self

    def _mixture_is_whole(self) -> None:
        """Raise ValueError where a loss cannot be that of a mixture of softmaxes."""
        softmaxes, training = self.model.softmaxes, self.training
        if softmaxes == 1:
            return
        whole = f"model.softmaxes = {softmaxes} is a mixture over the whole vocabulary"
        if training.sampled_softmax is not None:
            num_samples = training.sampled_softmax.num_samples
            raise ValueError(
                f"{whole}, of which training.sampled_softmax.num_samples = {num_samples} are a part; "
                "set training.sampled_softmax = false"
            )
        if training.label_smoothing:
            raise ValueError(
                f"{whole} without label_smoothing, but training.label_smoothing = {training.label_smoothing}; "
                "set training.label_smoothing = 0.0"
            )
        for key, settings in (("distillation", training.distillation), ("consistency", training.consistency)):
            if settings is not None:
                raise ValueError(
                    f"{whole}, whose probabilities training.{key} (weight = {settings.weight}) does not compare; "
                    "leave one of the two out"
                )


def _memories(scoring: Scoring) -> Iterator[tuple[str, str]]:
    """Yield the tables that are on, each with one of its settings."""
    if scoring.dynamic is not None:
        yield "dynamic", f"learning_rate = {scoring.dynamic.learning_rate}"
    if scoring.cache is not None:
        yield "cache", f"weight = {scoring.cache.weight}"
