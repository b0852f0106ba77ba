"""Translator: a trained model that translates lines of text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import ModelSource, open_model
from mtmoe.config.settings import Decoding
from mtmoe.data.prepared.lexicon import LEXICON_NAME, parse_lexicon
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME, parse_source_words
from mtmoe.data.repetition import has_loop
from mtmoe.data.word_dictionaries import dictionary_of
from mtmoe.device import choose_device
from mtmoe.errors import UserError
from mtmoe.inference.constraints.line_constraints import LineConstraints
from mtmoe.inference.constraints.pass_through import Masking, PassThrough
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.inference.divided_lines import LineAssembly
from mtmoe.inference.fast_decoding import fast_decoding_of
from mtmoe.inference.letter_case import CaseOfLine, in_case_of_line, in_usual_case
from mtmoe.inference.models.ensemble_loading import load_together
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.models.memory_trimming import MemoryTrimming
from mtmoe.inference.models.search_models import is_compiled, search_model_of
from mtmoe.inference.requests import Member, Request, Wanted
from mtmoe.inference.scoring.confidence import load_confidence
from mtmoe.inference.scoring.minimum_bayes_risk import MinimumBayesRisk
from mtmoe.inference.scoring.n_best_lists import NBestLists
from mtmoe.inference.scoring.reencoding import Reencoder
from mtmoe.inference.scoring.rescoring import Rescorer, RescoringRuns, check_settings_are_used
from mtmoe.inference.search.beam_search import open_search, search_all
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.next_words.shortlist import shortlist_of
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SourceQueue, SourceSearch
from mtmoe.inference.text.lines import DividedLine, SourcePart, decode_line
from mtmoe.inference.text.stand_ins import copied_names
from mtmoe.inference.text.typing_errors import Correction, TypingErrors, as_typed
from mtmoe.inference.text.unmasking import has_stand_ins
from mtmoe.inference.translation import Translation
from mtmoe.languages import has_spaces
from mtmoe.precision import check_precision
from mtmoe.progress import Progress, silent

WINDOW_LINES = 2048


class LineRead(NamedTuple):
    """A line as it came, and as it is translated: without typing errors, in the usual case."""

    as_written: Request
    case: CaseOfLine
    request: Request
    corrections: tuple[Correction, ...]


class LinePass(NamedTuple):
    """How a line is searched. masking: what is masked of it. settled: texts of its parts that are translated once more
    as they were before."""

    masking: Masking = Masking()
    settled: frozenset[str] = frozenset()


class _Flaws(NamedTuple):
    """What is wrong with the translation of a line.

    lacks_stand_ins: one of the source is not there just once. loops: a part of it does. settled: texts of the parts
    that do not, where others do.
    """

    lacks_stand_ins: bool
    loops: bool
    settled: frozenset[str] = frozenset()


class Work(NamedTuple):
    """Lines, the parts that they are translated in, and what these must have."""

    requests: Sequence[Request]
    sources: Sequence[DividedLine]
    parts: Sequence[SourcePart]
    options: SearchOptions
    line_constraints: LineConstraints
    tasks: Sequence[SearchTask]

    @property
    def num_blank(self) -> int:
        """Return the number of lines that have nothing to translate."""
        return sum(not source.parts for source in self.sources)

    def told_by(self, progress: Progress) -> Progress:
        """Return what tells of parts and counts blank lines as done."""
        num_blank = self.num_blank

        def told(stage: str, done: int, total: int | None, unit: str) -> None:
            progress(stage, done + num_blank, None if total is None else total + num_blank, unit)

        return told


class Translator:
    """Translates with a trained run.

    >>> translator = Translator("runs/demo")                                             # doctest: +SKIP
    >>> [translation.text for translation in translator.translate(["Where is the station?"])]  # doctest: +SKIP
    ['Où est la gare ?']
    """

    def __init__(
        self,
        run: str | Path | ModelSource,
        *,
        device: str | None = None,
        checkpoint: str = "best",
        overrides: Iterable[str] = (),
        ensemble: Sequence[Member] = (),
        terms: Terminology | None = None,
        soft_terms: float | None = None,
        rescoring: RescoringRuns | None = None,
    ) -> None:
        """Load a run directory of ``mtmoe train``, or a package of ``mtmoe package``.

        Args:
            run: the directory or the package's file, or what :func:`mtmoe.checkpoint.open_model` made of it.
            device: cpu, cuda or cuda:N; by default cuda where there is one.
            checkpoint: best, last, a step, the name of a checkpoint, or the mean of several (``last:3``, ``best:3``).
            overrides: decoding settings in place of the recipe's, such as ``"decoding.beam_size=8"``.
            ensemble: further runs with the same subwords that translate together with this one.
            terms: how terms are to be translated (:func:`mtmoe.inference.constraints.terminology.read_terms`).
            soft_terms: ``decoding.soft_terms`` where neither recipe nor overrides say anything: for terms of requests.
            rescoring: runs of other models that take part in the search or in its ranking.

        Raises:
            UserError: no run, no such checkpoint, device or setting; runs that do not go with it; terms, but no beam;
                a precision that the device has no arithmetic for.
        """
        overrides, rescoring = tuple(overrides), rescoring or RescoringRuns()
        source = open_model(run)
        self.decoding = decoding_settings(source, overrides)
        if soft_terms is None:
            check_settings_are_used(overrides, rescoring, terms)
        elif not any(override.startswith("decoding.soft_terms") for override in overrides):
            self.decoding = self.decoding.model_copy(update={"soft_terms": self.decoding.soft_terms or soft_terms})
        _check_one_chooses(self.decoding, rescoring)
        chosen = choose_device(device)
        self._own_decoding = self.decoding
        check_precision(chosen, self.decoding.precision, "decoding.precision", "--set decoding.precision=fp32")
        self.loaded = load_together(source, ensemble, checkpoint, chosen)
        if chosen.type == "cpu" and not any(rescoring):
            compiles = is_compiled(self.loaded.model, self.decoding.precision)
            self.decoding = fast_decoding_of(self.decoding, source, overrides, is_compiled=compiles)
        translating = search_model_of(
            self.loaded.model, self.decoding.precision, with_shortlist=self.decoding.shortlist is not None
        )
        self._device = next(self.loaded.model.parameters()).device
        self._rescorer = Rescorer(rescoring, self.loaded, self.decoding, self._device)
        self._shortlist = shortlist_of(
            self.decoding,
            lambda: parse_lexicon(source.read(LEXICON_NAME), source.shown(LEXICON_NAME), self.loaded.subwords.size),
        )
        data = self.loaded.recipe.data
        self._terms = terms
        self._typing_errors = self._errors_of_typing(source)
        self._line_constraints = self._constraints_of(compares_text=False)
        user_symbols = self.loaded.recipe.subwords.user_symbols
        names = partial(copied_names, source, self.loaded.subwords)
        self._pass_through = PassThrough(self.decoding, self.loaded.subwords, data, user_symbols, names)
        self.search_model = self._rescorer.searching(translating)
        batch_tokens = max(1, self.decoding.batch_tokens // self.decoding.beam_size)
        # Precision that nobody has asked for is of the search alone.
        is_rough = self.decoding.precision != self._own_decoding.precision
        reencoder = Reencoder(
            self.loaded.model if is_rough else translating,
            self.loaded.subwords,
            self._shortlist,
            self._device,
            batch_tokens,
            scores_all=is_rough or self._rescorer.fused is not None,
        )
        has_risk = self.decoding.minimum_bayes_risk is not None
        self._risk = MinimumBayesRisk(self.decoding, data.target_language) if has_risk else None
        self.n_best_lists = NBestLists(
            self.loaded.subwords,
            self.decoding,
            reencoder,
            self._rescorer,
            risk=self._risk,
            words_apart=has_spaces(data.target_language),
        )
        self.calibration = load_confidence(
            source,
            self.loaded.checkpoint.name,
            self.decoding,
            is_alone=not ensemble and self._rescorer.fused is None and not rescoring.reranks,
            is_mean=":" in checkpoint,
        )
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
        as_written = [line if isinstance(line, Request) else Request(line, number=n) for n, line in enumerate(lines)]
        read = [self.read(request) for request in as_written]
        wanted = Wanted(num_best, with_alignment, with_scores)
        translations = [Translation("")] * len(read)
        waiting = list(range(len(read)))
        passes = [LinePass()] * len(read)
        told = progress
        for line_constraints in self.constraints_in_turn():
            work = self.prepared([(read[i], passes[i]) for i in waiting], wanted, line_constraints)
            with full_precision():
                found = search_all(
                    self.search_model,
                    [part.ids for part in work.parts],
                    work.options,
                    batch_tokens=self.decoding.batch_tokens,
                    device=self._device,
                    progress=work.told_by(told),
                    tasks=work.tasks,
                    shortlist=self._shortlist,
                    num_threads=torch.get_num_threads() if self._device.type == "cpu" else 1,
                )
                assembled = list(self.assembled(work, found, wanted))
            for index, translation in zip(waiting, assembled, strict=True):
                translations[index] = translation
            if not work.parts:
                told("translate", work.num_blank, work.num_blank, "sentences")
            self._memory_trimming.translated(len(work.parts))
            better = zip(waiting, self.once_more([read[i] for i in waiting], work, found, assembled), strict=True)
            again = {index: line_pass for index, line_pass in better if line_pass is not None}
            waiting = list(again)
            for index, line_pass in again.items():
                passes[index] = line_pass
            if not waiting:
                break
            told = silent
        return [self.finished(line, translation, wanted) for line, translation in zip(read, translations, strict=True)]

    # ----------------------------------- the steps of a line, which `continuous_translation.py` takes one by one, too

    def read(self, request: Request) -> LineRead:
        """Return a line as it is translated."""
        case = self._in_usual_case(request)
        read = case.request
        corrections: tuple[Correction, ...] = ()
        if self._typing_errors is not None and not (read.prefix or read.phrases or read.terms):
            text, corrections = self._typing_errors.corrected(read.text)
            read = read._replace(text=text) if corrections else read
        return LineRead(request, case, read, corrections)

    def once_more(
        self,
        lines: Sequence[LineRead],
        work: Work,
        found: Sequence[Sequence[Hypothesis]],
        translations: Sequence[Translation],
    ) -> Iterator[LinePass | None]:
        """Yield for each line of a search how it is searched once more, because its translation lacks a number or a
        stand-in, or has a loop; None where it is good.

        Args:
            work: of these lines; found: the hypotheses of its parts; translations: what they were assembled to.
        """
        in_circles = [self._is_in_circles(translation) for translation in translations]
        flaws_of_lines = self._flaws(work, found, in_circles)
        for line, translation, flaws in zip(lines, translations, flaws_of_lines, strict=True):
            lost_numbers = self._pass_through.lost_numbers(line.request.text, translation.text)
            masking = Masking(bool(lost_numbers), not flaws.lacks_stand_ins)
            if masking != Masking():
                yield LinePass(masking)
            else:
                yield LinePass(settled=flaws.settled) if flaws.loops else None

    def finished(self, line: LineRead, translation: Translation, wanted: Wanted) -> Translation:
        """Return the last translation of a line as it is told: in the case of the line, with all that is known."""
        final = in_case_of_line(translation, line.case)
        final = final._replace(corrections=as_typed(line.corrections, line.as_written.text))
        if self.calibration is None or not wanted.with_scores:
            return final
        return final._replace(confidence=self.calibration.probability(line.as_written.text, final))

    def _in_usual_case(self, request: Request) -> CaseOfLine:
        """Return the line as it is translated; as it is written if terms or expressions may depend on its case."""
        if not self.decoding.usual_case or self._depends_on_letters or request.terms:
            return CaseOfLine(request)
        return in_usual_case(request, self.loaded.recipe.data)

    @cached_property
    def _depends_on_letters(self) -> bool:
        """Whether terms or expressions are looked for, which may depend on case and spelling."""
        names = (*self.decoding.pass_through, *self.decoding.placeholders)
        return bool(self._terms) or any(name.startswith("/") for name in names)

    def _errors_of_typing(self, source: ModelSource) -> TypingErrors | None:
        """Return what finds them; None if the run has no words to compare with, or spelling is left as it is."""
        language = self.loaded.recipe.data.source_language
        if not self.decoding.usual_spelling or self._depends_on_letters:
            return None
        content = source.read(SOURCE_WORDS_NAME)
        if content is None:
            return None
        counts = parse_source_words(content, source.shown(SOURCE_WORDS_NAME))
        return TypingErrors(counts, partial(dictionary_of, language), language)

    def constraints_in_turn(self) -> Iterator[LineConstraints]:
        """Yield the constraints of all lines, and then those of lines that are searched once more."""
        yield self._line_constraints
        yield self._strict_constraints

    @cached_property
    def _strict_constraints(self) -> LineConstraints:
        """Return constraints that compare phrases by their text: slower, and seldom needed."""
        return self._constraints_of(compares_text=True)

    def _is_in_circles(self, translation: Translation) -> bool:
        return self.decoding.no_loops and "loop" in translation.suspicions

    def _constraints_of(self, *, compares_text: bool) -> LineConstraints:
        data = self.loaded.recipe.data
        return LineConstraints(
            self.decoding,
            self.loaded.subwords,
            self._terms,
            words_apart=has_spaces(data.source_language),
            targets_apart=has_spaces(data.target_language),
            compares_text=compares_text,
        )

    def prepared(
        self, lines: Sequence[tuple[LineRead, LinePass]], wanted: Wanted, line_constraints: LineConstraints
    ) -> Work:
        """Divide lines into parts, and say what their translations must have.

        Args:
            lines: as they were read, and how each is searched.
        """
        requests = [line.request for line, _ in lines]
        sources = self._pass_through.divided(requests, [line_pass.masking for _, line_pass in lines])
        parts = [part for source in sources for part in source.parts]
        keep_attention = wanted.with_alignment or any(part.items for part in parts)
        options = self.search_options(wanted, keep_attention=keep_attention)
        tasks = line_constraints.tasks(requests, sources)
        if any(line_pass.settled for _, line_pass in lines):
            usual_tasks = self._line_constraints.tasks(requests, sources)
            are_settled = [
                part.text in line_pass.settled
                for source, (_, line_pass) in zip(sources, lines, strict=True)
                for part in source.parts
            ]
            choices = zip(are_settled, usual_tasks, tasks, strict=True)
            tasks = [usual if is_settled else task for is_settled, usual, task in choices]
        return Work(requests, sources, parts, options, line_constraints, tasks)

    def _flaws(
        self, work: Work, found: Sequence[Sequence[Hypothesis]], are_suspicious: Sequence[bool]
    ) -> Iterator[_Flaws]:
        """Yield what of each line should be searched for once more.

        Args:
            are_suspicious: of each line, whether its translation loops, as a whole.
        """
        hypotheses = iter(found)
        for source, is_suspicious in zip(work.sources, are_suspicious, strict=True):
            parts = [(part, next(hypotheses)) for part in source.parts]
            lacks_stand_ins = any(
                not has_stand_ins(self._text(of_part[0]), part.items)
                for part, of_part in parts
                if any(item.stand_in for item in part.items)
            )
            if len(parts) <= 1 or not self.decoding.no_loops:
                yield _Flaws(lacks_stand_ins, is_suspicious)
                continue
            # As if each were a line of its own: what a part repeats, the others may explain.
            loops = [has_loop(self._text(of_part[0]), part.text) for part, of_part in parts]
            settled = [part.text for (part, _), loop in zip(parts, loops, strict=True) if not loop]
            yield _Flaws(lacks_stand_ins, any(loops), frozenset(settled))

    def _text(self, hypothesis: Hypothesis) -> str:
        return decode_line(hypothesis.ids, self.loaded.subwords)

    @property
    def is_on_cpu(self) -> bool:
        """Return whether it computes on the processor."""
        return self._device.type == "cpu"

    def search_options(self, wanted: Wanted, *, keep_attention: bool) -> SearchOptions:
        """Return the options of the search for what is wanted of translations."""
        num_candidates = self._num_candidates(wanted.num_best)
        # What stops early, or drops what is behind, has fewer alternatives.
        decoding = self.decoding if num_candidates == 1 else self._own_decoding
        return SearchOptions.from_settings(decoding, num_best=num_candidates, keep_attention=keep_attention)

    def open_search(self, options: SearchOptions, waiting: SourceQueue) -> SourceSearch:
        """Return a search that sources can enter at any time."""
        return open_search(
            self.search_model, options, self.decoding.batch_tokens, self._device, self._shortlist, waiting
        )

    def _num_candidates(self, num_best: int) -> int:
        """Return how many hypotheses the search is to find of each sentence, so that ``num_best`` can be chosen."""
        if self._risk is None:
            return self._rescorer.num_candidates(num_best)
        self._risk.check_num_best(num_best)
        return self._risk.num_candidates

    def assembled(self, work: Work, found: Sequence[Sequence[Hypothesis]], wanted: Wanted) -> Iterator[Translation]:
        """Yield the translation of each line, of what was found for its parts."""
        # Several are ranked by their scores where a line is split, and by other models; and what was found with a
        # language model has probabilities that are not the model's own.
        rescorer = self._rescorer
        as_encoded = wanted.with_scores or wanted.num_best > 1 or rescorer.runs.reranks or rescorer.fused is not None
        translated = self.n_best_lists.translations(
            work.parts,
            found,
            work.options,
            as_encoded=as_encoded,
            with_alignment=wanted.with_alignment,
            prefix_lengths=[len(task.prefix_ids) for task in work.tasks],
        )
        assembly = LineAssembly(
            self.loaded.subwords, self.loaded.recipe.data, work.line_constraints, self._pass_through
        )
        for request, source in zip(work.requests, work.sources, strict=True):
            yield assembly.translation(request, source, [next(translated) for _ in source.parts], wanted.num_best)

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


def _check_one_chooses(decoding: Decoding, rescoring: RescoringRuns) -> None:
    """Raise UserError if candidates were to be ranked in two ways."""
    if decoding.minimum_bayes_risk is not None and rescoring.reranks:
        raise UserError(
            f"decoding.minimum_bayes_risk (utility = {decoding.minimum_bayes_risk.utility}) and --rerank-lm or "
            "--rerank-channel both choose among candidates",
            fix="leave the runs out, or --set decoding.minimum_bayes_risk=false",
        )


def decoding_settings(run: str | Path | ModelSource, overrides: Iterable[str] = ()) -> Decoding:
    """Return the decoding settings of a run or package, with ``decoding.key=value`` overrides.

    Raises:
        UserError: neither of them, not a decoding setting, or a value that is out of range.
    """
    overrides = tuple(overrides)
    for override in overrides:
        if not override.startswith("decoding."):
            raise UserError(
                f"--set {override}: the run is trained, so only decoding settings can change",
                fix="--set decoding.beam_size=8",
            )
    return open_model(run).recipe(overrides).decoding
