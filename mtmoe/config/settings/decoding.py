"""``[decoding]``: from a model to translations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mtmoe.config.placeholder_patterns import PASSED_THROUGH, placeholder_pattern
from mtmoe.config.settings.base import (
    MOST_BEAM,
    MOST_VOCABULARY,
    BatchTokens,
    Beam,
    Margin,
    Seed,
    Settings,
    TokensOfSentence,
    Unit,
)


class DiverseBeams(Settings):
    """Groups of hypotheses that are kept apart, so that alternatives differ in more than a word (Vijayakumar et al.
    2018). A group chooses after those before it, and pays for a word that they have chosen at the same position."""

    groups: int = Field(ge=2, le=MOST_BEAM, description="Groups, which share beam_size evenly.")
    penalty: float = Field(
        default=0.5, gt=0, le=100, description="Log-probability that each earlier choice of a word takes from it."
    )


class Sampling(Settings):
    """Words are drawn from the model's distribution instead of searched for; alternatives are further samples."""

    temperature: float = Field(default=1.0, ge=1e-6, le=100, description="Divides the logits; below 1: likelier words.")
    top_k: int = Field(
        default=0,
        ge=0,
        le=MOST_VOCABULARY,
        description="Draw from so many of the likeliest words only; 0 means from all.",
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the fewest words only that have this probability together."
    )
    seed: Seed = Field(default=1, description="What is drawn for a line depends on it and on the line's number alone.")


MOST_CANDIDATES = 100
"""Target subwords that the lexicon of a data directory has for a source subword at most."""


class Shortlist(Settings):
    """Words of a translation are looked for among likely ones of its own source, not in all of the vocabulary.

    Scores are normalised over these words, and so are higher than those of ``mtmoe score``.
    """

    per_source_token: int = Field(
        default=10,
        ge=0,
        le=MOST_CANDIDATES,
        description="Likely target subwords of each source subword, by the lexicon that preprocessing learned.",
    )
    frequent: int = Field(
        default=1000,
        ge=0,
        le=MOST_VOCABULARY,
        description="Most frequent target subwords of the training text, which are allowed always.",
    )


class LanguageModelFusion(Settings):
    """Shallow fusion (translate --lm): each step of the search adds weight x log p of a language model. See score in
    `mtmoe translate --help`."""

    weight: float = Field(default=0.2, gt=0, le=10, description="With --lm: weight of the language model.")


class Reranking(Settings):
    """Candidates of the search, put in another order (translate --rerank-lm, --rerank-channel).

    score(Y, X) + (language_model_weight x log P_lm(Y) + channel_weight x log P(X|Y) + length_bonus x |Y|) / lp(Y)
    """

    candidates: Beam | None = Field(
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


class MinimumBayesRisk(Settings):
    """Of the candidates of a sentence not the one of the highest score, but the one that is most like all of them.

    Their likeness is measured as quality is, and each counts by its probability (of samples, by how often it was
    drawn). Alternatives are ranked alike.
    """

    candidates: Beam | None = Field(
        default=None,
        description="Translations of a sentence to choose from; samples, with [decoding.sampling]. Absent: as many as "
        "beam_size.",
    )
    utility: Literal["chrf", "bleu"] = Field(
        default="chrf", description="What likeness is: sacreBLEU's sentence chrF2, or sentence BLEU."
    )
    weight_temperature: float = Field(
        default=1.0,
        ge=1e-6,
        le=1e6,
        description="Candidates of a beam count by exp(log P / weight_temperature): a large one lets all count alike.",
    )


class Decoding(Settings):
    """Beam search with GNMT's score (Wu et al. 2016, section 7)."""

    mode: Literal["fast", "exact"] = Field(
        default="fast",
        description="fast: on a CPU precision, early_stopping and beam_margin are, where they have their defaults, "
        "those that the training has found on its dev set to lose at most 0.1 BLEU (mtmoe tune-decoding RUN finds them "
        "anew); scores are of full precision, and alternatives are searched for with precision alone. exact: as they "
        "stand here.",
    )
    beam_size: Beam = Field(default=5, description="Hypotheses kept at each step.")
    length_alpha: float = Field(default=0.2, ge=0, le=5, description="alpha of GNMT's length term lp(Y).")
    coverage_beta: float = Field(default=0.2, ge=0, le=5, description="beta of GNMT's coverage term cp(X;Y).")
    prune_margin: Margin = Field(
        default=3.0, description="GNMT's beamsize: hypotheses further below the best (log score) are dropped."
    )
    beam_margin: Margin | None = Field(
        default=None,
        description="Hypotheses that are further behind the likeliest one of their beam (difference of log "
        "probabilities) are dropped, so that clear sentences need fewer of them. Not where phrases, terms or "
        "placeholders are asked for; with a beam of 1 there is nothing to drop. Absent: only beam_size limits them.",
    )
    early_stopping: Literal["full", "exact", "best"] = Field(
        default="full",
        description="When a sentence is done. full: when beam_size translations are finished, or earlier if no other "
        "can come up to them (heuristic: a better one may be missed); best: also when no unfinished one would score "
        "higher than the best one if it ended now (heuristic, and the fastest; of alternatives there may be fewer); "
        "exact: only when no other can come up to those that are wanted (provably what searching to the greatest "
        "length gives).",
    )
    diverse_beams: DiverseBeams | None = Field(default=None, description="Absent: one beam.")
    sampling: Sampling | None = Field(default=None, description="Absent: beam search.")
    shortlist: Shortlist | None = Field(default=None, description="Absent: all of the vocabulary.")
    language_model: LanguageModelFusion = Field(default=LanguageModelFusion(), description="With --lm.")
    reranking: Reranking = Field(default=Reranking(), description="With --rerank-lm or --rerank-channel.")
    minimum_bayes_risk: MinimumBayesRisk | None = Field(
        default=None, description="Absent: the translation of the highest score."
    )
    max_length_ratio: float = Field(
        default=2.0, ge=0.01, le=100, description="Longest translation, in subwords per source subword."
    )
    max_length_extra: Annotated[int, Unit("subwords")] = Field(
        default=10, ge=0, le=100_000, description="Subwords allowed on top of max_length_ratio."
    )
    min_length_ratio: float = Field(
        default=0.0, ge=0, le=100, description="Shortest translation, in subwords per source subword."
    )
    no_repeat_ngram: Annotated[int, Unit("subwords")] = Field(
        default=0,
        ge=0,
        le=1000,
        description="No sequence of so many subwords comes twice in a translation; 0 allows it.",
    )
    no_loops: bool = Field(
        default=True,
        description="No phrase stands in a row more often than people write it: a word of fewer than 4 letters three "
        "times, a phrase of fewer than 8 twice, a longer one once; nor do few different words follow each other, each "
        "three times, or the same signs six times without a space. More often where the source repeats something as "
        "often.",
    )
    pass_through: tuple[str, ...] = Field(
        default=PASSED_THROUGH,
        description="What comes out as it went in, once each and in order: any of urls, emails, tags (<b>, </b>), "
        "braces ({name}, ${0}, {{ name }}), printf (%s, %(name)d), emoji, formatted-numbers (1,000.50, 12:30), "
        "numbers, and regular expressions between slashes; [] for nothing. The source is translated without them, and "
        "they are put back where the attention says that they belong. Numbers are translated with the rest; those that "
        "do not come out whole, whatever signs are between their digits, are put back in a second search. What takes "
        "longer than a second to find in a line is left to the model, with a warning.",
    )
    usual_case: bool = Field(
        default=True,
        description="A line in capitals (two words or more) is translated in small letters, and its translation is put "
        "in capitals; one in Title Case (four words or more) is translated in small letters. Not with a prefix, "
        "phrases, terms, or expressions of your own in pass_through or placeholders. Scores are of the small letters. "
        "false: for models that were trained on capitals (data.augmentation.upper, title).",
    )
    usual_spelling: bool = Field(
        default=True,
        description="A word that neither the training text nor the dictionary of the source language has is read as "
        "the word of that text that it is one typing error away from, if there is one. What was read so is in JSON "
        "(corrections). For ar, de, en, es, eu, fa, fr, it, lv, nl, pt and ru. Not with a prefix, phrases, terms, or "
        "expressions of your own in pass_through or placeholders. Scores are of what was read.",
    )
    placeholders: tuple[str, ...] = Field(
        default=(),
        description="What the search itself must write just as the source has it, once each and in order: any of the "
        "kinds of pass_through. It is for models that were trained on such text; what the vocabulary cannot write "
        "passes through. What takes longer than a second to find in a line is left to the model, with a warning.",
    )
    soft_terms: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="With --terms. Absent: each is sure to be in the translation. Else how likely it is to be copied "
        "where the model attends to it: a sentence in which it does not fit goes without.",
    )
    max_source_tokens: TokensOfSentence = Field(default=400, description="Longest source sentence, in subwords.")
    over_long: Literal["split", "truncate", "empty"] = Field(
        default="split",
        description="A longer source line: translate its sentences one by one, only its beginning, or nothing.",
    )
    batch_tokens: BatchTokens = Field(
        default=65536,
        description="Source tokens of a batch times beam size, padding included; not a quality setting. Large batches "
        "are faster, above all where rows are spread over many experts.",
    )
    precision: Literal["fp32", "bf16", "int8", "bf16-int8"] = Field(
        default="fp32",
        description="Arithmetic of translating with a trained run. int8: weights and inputs of 8 bits, but for the "
        "gates; the fastest, on any CPU. bf16: on GPUs, and on CPUs that have such arithmetic. bf16-int8: bf16, but 8 "
        "bits for the decoder's LSTMs and, without a shortlist, the output layer (of --lm, too). All of them give "
        "slightly other translations, and scores that agree with mtmoe score to 1% or so only.",
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
        if self.diverse_beams and self.beam_margin is not None:
            raise ValueError(
                f"beam_margin = {self.beam_margin} would drop what diverse_beams (penalty = "
                f"{self.diverse_beams.penalty}) has let in"
            )
        candidates = self.reranking.candidates
        if candidates is not None and candidates > self.beam_size and self.sampling is None:
            raise ValueError(f"reranking.candidates = {candidates} is more than beam_size = {self.beam_size}")
        return self

    @model_validator(mode="after")
    def _has_candidates_to_compare(self) -> Decoding:
        risk = self.minimum_bayes_risk
        if risk is None:
            return self
        if risk.candidates is not None and risk.candidates > self.beam_size and self.sampling is None:
            raise ValueError(
                f"minimum_bayes_risk.candidates = {risk.candidates} is more than beam_size = {self.beam_size}"
            )
        if risk.candidates is None and self.sampling is not None:
            raise ValueError(
                f"minimum_bayes_risk.candidates is missing: the number of samples (seed = {self.sampling.seed})"
            )
        if self.sampling is not None and risk.weight_temperature != 1:
            raise ValueError(
                f"minimum_bayes_risk.weight_temperature = {risk.weight_temperature} does nothing: samples (seed = "
                f"{self.sampling.seed}) count as often as they are drawn"
            )
        return self

    @model_validator(mode="after")
    def _placeholders_are_understood(self) -> Decoding:
        placeholder_pattern(self.pass_through, "pass_through")
        placeholder_pattern(self.placeholders)
        for key in ("sampling", "diverse_beams"):
            if self.placeholders and getattr(self, key):
                raise ValueError(f"placeholders = {list(self.placeholders)} needs one beam, but [{key}] is on")
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
        for key in ("beam_size", "prune_margin", "beam_margin", "early_stopping"):
            value, default = getattr(self, key), Decoding.model_fields[key].default
            if value != default and not (key == "beam_size" and value == 1):
                raise ValueError(
                    f"{key} = {value} belongs to beam search, but [sampling] (seed = {self.sampling.seed}) draws words"
                )
        return self
