"""``[model]``: the network and its mixture-of-experts layers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mtmoe.config.settings.base import (
    MOST_WIDTH,
    Experts,
    Fraction,
    Layers,
    LossWeight,
    Settings,
)

MOST_DENSE_HIDDEN = 1 << 24
"""Hidden units of a dense network: a matrix between two such layers has 2^48 elements."""
MOST_SHARED_EXPERTS = 1024
"""Every token has them all: far beyond what is worth its time."""
_WITH_THRESHOLDS = ("strictly-balanced", "expert-choice")
_WITH_SCORES = ("softmax", "sigmoid")


class Hierarchy(Settings):
    """Two levels of gating (paper, appendix B): a gate over groups, and in each group a gate over its experts.

    The losses are CV^2 over all experts, none over groups (`docs/explanation/paper.md#decision-7`); a group without
    tokens has the load 0 (`#decision-8`). The levels have a k each (`#decision-9`).
    """

    groups: Experts = Field(description="a: groups of equally many experts; num_experts is a multiple of it.")
    groups_per_token: Experts = Field(
        default=2,
        description="k of the first level (2 in the paper). experts_per_token is a multiple of it: k within a "
        "group is their quotient.",
    )


class MixtureOfExpertsSettings(Settings):
    """The sparsely-gated layer (paper, sections 2-4, appendices A, B and F)."""

    kind: Literal["mixture", "dense"] = Field(
        default="mixture",
        description="mixture: experts behind a gate. dense: one always-active network whose hidden size is that of all "
        "experts of a token together, the baseline of equal operations per timestep.",
    )
    dense_layers: Layers = Field(
        default=1, description="dense: hidden layers of the network, all of the same size (4 in MoE-1-Deep of app. C)."
    )
    gate: Literal["noisy-top-k", "softmax", "strictly-balanced", "sigmoid", "expert-choice"] = Field(
        default="noisy-top-k",
        description="noisy-top-k: eqs. 3-5, without noise outside training (the paper is silent). softmax: eq. 2 kept "
        "to the k largest and renormalised; starts from small random weights, as zeros would be ties. "
        "strictly-balanced: app. F; each expert takes its k|X|/n best tokens (rounded up) of a training batch, and "
        "those above its threshold otherwise; a token has k experts on average, and without any the output 0 before "
        "the sigmoid; small random weights at the start; in a decoder its training routing sees later positions. "
        "sigmoid: the sigmoid of each logit by itself, the k largest divided by their sum (arXiv 2412.19437). "
        "expert-choice: as strictly-balanced, but a gate is the softmax's value as it is, not divided by anything "
        "(arXiv 2202.09368); in encoders alone.",
    )
    num_experts: Experts = Field(default=16, description="Number of experts of each layer.")
    experts_per_token: Experts = Field(
        default=2, description="k: experts that each token is sent to, with a hierarchy in all of its groups together."
    )
    expert_hidden: int = Field(
        default=512, ge=8, le=MOST_WIDTH, multiple_of=8, description="Hidden units of one expert."
    )
    hierarchy: Hierarchy | None = Field(default=None, description="Absent: one gate over all experts.")
    importance_loss_weight: LossWeight = Field(
        default=0.01,
        description="w_importance (eq. 7; 0.01 in app. E, 0.1 in app. C); CV with the population's variance.",
    )
    load_loss_weight: LossWeight = Field(
        default=0.01,
        description="w_load (eq. 11; 0.01 in app. E, 0.1 in app. C). Only noisy-top-k has this loss, and only when "
        "fewer experts than all are chosen: otherwise the load is a count, which cannot be learned from.",
    )
    threshold_loss_weight: LossWeight = Field(
        default=1.0,
        description="Weight of the loss by which strictly-balanced learns its thresholds (eq. 20; the paper states no "
        "weight). Here it is a mean over tokens, not a sum; thresholds are learned as log(n T); nothing else learns "
        "from it.",
    )
    noise_floor: LossWeight = Field(
        default=0.01,
        description="noisy-top-k: added to the learned noise's standard deviation (not in the paper).",
    )
    gate_scale: float = Field(
        default=1.0, gt=0, le=100, description="sigmoid: what the gates of a token sum to (2.5 in DeepSeek-V3)."
    )
    choice_bias_rate: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="softmax and sigmoid: gamma, by which the bias of an expert changes after each step, up where it "
        "had fewer tokens than the mean, down where it had more (arXiv 2408.15664, where it is 0.001). The bias "
        "counts in the choice of the k experts alone, not in their gates. 0: there is none.",
    )
    z_loss_weight: LossWeight = Field(
        default=0.0,
        description="Weight of the router z-loss, the mean over tokens of logsumexp(logits)^2, with two levels of both "
        "(arXiv 2202.08906, where it is 0.001). It keeps logits small.",
    )
    shared_experts: int = Field(
        default=0,
        ge=0,
        le=MOST_SHARED_EXPERTS,
        description="Experts without a gate that every token has beside its k (arXiv 2401.06066); their outputs are "
        "added. With kind = dense the network is as much wider.",
    )
    sigmoid_output: bool = Field(default=True, description="Sigmoid on the layer's summed output, as in the paper.")
    recompute_experts: bool = Field(
        default=False,
        description="Compute the experts' hidden activations again in the backward pass instead of keeping them "
        "(app. D): less memory for more time, the same numbers.",
    )

    @property
    def has_thresholds(self) -> bool:
        """Return whether experts choose tokens, by thresholds outside training."""
        return self.gate in _WITH_THRESHOLDS

    @property
    def dense_hidden(self) -> int:
        """Return the hidden units that a token meets: of its k experts and of the shared ones."""
        return (self.experts_per_token + self.shared_experts) * self.expert_hidden

    @property
    def top_k_in_group(self) -> int:
        """Return the number of experts that a token is sent to in each of its groups: k of the second level."""
        return self.experts_per_token // (self.hierarchy.groups_per_token if self.hierarchy else 1)

    @property
    def experts_per_group(self) -> int:
        """Return the number of experts in a group; of all, where there is one level."""
        return self.num_experts // (self.hierarchy.groups if self.hierarchy else 1)

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
        if k % levels.groups_per_token:
            raise ValueError(
                f"experts_per_token = {k} is not a multiple of hierarchy.groups_per_token = {levels.groups_per_token}"
            )
        if self.top_k_in_group > self.experts_per_group:
            raise ValueError(
                f"experts_per_token = {k} is {self.top_k_in_group} in each of hierarchy.groups_per_token = "
                f"{levels.groups_per_token} groups, more than the {self.experts_per_group} experts of a group: "
                f"num_experts = {num_experts}, hierarchy.groups = {levels.groups}"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_used(self) -> MixtureOfExpertsSettings:
        owners: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("load_loss_weight", ("noisy-top-k",)),
            ("noise_floor", ("noisy-top-k",)),
            ("threshold_loss_weight", _WITH_THRESHOLDS),
            ("gate_scale", ("sigmoid",)),
            ("choice_bias_rate", _WITH_SCORES),
        )
        if self.kind == "dense" and self.dense_hidden > MOST_DENSE_HIDDEN:
            shared = f" and shared_experts = {self.shared_experts}" if self.shared_experts else ""
            raise ValueError(
                f"experts_per_token = {self.experts_per_token} and expert_hidden = {self.expert_hidden}{shared} make a "
                f"dense network of {self.dense_hidden} hidden units; at most {MOST_DENSE_HIDDEN}"
            )
        if self.dense_layers != 1 and self.kind != "dense":
            raise ValueError(f'dense_layers = {self.dense_layers} belongs to kind = "dense", but kind = "{self.kind}"')
        for key, gates in owners:
            value, default = getattr(self, key), MixtureOfExpertsSettings.model_fields[key].default
            if self.gate not in gates and value not in (default, 0.0):
                of_these = " or ".join(f'"{gate}"' for gate in gates)
                raise ValueError(f'{key} = {value} belongs to gate = {of_these}, but gate = "{self.gate}"')
        return self

    @model_validator(mode="after")
    def _the_gate_can_do_it(self) -> MixtureOfExpertsSettings:
        if self.hierarchy is not None and self.gate == "expert-choice":
            raise ValueError(
                f'gate = "expert-choice" has one level, but hierarchy.groups = {self.hierarchy.groups}; '
                '"strictly-balanced" has two'
            )
        if self.hierarchy is not None and self.choice_bias_rate:
            raise ValueError(
                f"choice_bias_rate = {self.choice_bias_rate} is for gates of one level, but hierarchy.groups = "
                f"{self.hierarchy.groups}; importance_loss_weight balances both levels"
            )
        if self.choice_bias_rate and self.experts_per_token == self.num_experts:
            raise ValueError(
                f"choice_bias_rate = {self.choice_bias_rate} does nothing: experts_per_token = "
                f"{self.experts_per_token} are all of num_experts = {self.num_experts}"
            )
        return self


class Model(Settings):
    """The network (paper, section 5.3 and appendix E; GNMT where the paper is silent).

    A language model (appendix C) is a decoder alone: embedding, LSTM and MoE layers, output.
    """

    width: int = Field(
        default=256, ge=8, le=MOST_WIDTH, multiple_of=8, description="Size of every layer's input and output."
    )
    lstm_hidden: int = Field(
        default=0,
        ge=0,
        le=MOST_WIDTH,
        multiple_of=8,
        description="LSTM units, at least width; more than width adds a projection back to it; 0 means width.",
    )
    lstm_projection: bool = Field(
        default=False,
        description="A projection also where lstm_hidden is width (LSTM-512-512 of Jozefowicz et al.); slow, as no "
        "library has it.",
    )
    mogrifier_rounds: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Rounds in which an LSTM's input and its last output gate each other in turns before each step, "
        "with a matrix a round (Melis et al. 2019, arXiv 1909.01792: 5); slow, as no library has it. 0: none.",
    )
    encoder_layers: Layers = Field(
        default=2, description="Encoder LSTM layers; the bottom one is bidirectional and counts as one."
    )
    decoder_layers: Layers = Field(default=2, description="Decoder LSTM layers.")
    encoder_bottom: Literal["concatenate", "sum", "wide"] = Field(
        default="concatenate",
        description="Bidirectional layer: two directions of width / 2 side by side, or two of full width added, or "
        "(wide, as in GNMT) two of full width side by side for the layer above; no residuals around these layers.",
    )
    encoder_moe_after: tuple[Layers, ...] = Field(
        default=(), description="Encoder LSTM layers, from 1, that a mixture-of-experts layer follows."
    )
    decoder_moe_after: tuple[Layers, ...] = Field(
        default=(), description="Decoder LSTM layers, from 1, that a mixture-of-experts layer follows."
    )
    moe: MixtureOfExpertsSettings = Field(
        default=MixtureOfExpertsSettings(), description="The mixture-of-experts layers."
    )
    residual: bool = Field(default=True, description="Residual connections around LSTM and MoE layers.")
    bottom_residual: bool = Field(
        default=True,
        description="One also around the bottom LSTM layer of a language model or a decoder. It carries the embedding "
        "of the last word to the output, where with tied embeddings it speaks for that word again.",
    )
    dropout: Fraction = Field(
        default=0.3, description="Dropped share of the output of each embedding, LSTM and MoE layer."
    )
    locked_dropout: bool = Field(
        default=False,
        description="With dropout: all positions of a sentence (of a row of running text) drop the same elements "
        "(variational dropout, Gal and Ghahramani 2016).",
    )
    embedding_dropout: Fraction = Field(
        default=0.0, description="Dropped share of the words: one that is dropped is zeros everywhere in a batch."
    )
    weight_dropout: Fraction = Field(
        default=0.0,
        description="Dropped share of the weights of each LSTM's recurrent matrix, drawn for a batch and the same at "
        "all its positions (Merity et al. 2017, arXiv 1708.02182).",
    )
    attention: Literal["additive", "product"] = Field(
        default="product", description="Score function: additive is eq. 21 (GNMT), product is eq. 22."
    )
    output_attention: bool = Field(
        default=False,
        description="A second look at the source with the top layer's output as the query; what it sees is added to "
        "that output (Luong et al. 2015; not in the paper). From little text the model learns much faster.",
    )
    attention_width: int = Field(
        default=0, ge=0, le=MOST_WIDTH, description="Hidden size of the score function; 0 means width."
    )
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
    softmaxes: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Language models: softmaxes of which the output is a mixture (Yang et al. 2017, arXiv 1711.03953: "
        "15); each costs as much as the output layer.",
    )
    embedding_std: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Standard deviation of embeddings and output weights at the start; embeddings are read at unit "
        "variance whatever it is. 0 means 1 / sqrt(width). A tied language model whose output has no embedding in it "
        "(residual or bottom_residual = false) learns faster with twice as much (docs/benchmarks/lab_book.md).",
    )

    @property
    def lstm_units(self) -> int:
        """Return the number of units of each LSTM layer: ``lstm_hidden``, or ``width`` where that is 0."""
        return self.lstm_hidden or self.width

    @property
    def attention_units(self) -> int:
        """Return the hidden size of the attention's score function: ``attention_width``, or ``width`` where it is 0."""
        return self.attention_width or self.width

    @property
    def embedding_std_or_default(self) -> float:
        """Return the standard deviation of new embeddings: ``embedding_std``, where 0 stands for width^-1/2."""
        return self.embedding_std or self.width**-0.5

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
        if self.locked_dropout and not self.dropout:
            raise ValueError("locked_dropout = true does nothing: dropout = 0.0")
        if not self.residual and not self.bottom_residual:
            raise ValueError("bottom_residual = false does nothing: residual = false")
        if self.moe.kind == "mixture" and self.moe.gate == "expert-choice" and self.decoder_moe_after:
            raise ValueError(
                f'moe.gate = "expert-choice" is for encoders: with decoder_moe_after = {list(self.decoder_moe_after)} '
                "an expert would choose among all positions of a translation, and the prediction of a word would "
                'depend on words behind it; decoder_moe_after = [], or moe.gate = "softmax"'
            )
        default = MixtureOfExpertsSettings()
        if self.moe != default and not self.encoder_moe_after and not self.decoder_moe_after:
            raise ValueError(
                "the settings of moe do nothing: encoder_moe_after and decoder_moe_after name no layer that it follows"
            )
        return self
