"""What is told of one line and its translation, as values, and the same for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mtmoe.inference.translation import Translation

_DIGITS = 6


class ChosenExpert(NamedTuple):
    """An expert that a gate chose for a token.

    gate: G(x)_i; those of a token sum to 1 in each layer (to its scale with a sigmoid gate, to nothing in particular
    with expert choice). share: of the layer's output y = sum_i G(x)_i E_i(x), before its sigmoid and without shared
    experts, what this expert adds along it: <G(x)_i E_i(x), y> / <y, y>. These sum to 1, and one that points the other
    way is negative. 0 where y is 0.
    """

    expert: int
    gate: float
    share: float


class SourceToken(NamedTuple):
    """A subword of the source, or its end, and its experts by encoder layer, the largest gate first."""

    text: str
    experts: Mapping[str, tuple[ChosenExpert, ...]]


class Alternative(NamedTuple):
    """A subword that could have stood there. probability: of the whole vocabulary, given the tokens before."""

    text: str
    probability: float


class TargetToken(NamedTuple):
    """A subword of the translation, or its end.

    log_probability: given those before it. alternatives: the likeliest others. attention: what was looked at in the
    source when it was chosen, a number for each source token, with the sum 1. experts: those that took part in choosing
    it, by decoder layer; what they were given is the token before it.
    """

    text: str
    log_probability: float
    alternatives: tuple[Alternative, ...]
    attention: tuple[float, ...]
    experts: Mapping[str, tuple[ChosenExpert, ...]]


class Contribution(NamedTuple):
    """What one expert contributes to log P of the translation: log P(Y|X) - log P(Y|X without it).

    Without it means what :func:`mtmoe.model.expert_layers.without_expert` says. num_tokens: for which it was chosen.
    of_tokens: the same difference for each token of the translation, whose sum it is. Contributions of several experts
    do not add up: one may do what another would.
    """

    layer: str
    expert: int
    num_tokens: int
    log_probability: float
    of_tokens: tuple[float, ...]


class PartExplanation(NamedTuple):
    """A part of a line that was translated at once; most lines have one. contributions: the largest first, of those
    experts that were chosen for any of its tokens; all others contribute 0."""

    source: tuple[SourceToken, ...]
    target: tuple[TargetToken, ...]
    contributions: tuple[Contribution, ...]


class WithoutExpert(NamedTuple):
    """What a line becomes where one expert is left out. contribution: of it to log P of the line's translation."""

    layer: str
    expert: int
    contribution: float
    text: str


class LineExplanation(NamedTuple):
    """One line. layers: expert layers in the order of the network. translation: the one that is explained."""

    source: str
    translation: Translation
    layers: tuple[str, ...]
    parts: tuple[PartExplanation, ...]
    without: tuple[WithoutExpert, ...]

    @property
    def log_probability(self) -> float:
        """Return log P of the translation, over the whole vocabulary, as ``mtmoe score`` has it."""
        return sum(token.log_probability for part in self.parts for token in part.target)


def as_json(line: LineExplanation) -> dict[str, Any]:
    """Return a line for JSON."""
    return {
        "source": line.source,
        "translation": line.translation.text,
        "log_probability": _rounded(line.log_probability),
        "warnings": line.translation.warnings,
        "layers": line.layers,
        "parts": [
            {
                "source_tokens": [{"token": t.text, "experts": _experts(t.experts)} for t in part.source],
                "target_tokens": [_target(token) for token in part.target],
                "contributions": [
                    {
                        "layer": it.layer,
                        "expert": it.expert,
                        "num_tokens": it.num_tokens,
                        "log_probability": _rounded(it.log_probability),
                        "of_tokens": [_rounded(value) for value in it.of_tokens],
                    }
                    for it in part.contributions
                ],
            }
            for part in line.parts
        ],
        "without": [
            {
                "layer": it.layer,
                "expert": it.expert,
                "contribution": _rounded(it.contribution),
                "translation": it.text,
            }
            for it in line.without
        ],
    }


def _target(token: TargetToken) -> dict[str, Any]:
    return {
        "token": token.text,
        "log_probability": _rounded(token.log_probability),
        "alternatives": [{"token": it.text, "probability": _rounded(it.probability)} for it in token.alternatives],
        "attention": [_rounded(value) for value in token.attention],
        "experts": _experts(token.experts),
    }


def _experts(experts: Mapping[str, tuple[ChosenExpert, ...]]) -> dict[str, list[dict[str, Any]]]:
    return {
        layer: [{"expert": it.expert, "gate": _rounded(it.gate), "share": _rounded(it.share)} for it in chosen]
        for layer, chosen in experts.items()
    }


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
