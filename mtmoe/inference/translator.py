"""Text in, text out: a trained model as a user wants it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint import load_model, open_run
from mtmoe.config import load_recipe
from mtmoe.config.settings import Decoding
from mtmoe.device import choose_device
from mtmoe.errors import UserError
from mtmoe.inference.batching import batches_by_length
from mtmoe.inference.beam_search import Hypothesis, SearchOptions, search_all
from mtmoe.inference.lines import SourceLine, decode_line, encode_sources, encode_targets
from mtmoe.inference.precision import full_precision, lower_precision
from mtmoe.inference.scoring import force_decode
from mtmoe.progress import Progress, silent

_WINDOW_LINES = 2048


class Translation(NamedTuple):
    """The translation of one line."""

    text: str
    score: float = 0.0
    """GNMT's score, which ranks."""
    log_probability: float = 0.0
    """log P(text | source), natural logarithm: what ``mtmoe score`` gives for this text."""
    num_tokens: int = 0
    """Subwords of the text with the end of sentence; 0 if nothing was translated."""
    warning: str = ""
    """What the user should know, such as a source that was truncated."""
    alternatives: tuple[Translation, ...] = ()
    """Next best translations with other texts, in the order of the search."""


class Translator:
    """Translates with a trained run.

    >>> translator = Translator("runs/demo")                                             # doctest: +SKIP
    >>> [translation.text for translation in translator.translate(["Where is the station?"])]  # doctest: +SKIP
    ['Où est la gare ?']
    """

    def __init__(
        self,
        run: str | Path,
        *,
        device: str | None = None,
        checkpoint: str = "best",
        overrides: Iterable[str] = (),
    ) -> None:
        """Load a run directory of ``mtmoe train``.

        Args:
            run: the directory.
            device: cpu, cuda or cuda:N; by default cuda where there is one.
            checkpoint: best, last, a step, or the name of a checkpoint.
            overrides: decoding settings in place of the recipe's, such as ``"decoding.beam_size=8"``.

        Raises:
            UserError: no run, no such checkpoint, device or setting.
        """
        self.decoding = decoding_settings(run, overrides)
        self.loaded = load_model(run, checkpoint, choose_device(device))
        lower_precision(self.loaded.model, self.decoding.precision)
        self._device = next(self.loaded.model.parameters()).device

    def translate(self, lines: Sequence[str], num_best: int = 1, progress: Progress = silent) -> list[Translation]:
        """Translate lines; the result has one translation for each, in their order.

        A blank line gives an empty translation, and nothing is computed for it. A line separator inside a
        line (U+2028, a carriage return) is white space and does not divide it.

        Args:
            lines: source text, one sentence each.
            num_best: translations wanted of each line: the best, and alternatives if they are found.
            progress: told about sentences, in the stage "translate".

        Raises:
            UserError: ``num_best`` is more than the beam holds.
        """
        if isinstance(lines, str):
            raise ValueError("translate() takes a list of lines; for one line, write translate([line])")
        options = SearchOptions.from_settings(self.decoding, num_best=num_best)
        sources = encode_sources(lines, self.loaded.subwords, self.decoding)
        with full_precision():
            found = search_all(
                self.loaded.model,
                [source.ids for source in sources],
                options,
                batch_tokens=self.decoding.batch_tokens,
                device=self._device,
                progress=progress,
            )
            return self._translations(sources, found, options)

    def stream(self, lines: Iterable[str], num_best: int = 1) -> Iterator[Translation]:
        """Translate any number of lines, in order, with bounded memory.

        Lines are read up to 2,048 at a time, so that those of similar length can be translated together. From
        a pipe that must be answered at once, call :meth:`translate` with the lines that have come.
        """
        iterator = iter(lines)
        while window := list(itertools.islice(iterator, _WINDOW_LINES)):
            yield from self.translate(window, num_best)

    def _translations(
        self, sources: Sequence[SourceLine], found: list[list[Hypothesis]], options: SearchOptions
    ) -> list[Translation]:
        texts = [[decode_line(hypothesis.ids, self.loaded.subwords) for hypothesis in group] for group in found]
        found = self._as_encoded(sources, texts, found, options)
        translations = []
        for source, group, line_texts in zip(sources, found, texts, strict=True):
            limit = options.max_length(len(source.ids))
            distinct: dict[str, Translation] = {}
            for hypothesis, text in zip(group, line_texts, strict=True):
                distinct.setdefault(text, _translation(text, hypothesis, source.warning, limit))
            best, *others = distinct.values()
            translations.append(best._replace(alternatives=tuple(others)))
        return translations

    def _as_encoded(
        self,
        sources: Sequence[SourceLine],
        texts: list[list[str]],
        found: list[list[Hypothesis]],
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """The hypotheses with the probabilities of their texts as encoded anew.

        A text has many segmentations, and the one that the search found is not always the one that encoding
        gives. What is reported for a text must be reproducible from it, so such a text is scored again; the
        order of the hypotheses stays that of the search.
        """
        result = [list(group) for group in found]
        places = [(line, rank) for line, group in enumerate(found) for rank in range(len(group)) if sources[line].ids]
        encoded = encode_targets([texts[line][rank] for line, rank in places], self.loaded.subwords)
        other = [
            (place, tuple(ids))
            for place, ids in zip(places, encoded, strict=True)
            if tuple(ids) != found[place[0]][place[1]].ids
        ]
        batches = batches_by_length([sources[line].ids for (line, _), _ in other], self.decoding.batch_tokens)
        for indices, source_BS, lengths_B in batches:
            targets = [other[index][1] for index in indices]
            scored = force_decode(
                self.loaded.model, source_BS.to(self._device), lengths_B.to(self._device), targets, options
            )
            for index, hypothesis in zip(indices, scored, strict=True):
                line, rank = other[index][0]
                result[line][rank] = hypothesis._replace(cut_off=found[line][rank].cut_off)
        return result


def decoding_settings(run: str | Path, overrides: Iterable[str] = ()) -> Decoding:
    """The decoding settings of a run, with ``decoding.key=value`` overrides.

    Raises:
        UserError: not a run, not a decoding setting, or a value that is out of range.
    """
    overrides = tuple(overrides)
    for override in overrides:
        if not override.startswith("decoding."):
            raise UserError(
                f"--set {override}: the run is trained, so only decoding settings can change",
                fix="--set decoding.beam_size=8",
            )
    return load_recipe(open_run(Path(run)).recipe, overrides).decoding


def _translation(text: str, hypothesis: Hypothesis, source_warning: str, limit: int) -> Translation:
    cut_off = f"cut off at {limit} subwords (decoding.max_length_ratio)" if hypothesis.cut_off else ""
    return Translation(
        text=text,
        score=hypothesis.score,
        log_probability=hypothesis.log_probability,
        num_tokens=len(hypothesis.token_log_probabilities),
        warning="; ".join(filter(None, [source_warning, cut_off])),
    )
