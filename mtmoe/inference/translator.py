"""Text in, text out: a trained model as a user wants it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import check_file, open_run
from mtmoe.config import load_recipe
from mtmoe.config.settings import Decoding
from mtmoe.device import choose_device
from mtmoe.errors import UserError
from mtmoe.inference.constraints.line_constraints import LineConstraints, TermReport
from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.inference.models.ensemble_loading import load_together
from mtmoe.inference.models.inference_precision import full_precision, prepare_for_search
from mtmoe.inference.models.memory_trimming import MemoryTrimming
from mtmoe.inference.requests import Member, Request
from mtmoe.inference.scoring.forced_decoding import force_decode
from mtmoe.inference.scoring.rescoring import (
    Candidate,
    Rescorer,
    RescoringRuns,
    ScorePart,
    added_up,
    check_settings_are_used,
    with_parts,
)
from mtmoe.inference.search.beam_search import Hypothesis, SearchOptions, SearchTask, search_all
from mtmoe.inference.search.next_words.shortlist import ListedWords, shortlist_of
from mtmoe.inference.search.source_batching import batches_by_length
from mtmoe.inference.text.lines import (
    DividedLine,
    SourcePart,
    decode_lines,
    divide_sources,
    encode_targets,
    missing_language,
    space_after_part,
)
from mtmoe.inference.text.word_alignment import Links, align_words, word_numbers, words_of_subwords
from mtmoe.languages import has_spaces
from mtmoe.precision import check_precision
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import EOS, UNK

_WINDOW_LINES = 2048


class Translation(NamedTuple):
    """The translation of one line."""

    text: str
    score: float = 0.0
    """What ranks. GNMT's score of the subwords that the search found, which may spell the text in another way than it
    is encoded; where other models take part, that of `scoring/rescoring.py`, of the text as it is encoded.
    What soft terms added is in both. Of a line that was split, the sum over its parts."""
    log_probability: float = 0.0
    """log P(text | source), natural logarithm: what ``mtmoe score`` gives for this text. Of a line that was split,
    the sum over its parts. With ``decoding.shortlist`` it is normalised over the words of the shortlist and those of
    the text (and of soft terms), so it is higher; ``mtmoe score`` always takes the whole vocabulary."""
    num_tokens: int = 0
    """Subwords of the text with the end of sentence (of each part); 0 if nothing was translated."""
    tokens: tuple[str, ...] = ()
    """Those subwords."""
    token_log_probabilities: tuple[float, ...] = ()
    """Of each token, given those before it."""
    alignment: Links = ()
    """(word of the source, word of the translation), counted from 0, by attention; if it was asked for."""
    warnings: tuple[str, ...] = ()
    """What the user should know, such as a source that was truncated."""
    alternatives: tuple[Translation, ...] = ()
    """Next best translations with other texts, highest score first (samples as they were drawn)."""
    score_parts: tuple[ScorePart, ...] = ()
    """What other models added to the score: ``(log_probability + sum of weight x value) / lp + cp``."""
    terms: tuple[TermReport, ...] = ()
    """The terms of the source, and whether this text has them."""


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
        self._pieces = self.loaded.subwords.pieces
        data = self.loaded.recipe.data
        self._line_constraints = LineConstraints(
            self.decoding,
            self.loaded.subwords,
            terms,
            words_apart=has_spaces(data.source_language),
            targets_apart=has_spaces(data.target_language),
        )
        self._search_model = self._rescorer.searching(self.loaded.model)
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
                tasks=self._tasks(requests, sources),
                shortlist=self._shortlist,
                num_threads=torch.get_num_threads() if self._device.type == "cpu" else 1,
            )
            # Several are ranked by their scores where a line is split, and by other models; and what was found with a
            # language model has probabilities that are not the model's own.
            rescorer = self._rescorer
            as_encoded = with_scores or num_best > 1 or rescorer.runs.reranks or rescorer.fused is not None
            translated = iter(list(self._translated(parts, found, options, as_encoded=as_encoded)))
        if not parts:
            progress("translate", num_blank, num_blank, "sentences")
        self._memory_trimming.translated(len(parts))
        return [
            self._of_line(request, source, [next(translated) for _ in source.parts], num_best)
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
        while window := list(itertools.islice(iterator, _WINDOW_LINES)):
            requests = [line if isinstance(line, Request) else Request(line, number=n) for n, line in window]
            yield from self.translate(requests, num_best, with_alignment=with_alignment, with_scores=with_scores)

    def _translated(
        self,
        parts: Sequence[SourcePart],
        found: list[list[Hypothesis]],
        options: SearchOptions,
        *,
        as_encoded: bool,
    ) -> Iterator[list[Translation]]:
        """The translations of each part that have different texts, highest score first (samples as they were drawn).

        A score and the rank are of the same numbers: those of the search; where other models take part, which know
        nothing but texts, those of the texts.
        """
        decoded = iter(decode_lines([hypothesis.ids for group in found for hypothesis in group], self.loaded.subwords))
        texts = [list(itertools.islice(decoded, len(group))) for group in found]
        encoded = self._as_encoded(parts, texts, found, options) if as_encoded else found
        parts_of = self._score_parts_of(parts, texts, encoded)
        is_rescored = self._rescorer.runs.reranks or self._rescorer.fused is not None
        is_sorted = self._rescorer.runs.reranks or (is_rescored and not self.decoding.sampling)
        for place, (part, group) in enumerate(zip(parts, encoded, strict=True)):
            limit = options.max_length(len(part.ids))
            distinct: dict[str, Translation] = {}
            for rank, (hypothesis, text) in enumerate(zip(group, texts[place], strict=True)):
                cut_off = f"cut off at {limit} subwords (decoding.max_length_ratio)"
                score_parts = parts_of[place][rank]
                ranked = hypothesis if is_rescored else found[place][rank]
                translation = Translation(
                    text=text,
                    score=with_parts(ranked, score_parts, options.length_alpha).score + hypothesis.gain,
                    log_probability=hypothesis.log_probability,
                    num_tokens=len(hypothesis.token_log_probabilities),
                    tokens=tuple(self._pieces[i] for i in (*hypothesis.ids, EOS)),
                    token_log_probabilities=hypothesis.token_log_probabilities,
                    alignment=self._links(part, found[place][rank]),
                    warnings=(cut_off,) if hypothesis.cut_off else (),
                    score_parts=score_parts,
                )
                distinct.setdefault(text, translation)
            translations = list(distinct.values())
            yield sorted(translations, key=lambda t: -t.score) if is_sorted else translations

    def _score_parts_of(
        self, sources: Sequence[SourcePart], texts: list[list[str]], found: list[list[Hypothesis]]
    ) -> list[list[tuple[ScorePart, ...]]]:
        """What other models have to say of each hypothesis."""
        candidates = [
            Candidate(source.text, text, hypothesis)
            for source, of_source, group in zip(sources, texts, found, strict=True)
            for text, hypothesis in zip(of_source, group, strict=True)
        ]
        parts = iter(self._rescorer.parts(candidates))
        return [list(itertools.islice(parts, len(group))) for group in found]

    def _of_line(
        self, request: Request, source: DividedLine, of_parts: Sequence[Sequence[Translation]], num_best: int
    ) -> Translation:
        """The best translations of the parts, as those of the line; links count the words of the line as it came."""
        if not source.parts and (request.prefix or request.phrases):
            nothing = source.warning or "there is nothing to translate"
            source = source._replace(warning=f"{nothing}, so its prefix and phrases are left out")
        elif unknown := self._unwritable(request):
            cannot = f"the vocabulary cannot write {', '.join(map(repr, unknown))}, which is left out"
            source = source._replace(warning="; ".join(filter(None, [source.warning, cannot])))
        if source.parts and (missing := missing_language(request.text, self.loaded.recipe.data)):
            source = source._replace(warning="; ".join(filter(None, [source.warning, missing])))
        glue = space_after_part(source, self.loaded.recipe.data)
        has_links = any(t.alignment for translations in of_parts for t in translations)
        numbers = word_numbers(request.text) if has_links else []
        joined: dict[str, Translation] = {}
        for translations in best_combinations(of_parts, num_best):
            whole = translations[0] if len(translations) == 1 else _together(translations, glue)
            links: list[tuple[int, int]] = []
            num_words = 0
            for part, translation in zip(source.parts, translations, strict=True):
                goes_on = num_words and not glue
                first = num_words - bool(goes_on)
                links += [(numbers[part.word_of_line(i)], first + j) for i, j in translation.alignment]
                num_words = first + len(translation.text.split())
            terms, lost = self._line_constraints.report(request.text, [part.text for part in source.parts], whole.text)
            warnings = dict.fromkeys(filter(None, (source.warning, *whole.warnings, *lost)))
            whole = whole._replace(alignment=tuple(dict.fromkeys(links)), warnings=tuple(warnings), terms=terms)
            joined.setdefault(whole.text, whole)
        best, *others = joined.values()
        return best._replace(alternatives=tuple(others))

    def _tasks(self, requests: Sequence[Request], sources: Sequence[DividedLine]) -> list[SearchTask]:
        """What is asked of the translation of each part: a line begins as its first part does."""
        subwords = self.loaded.subwords
        tasks = []
        for request, source in zip(requests, sources, strict=True):
            prefix_ids: list[int] = []
            if request.prefix:
                [prefix_ids] = encode_targets([request.prefix], subwords)
                # What the vocabulary cannot write cannot be had; the line's warnings tell of it.
                prefix_ids = [] if UNK in prefix_ids else prefix_ids
            for place, part in enumerate(source.parts):
                task = SearchTask(tuple(prefix_ids) if place == 0 else (), number=request.number)
                tasks.append(self._line_constraints.added(task, part, request.phrases))
        return tasks

    def _unwritable(self, request: Request) -> list[str]:
        """The prefix and phrases that the vocabulary has no subwords for."""
        if not (request.prefix or request.phrases):
            return []
        asked = [text for text in (request.prefix, *request.phrases) if text]
        return [
            text for text, ids in zip(asked, encode_targets(asked, self.loaded.subwords), strict=True) if UNK in ids
        ]

    def _links(self, part: SourcePart, hypothesis: Hypothesis) -> Links:
        """From what the search found, and not from its text as encoded anew."""
        if hypothesis.attention is None:
            return ()
        source_words, target_words = (words_of_subwords(ids, self._pieces) for ids in (part.ids, hypothesis.ids))
        return align_words(hypothesis.attention, source_words, target_words)

    def _as_encoded(
        self,
        sources: Sequence[SourcePart],
        texts: list[list[str]],
        found: list[list[Hypothesis]],
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """The hypotheses with the probabilities of their texts as encoded anew.

        A text has many segmentations, and the one that the search found is not always the one that encoding
        gives. What is reported for a text must be reproducible from it, so such a text is scored again, and
        every one of a search whose log-probabilities are not the model's alone; the order of the hypotheses stays that
        of the search.
        """
        result = [list(group) for group in found]
        places = [(line, rank) for line, group in enumerate(found) for rank in range(len(group))]
        encoded = encode_targets([texts[line][rank] for line, rank in places], self.loaded.subwords)
        other = [
            (place, tuple(ids))
            for place, ids in zip(places, encoded, strict=True)
            if self._rescorer.fused is not None or tuple(ids) != found[place[0]][place[1]].ids
        ]
        batch_tokens = max(1, self.decoding.batch_tokens // self.decoding.beam_size)
        batches = batches_by_length([sources[line].ids for (line, _), _ in other], batch_tokens)
        for indices, source_BS, lengths_B in batches:
            targets = [other[index][1] for index in indices]
            listed = None
            if self._shortlist is not None:
                listed = ListedWords(self.loaded.model, self._shortlist, self._device)
                own_sources = [sources[other[index][0][0]].ids for index in indices]
                listed.enter(range(len(indices)), own_sources, targets)
            scored = force_decode(
                self.loaded.model, source_BS.to(self._device), lengths_B.to(self._device), targets, options, listed
            )
            for index, hypothesis in zip(indices, scored, strict=True):
                line, rank = other[index][0]
                result[line][rank] = hypothesis._replace(cut_off=found[line][rank].cut_off, gain=found[line][rank].gain)
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


def _together(translations: Sequence[Translation], glue: str) -> Translation:
    """The translations of the parts of a line as one of the line; a part of a line links nothing of it yet."""
    return Translation(
        text=glue.join(t.text for t in translations),
        score=sum(t.score for t in translations),
        log_probability=sum(t.log_probability for t in translations),
        num_tokens=sum(t.num_tokens for t in translations),
        tokens=tuple(token for t in translations for token in t.tokens),
        token_log_probabilities=tuple(p for t in translations for p in t.token_log_probabilities),
        score_parts=added_up([t.score_parts for t in translations]),
        warnings=tuple(w for t in translations for w in t.warnings),
    )


def best_combinations(of_parts: Sequence[Sequence[Translation]], num_best: int) -> list[tuple[Translation, ...]]:
    """The ways to put together one translation of each part that have the highest sums of scores, best first.

    The first of all parts are the first: a score that is higher than that of a translation before it (the text
    was scored anew) counts as equal.
    """
    combinations: list[tuple[float, tuple[Translation, ...]]] = [(0.0, ())]
    for translations in of_parts:
        scores = itertools.accumulate((t.score for t in translations), min)
        choices = list(zip(scores, translations, strict=True))
        longer = [(total + score, (*before, t)) for total, before in combinations for score, t in choices]
        combinations = sorted(longer, key=lambda combination: -combination[0])[:num_best]
    return [translations for _, translations in combinations]
