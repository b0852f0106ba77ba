"""``[training]``: from a corpus to weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mtmoe.config.settings.base import (
    MOST_EXPERTS,
    MOST_VOCABULARY,
    BatchTokens,
    Beam,
    Fraction,
    LossWeight,
    SentencesOrNone,
    Settings,
    Steps,
    StepsOrNone,
    Times,
    TokensOfSentence,
    Unit,
)
from mtmoe.config.settings.curriculum import WeightChange
from mtmoe.config.settings.distillation import Distillation
from mtmoe.config.settings.start import Start
from mtmoe.config.settings.subwords import SubwordSampling
from mtmoe.languages import ChosenTokeniser


class Schedule(Settings):
    """Learning rate by step."""

    kind: Literal["paper", "cosine", "constant"] = Field(
        default="paper",
        description="paper: linear warm-up, constant, then inverse square root (app. E); cosine: warm-up, then a "
        "half cosine to final_fraction at max_steps; constant: warm-up, then constant.",
    )
    warmup_steps: StepsOrNone = Field(default=2000, description="Steps of the linear warm-up.")
    constant_steps: StepsOrNone = Field(default=8000, description="paper: steps at the base rate after the warm-up.")
    final_fraction: float = Field(
        default=0.01, ge=0, le=1, description="cosine: learning rate at the end, as a share of the base rate."
    )

    @model_validator(mode="after")
    def _only_what_is_used(self) -> Schedule:
        for key, kind in (("constant_steps", "paper"), ("final_fraction", "cosine")):
            default = Schedule.model_fields[key].default
            if getattr(self, key) != default and self.kind != kind:
                raise ValueError(f'{key} = {getattr(self, key)} belongs to kind = "{kind}", but kind = "{self.kind}"')
        if self.kind == "paper" and self.warmup_steps + self.constant_steps == 0:
            raise ValueError('kind = "paper" needs warmup_steps + constant_steps > 0')
        return self


class SampledSoftmax(Settings):
    """Train the output layer on the label and so many sampled others (Jozefowicz et al.); evaluation has all."""

    num_samples: int = Field(
        default=8192,
        ge=1,
        le=MOST_VOCABULARY,
        description="Draws for a batch, shared by all its tokens, log-uniform over ids (frequent words first): each "
        "class takes part with the probability that so many draws have it, and is corrected for it. The training loss "
        "that is logged is that of the sampled problem.",
    )


class Consistency(Settings):
    """R-Drop (Liang et al. 2021): each pair is read twice, with other dropout, and the two outputs are drawn together.
    Both readings are one batch of twice the size, so that steps take about twice the time and memory."""

    weight: float = Field(
        default=5.0,
        gt=0,
        le=1000,
        description="The paper's alpha. A token's loss is the mean of both readings' and, times alpha / 2, the mean of "
        "the two KL divergences between them: half of the paper's, which adds up.",
    )


class GuidedAlignment(Settings):
    """Attention learns where each target subword comes from, by a table of translations that preprocessing learned from
    the same text, beside what it learns from the loss (Chen et al. 2016)."""

    weight: float = Field(
        default=0.3,
        gt=0,
        le=100,
        description="Times the cross-entropy of the attention from the alignment, in nats a target token, mean of all "
        "attentions of the model.",
    )


class Ema(Settings):
    """Exponential moving average of the weights; validation, checkpoints and translation use the average."""

    decay: float = Field(default=0.999, gt=0, lt=1, description="Share of the old average kept at each step.")
    every_steps: Steps = Field(default=8, description="Steps between updates of the average.")


class Distributed(Settings):
    """How several processes, which torchrun starts, divide the model. The batches are the same for any number."""

    expert_processes: int | None = Field(
        default=None,
        ge=1,
        le=MOST_EXPERTS,
        description="Processes that have one copy of each expert between them; divides the number of processes. With 1 "
        "every process has all experts. Absent: as many as possible hold equal shares of them.",
    )
    collective_timeout_seconds: Annotated[float, Unit("seconds")] = Field(
        default=600.0,
        ge=0.1,
        le=86400,
        description="How long a process waits for the others before it says which have not come, and gives up.",
    )


class EarlyStopping(Settings):
    """Stop when the validation metric has not improved for so many validations."""

    patience: Times = Field(default=10, description="Validations without improvement.")


class Validation(Settings):
    """What is measured on the dev set, and when."""

    every_steps: Steps = Field(default=1000, description="Steps between validations.")
    metric: Literal["bleu", "loss", "perplexity"] = Field(
        default="bleu",
        description="Chooses the best checkpoint and drives early stopping. bleu: of several dev sets the mean, in "
        "which each counts the same, whatever its size, language and tokeniser.",
    )
    bleu_tokeniser: ChosenTokeniser = Field(
        default="auto",
        description="sacreBLEU's tokeniser, of the dev sets and of `mtmoe bleu`. auto: that of each set's target "
        "language (zh, ja-mecab, ko-mecab; char for other languages without spaces between words; else 13a).",
    )
    translate_sentences: SentencesOrNone = Field(
        default=1000, description="Dev sentences translated for BLEU; 0 measures the loss alone."
    )
    beam_size: Beam = Field(default=1, description="Beam size of the translations for BLEU.")
    early_stopping: EarlyStopping | None = Field(default=None, description="Absent: train to max_steps.")

    @model_validator(mode="after")
    def _bleu_needs_text(self) -> Validation:
        if self.metric == "bleu" and self.translate_sentences == 0:
            raise ValueError('metric = "bleu" needs translations, but translate_sentences = 0')
        if self.translate_sentences == 0 and self.beam_size != Validation.model_fields["beam_size"].default:
            raise ValueError(f"beam_size = {self.beam_size} does nothing: translate_sentences = 0")
        return self


class Training(Settings):
    """From a corpus to weights. What the paper does not state: `docs/explanation/paper.md#decision-19`."""

    max_steps: Steps = Field(description="Optimizer steps in all, counted from the first (not from a resume).")
    start: Start | None = Field(default=None, description="Absent: begin with random weights.")
    batch_tokens: BatchTokens = Field(
        default=2048,
        description="Tokens of a batch on its longer side, padding included; bounds memory. Processes divide it.",
    )
    gradient_accumulation: Times = Field(
        default=1,
        description="Batches whose gradients make one step; auxiliary losses are the mean over the batches.",
    )
    bptt_steps: Annotated[int, Unit("tokens")] = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Language models. 0: batches of whole sentences, each from a zero state. Else the text runs on "
        "over the ends of sentences, in batch_tokens / bptt_steps rows of so many tokens, and the LSTMs' state "
        "goes from batch to batch, never reset.",
    )
    bptt_spread_tokens: Annotated[int, Unit("tokens")] = Field(
        default=0,
        ge=0,
        le=100_000,
        description="With bptt_steps: the rows of a batch have so many tokens more or fewer at most, drawn evenly by "
        "seed and batch, and the step's learning rate is in proportion, so that the text is not always cut at the same "
        "places (Merity et al. 2017, who draw from another distribution).",
    )
    max_tokens_per_sentence: TokensOfSentence = Field(
        default=200, description="Longer training sentences (subwords, either side) are left out and counted."
    )
    learning_rate: float = Field(default=1e-3, ge=1e-12, le=1, description="Base (highest) learning rate.")
    schedule: Schedule = Field(default=Schedule(), description="Learning rate by step.")
    adam_beta1: Fraction = Field(default=0.9, description="Decay of Adam's first moment.")
    adam_beta2: Fraction = Field(default=0.98, description="Decay of Adam's second moment.")
    adam_epsilon: float = Field(
        default=1e-9, ge=1e-30, le=1e-2, description="Adam's epsilon; what is less is 0 in float32, and divides."
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay.")
    expert_optimizer: Literal["adam", "factored-adam"] = Field(
        default="adam",
        description="Optimizer of the experts' matrices. factored-adam: no first moment, and a second moment kept as "
        "one number a row and one a column of each matrix (app. D): hardly any memory.",
    )
    expert_weights: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="How the experts' matrices and their gradients are kept. bf16: in half the memory, with updates "
        "rounded up or down at random so that small ones are not lost; needs expert_optimizer = factored-adam.",
    )
    label_smoothing: Fraction = Field(default=0.1, description="Probability spread over the whole vocabulary.")
    sampled_softmax: SampledSoftmax | None = Field(default=None, description="Absent: the whole softmax.")
    distillation: Distillation | None = Field(default=None, description="Absent: the text alone teaches.")
    consistency: Consistency | None = Field(default=None, description="Absent: each pair is read once a step.")
    activation_penalty: LossWeight = Field(
        default=0.0,
        description="Language models: weight of the mean square of the top LSTM layer's output after dropout, added to "
        "the loss of each token (AR, arXiv 1708.01009; 2 there, for another network).",
    )
    activation_change_penalty: LossWeight = Field(
        default=0.0,
        description="Language models: weight of the mean square of that output's change from one token to the next, "
        "before dropout (TAR; 1 there).",
    )
    guided_alignment: GuidedAlignment | None = Field(
        default=None, description="Translation. Absent: attention learns from the loss alone."
    )
    clip_norm: float = Field(default=5.0, ge=1e-6, le=1e9, description="Largest global gradient norm.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto",
        description="Arithmetic of the forward and backward pass; weights and moments stay fp32. auto: bf16 where the "
        "device has instructions for it (a GPU, a processor with AVX-512 BF16 or AMX), else fp32; a run keeps what it "
        "began with.",
    )
    curriculum: tuple[WeightChange, ...] = Field(
        default=(), description="Empty: the weights of data.train stay. Else how they change, in any order."
    )
    subword_sampling: SubwordSampling | None = Field(default=None, description="Absent: one segmentation.")
    ema: Ema | None = Field(default=None, description="Absent: no averaging.")
    distributed: Distributed | None = Field(
        default=None,
        description="Absent: its defaults.",
    )
    validation: Validation = Field(default=Validation(), description="What is measured on the dev set.")
    log_every_steps: Steps = Field(
        default=50,
        description="Steps between lines of metrics.jsonl. Its importance_cv, load_cv and max_over_mean_load (eqs. 6 "
        "and 10, the paper's Table 6), tokens_cv and max_over_mean_tokens (of tokens received) are means over batches.",
    )
    save_every_steps: Steps = Field(default=1000, description="Steps between checkpoints.")
    keep_last: Times = Field(default=2, description="Newest checkpoints that are kept.")
    keep_best: Times = Field(default=1, description="Best checkpoints that are kept.")
    max_nonfinite_steps: Steps = Field(
        default=10,
        description="Steps in a row that are skipped, for a loss that is NaN or infinite or for lack of memory, before "
        "training stops.",
    )
    overload_warning_ratio: float = Field(
        default=4.0, gt=1, le=MOST_EXPERTS, description="max/mean load of an MoE layer above which a warning is due."
    )
    overload_warning_steps: Steps = Field(
        default=500, description="Steps in a row above the ratio, or with a dead expert, before the warning."
    )

    @property
    def penalises_activations(self) -> bool:
        """Return whether activations of the top LSTM layer are part of the loss."""
        return bool(self.activation_penalty or self.activation_change_penalty)

    @property
    def num_readings(self) -> int:
        """Return how often the network reads a pair in one step."""
        return 1 if self.consistency is None else 2

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.sampled_softmax is not None and self.label_smoothing:
            raise ValueError(
                f"label_smoothing = {self.label_smoothing} spreads over the whole vocabulary, but sampled_softmax "
                f"looks at {self.sampled_softmax.num_samples} samples of it; set label_smoothing = 0.0"
            )
        if self.bptt_steps:
            return self._consistent_stateful()
        if self.bptt_spread_tokens:
            raise ValueError(
                f"bptt_spread_tokens = {self.bptt_spread_tokens} does nothing with bptt_steps = 0: batches are of "
                "whole sentences"
            )
        if self.max_tokens_per_sentence > self.batch_tokens:
            raise ValueError(
                f"max_tokens_per_sentence = {self.max_tokens_per_sentence} does not fit into "
                f"batch_tokens = {self.batch_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _whole_distributions_are_compared(self) -> Training:
        sampled = self.sampled_softmax
        for key, what in (("distillation", "the teachers'"), ("consistency", "another reading's")):
            if sampled is not None and getattr(self, key) is not None:
                raise ValueError(
                    f"{key} compares the probabilities of all words with {what}, but sampled_softmax looks at "
                    f"{sampled.num_samples} samples of them; leave one of the two out"
                )
        return self

    @model_validator(mode="after")
    def _teachers_are_heard(self) -> Training:
        taught = self.distillation
        if taught is None:
            return self
        if self.bptt_steps:
            raise ValueError(
                f"distillation.teachers = {list(taught.teachers)} cannot follow running text (bptt_steps = "
                f"{self.bptt_steps}): the state of their LSTMs is in no checkpoint; set bptt_steps = 0"
            )
        if taught.weight == 1 and self.label_smoothing:
            raise ValueError(
                f"label_smoothing = {self.label_smoothing} does nothing: with distillation.weight = 1 the whole loss "
                "is the teachers'; set label_smoothing = 0.0"
            )
        return self

    @model_validator(mode="after")
    def _experts_are_rounded_by_their_optimizer(self) -> Training:
        if self.expert_weights == "bf16" and self.expert_optimizer != "factored-adam":
            raise ValueError(
                f'expert_weights = "bf16" needs expert_optimizer = "factored-adam", which rounds at random; it is '
                f'"{self.expert_optimizer}"'
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Training:
        if self.schedule.kind == "cosine" and self.schedule.warmup_steps >= self.max_steps:
            raise ValueError(
                f"schedule.warmup_steps = {self.schedule.warmup_steps} leaves nothing of max_steps = {self.max_steps}"
            )
        return self

    def _consistent_stateful(self) -> Training:
        if self.batch_tokens % self.bptt_steps:
            raise ValueError(f"batch_tokens = {self.batch_tokens} is not a multiple of bptt_steps = {self.bptt_steps}")
        if self.bptt_spread_tokens >= self.bptt_steps:
            raise ValueError(
                f"bptt_spread_tokens = {self.bptt_spread_tokens} leaves rows without a token: bptt_steps = "
                f"{self.bptt_steps}"
            )
        default = Training.model_fields["max_tokens_per_sentence"].default
        if self.max_tokens_per_sentence != default:
            raise ValueError(
                f"max_tokens_per_sentence = {self.max_tokens_per_sentence} does nothing with "
                f"bptt_steps = {self.bptt_steps}: the text runs on, and no sentence is left out"
            )
        return self
