"""Explainer: translates lines and tells how each translation came about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.explanation.ablation import contributions
from mtmoe.explanation.explanation import LineExplanation, PartExplanation, WithoutExpert
from mtmoe.explanation.recording import record
from mtmoe.explanation.stepping import Pair
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.model.expert_layers import expert_layers, without_experts
from mtmoe.model.translation import TranslationModel
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import EOS


class ExplanationOptions(NamedTuple):
    """How much is told. num_alternatives: of each token. with_ablation: contributions of the experts.
    num_without: experts of each line without which it is translated again, those that contribute most."""

    num_alternatives: int = 4
    with_ablation: bool = True
    num_without: int = 3


DEFAULTS = ExplanationOptions()
_TOKENS_AT_ONCE = 512
"""Few enough that sentences of a batch are of like length: what has ended is computed on to the end of the longest."""


class Explainer:
    """Explains the translations that a run gives.

    >>> explainer = Explainer("runs/demo")                                         # doctest: +SKIP
    >>> [line] = explainer.explain(["Where is the station?"])                      # doctest: +SKIP
    """

    def __init__(
        self,
        run: str | Path,
        *,
        device: str | None = None,
        checkpoint: str = "best",
        overrides: Iterable[str] = (),
        options: ExplanationOptions = DEFAULTS,
    ) -> None:
        """Load a run; the arguments are those of :class:`mtmoe.inference.translator.Translator`.

        Raises:
            UserError: as it does.
        """
        self.options = options
        self.translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides)
        model = self.translator.loaded.model
        assert isinstance(model, TranslationModel)  # one run is no ensemble
        self._model = model
        self._pieces = self.translator.loaded.subwords.pieces
        self._ids = {piece: number for number, piece in enumerate(self._pieces)}
        decoding = self.translator.decoding
        self._batch_tokens = max(1, min(decoding.batch_tokens // decoding.beam_size, _TOKENS_AT_ONCE))

    def explain(self, lines: Sequence[str], progress: Progress = silent) -> list[LineExplanation]:
        """Translate lines and explain each, by itself: the others change nothing of it.

        Args:
            lines: source text, one sentence each.
            progress: told of the stages "translate", "ablate" (sentences) and "translate without" (experts).
        """
        requests = [Request(line, number=number) for number, line in enumerate(lines)]
        translations = self.translator.translate(requests, progress=progress)
        pairs_of_lines = [self._pairs(translation) for translation in translations]
        recorded = iter(
            record(
                self._model,
                [pair for pairs in pairs_of_lines for pair in pairs],
                self._pieces,
                self.options.num_alternatives,
                self._batch_tokens,
            )
        )
        explained = []
        for number, (pairs, translation) in enumerate(zip(pairs_of_lines, translations, strict=True)):
            parts = tuple(self._part(pair, next(recorded)) for pair in pairs)
            layers = tuple(expert_layers(self._model))
            explained.append(LineExplanation(lines[number], translation, layers, parts, ()))
            if self.options.with_ablation:
                progress("ablate", number + 1, len(lines), "sentences")
        return self._with_translations_without(requests, explained, progress)

    def _pairs(self, translation: Translation) -> list[Pair]:
        """Return the ids that were read and written, for each part of a line."""
        sides = (self._sentences(tokens) for tokens in (translation.source_tokens, translation.tokens))
        return list(zip(*sides, strict=True))

    def _sentences(self, tokens: Sequence[str]) -> list[list[int]]:
        """Return the ids of tokens, divided at each end of sentence."""
        sentences: list[list[int]] = [[]]
        for token in tokens:
            if self._ids[token] == EOS:
                sentences.append([])
            else:
                sentences[-1].append(self._ids[token])
        return sentences[:-1]

    def _part(self, pair: Pair, recorded: PartExplanation) -> PartExplanation:
        if not self.options.with_ablation:
            return recorded
        return recorded._replace(contributions=contributions(self._model, pair, recorded, self._batch_tokens))

    def _with_translations_without(
        self, requests: Sequence[Request], explained: Sequence[LineExplanation], progress: Progress
    ) -> list[LineExplanation]:
        """Translate each line again without each of the experts that contribute most to it.

        Lines that are translated without the same expert are translated together.
        """
        of_experts: dict[tuple[str, int], list[int]] = defaultdict(list)
        wanted = [self._most_important(line) for line in explained]
        for number, chosen in enumerate(wanted):
            for key in chosen:
                of_experts[key].append(number)
        layers = expert_layers(self._model)
        texts: dict[tuple[tuple[str, int], int], str] = {}
        for done, ((layer, expert), numbers) in enumerate(sorted(of_experts.items()), start=1):
            with without_experts(layers, {layer: expert}):
                found = self.translator.translate([requests[number] for number in numbers], with_scores=False)
            texts |= {((layer, expert), n): translation.text for n, translation in zip(numbers, found, strict=True)}
            progress("translate without", done, len(of_experts), "experts")
        return [
            line._replace(
                without=tuple(
                    WithoutExpert(*expert, contribution, texts[expert, number])
                    for expert, contribution in wanted[number].items()
                )
            )
            for number, line in enumerate(explained)
        ]

    def _most_important(self, line: LineExplanation) -> dict[tuple[str, int], float]:
        """Return the experts whose contributions to the line are largest, for better or worse, and these."""
        sums: dict[tuple[str, int], float] = defaultdict(float)
        for part in line.parts:
            for it in part.contributions:
                sums[it.layer, it.expert] += it.log_probability
        ordered = sorted(sums, key=lambda key: (-abs(sums[key]), key))
        return {key: sums[key] for key in ordered[: self.options.num_without]}
