"""Translator: a trained model that translates lines of text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from mtmoe.checkpoint import check_file, open_run
from mtmoe.config import load_recipe
from mtmoe.config.settings import Decoding
from mtmoe.device import choose_device
from mtmoe.errors import UserError
from mtmoe.inference.constraints.line_constraints import LineConstraints
from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.inference.divided_lines import LineAssembly
from mtmoe.inference.models.ensemble_loading import load_together
from mtmoe.inference.models.inference_precision import full_precision, prepare_for_search
from mtmoe.inference.models.memory_trimming import MemoryTrimming
from mtmoe.inference.requests import Member, Request
from mtmoe.inference.scoring.n_best_lists import NBestLists
from mtmoe.inference.scoring.reencoding import Reencoder
from mtmoe.inference.scoring.rescoring import Rescorer, RescoringRuns, check_settings_are_used
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.next_words.shortlist import shortlist_of
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.text.lines import divide_sources
from mtmoe.inference.translation import Translation
from mtmoe.languages import has_spaces
from mtmoe.precision import check_precision
from mtmoe.progress import Progress, silent

WINDOW_LINES = 2048


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
        ensemble: Sequence[Member] = (),
        terms: Terminology | None = None,
        rescoring: RescoringRuns | None = None,
    ) -> None:
        """Load a run directory of ``mtmoe train``.

        Args:
            run: the directory.
            device: cpu, cuda or cuda:N; by default cuda where there is one.
            checkpoint: best, last, a step, the name of a checkpoint, or the mean of several (``last:3``, ``best:3``).
            overrides: decoding settings in place of the recipe's, such as ``"decoding.beam_size=8"``.
            ensemble: further runs with the same subwords that translate together with this one.
            terms: how terms are to be translated (:func:`mtmoe.inference.constraints.terminology.read_terms`).
            rescoring: runs of other models that take part in the search or in its ranking.

        Raises:
            UserError: no run, no such checkpoint, device or setting; runs that do not go with it; terms, but no beam;
                a precision that the device has no arithmetic for.
        """
        overrides, rescoring = tuple(overrides), rescoring or RescoringRuns()
        self.decoding = decoding_settings(run, overrides)
        check_settings_are_used(overrides, rescoring, terms)
        chosen = choose_device(device)
        check_precision(chosen, self.decoding.precision, "decoding.precision", "--set decoding.precision=fp32")
        self.loaded = load_together(run, ensemble, checkpoint, chosen)
        prepare_for_search(
            self.loaded.model, self.decoding.precision, with_shortlist=self.decoding.shortlist is not None
        )
        self._device = next(self.loaded.model.parameters()).device
        self._rescorer = Rescorer(rescoring, self.loaded, self.decoding, self._device)
        run_files = open_run(Path(run))
        lexicon = check_file(run_files, run_files.lexicon) if self.decoding.shortlist is not None else run_files.lexicon
        self._shortlist = shortlist_of(self.decoding, lexicon, self.loaded.subwords.size)
        data = self.loaded.recipe.data
        self._line_constraints = LineConstraints(
            self.decoding,
            self.loaded.subwords,
            terms,
            words_apart=has_spaces(data.source_language),
            targets_apart=has_spaces(data.target_language),
        )
        self._search_model = self._rescorer.searching(self.loaded.model)
        batch_tokens = max(1, self.decoding.batch_tokens // self.decoding.beam_size)
        scores_all = self._rescorer.fused is not None
        reencoder = Reencoder(self.loaded, self._shortlist, self._device, batch_tokens, scores_all=scores_all)
        self.n_best_lists = NBestLists(self.loaded.subwords, self.decoding, reencoder, self._rescorer)
        self._memory_trimming = MemoryTrimming()

    def translate(
        self,
        lines: Sequence[str | Request],
        num_best: int = 1,
        *,
        with_alignment: bool = False,
        with_scores: bool = True,
        progress: Progress = silent,
    ) -> list[Translation]:
        """Translate lines; the result has one translation for each, in their order.

        A blank line gives an empty translation, and nothing is computed for it. A line separator inside a
        line (U+2028, a carriage return) is white space and does not divide it.

        Args:
            lines: source text, one sentence each, or requests that say more than the text. A string is the
                request of its text alone, with its place as number.
            num_best: translations wanted of each line: the best, and alternatives if they are found.
            with_alignment: fill in :attr:`Translation.alignment`.
            with_scores: the numbers and tokens of each translation are those of its text as ``mtmoe score`` reads it.
                Without, they are those of the subwords that the search found, which may spell the text in another way;
                texts are the same, and about a tenth of the time is saved (but not with ``num_best`` above 1 or with
                other models, for which they are needed).
            progress: told about sentences, in the stage "translate"; the parts of a line that is split are
                sentences of their own.

        Raises:
            UserError: ``num_best`` is more than the beam holds.
        """
        if isinstance(lines, str):
            raise ValueError("translate() takes a list of lines; for one line, write translate([line])")
        requests = [line if isinstance(line, Request) else Request(line, number=n) for n, line in enumerate(lines)]
        options = SearchOptions.from_settings(
            self.decoding, num_best=self._rescorer.num_candidates(num_best), keep_attention=with_alignment
        )
        # Which part of a line a phrase belongs to is not known, so such a line stays whole.
        whole = [bool(request.phrases) for request in requests]
        texts = [request.text for request in requests]
        sources = divide_sources(texts, self.loaded.subwords, self.decoding, self.loaded.recipe.data, whole=whole)
        parts = [part for source in sources for part in source.parts]
        num_blank = sum(not source.parts for source in sources)

        def with_blank_lines(stage: str, done: int, total: int | None, unit: str) -> None:
            progress(stage, done + num_blank, None if total is None else total + num_blank, unit)

        with full_precision():
            found = search_all(
                self._search_model,
                [part.ids for part in parts],
                options,
                batch_tokens=self.decoding.batch_tokens,
                device=self._device,
                progress=with_blank_lines,
                tasks=self._line_constraints.tasks(requests, sources),
                shortlist=self._shortlist,
                num_threads=torch.get_num_threads() if self._device.type == "cpu" else 1,
            )
            # Several are ranked by their scores where a line is split, and by other models; and what was found with a
            # language model has probabilities that are not the model's own.
            rescorer = self._rescorer
            as_encoded = with_scores or num_best > 1 or rescorer.runs.reranks or rescorer.fused is not None
            translated = iter(list(self.n_best_lists.translations(parts, found, options, as_encoded=as_encoded)))
        if not parts:
            progress("translate", num_blank, num_blank, "sentences")
        self._memory_trimming.translated(len(parts))
        assembly = LineAssembly(self.loaded.subwords, self.loaded.recipe.data, self._line_constraints)
        return [
            assembly.translation(request, source, [next(translated) for _ in source.parts], num_best)
            for request, source in zip(requests, sources, strict=True)
        ]

    def stream(
        self,
        lines: Iterable[str | Request],
        num_best: int = 1,
        *,
        with_alignment: bool = False,
        with_scores: bool = True,
    ) -> Iterator[Translation]:
        """Translate any number of lines, in order, with bounded memory.

        Lines are read up to 2,048 at a time, so that those of similar length can be translated together. From
        a pipe that must be answered at once, call :meth:`translate` with the lines that have come.
        """
        iterator = enumerate(lines)
        while window := list(itertools.islice(iterator, WINDOW_LINES)):
            requests = [line if isinstance(line, Request) else Request(line, number=n) for n, line in window]
            yield from self.translate(requests, num_best, with_alignment=with_alignment, with_scores=with_scores)


def decoding_settings(run: str | Path, overrides: Iterable[str] = ()) -> Decoding:
    """Return the decoding settings of a run, with ``decoding.key=value`` overrides.

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
