"""Beam search with GNMT's score, greedy search, diverse beams and sampling, of any number of sources.

Sources are searched many at a time. One that is done leaves, and when enough have left others enter, so that the
model always has about as many rows to work on. They may come at any time (`search_source.py`): what is found for a
source depends on nothing but the source and the constraints on its translation.

A step: the decoder reads the last words; decoding rules say what may come (`search_constraints.py`); the candidates are
found (`candidates.py`) and pruned; some end (`finished_hypotheses.py`), some go on (`selection/`), until the beam is
done (`early_stopping.py`).

Letters: B sentences (sources, by their places), Q beams, X active hypotheses (rows of the decoder), C candidates of a
hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import Copying
from mtmoe.inference.search.active_hypotheses import ActiveHypotheses, widened
from mtmoe.inference.search.back_pointers import BackPointers, Step
from mtmoe.inference.search.candidates import CandidateExpansion, Candidates
from mtmoe.inference.search.early_stopping import can_still_win
from mtmoe.inference.search.finished_hypotheses import FinishedHypotheses, FinishedHypothesis, best_of_beams
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.search.hypothesis import NOTHING, Hypothesis
from mtmoe.inference.search.next_words.shortlist import Shortlist
from mtmoe.inference.search.places import Places, with_room_for
from mtmoe.inference.search.search_constraints import SearchConstraints, copying_after
from mtmoe.inference.search.search_model import MemoryT, SearchModel, StateT
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import (
    SearchesItself,
    SearchSource,
    SourceQueue,
    SourceSearch,
    num_entering,
)
from mtmoe.inference.search.selection.beam_allocation import select_with_banks
from mtmoe.inference.search.selection.best_candidates import Cells, Selection
from mtmoe.inference.search.selection.diverse_beams import select_diverse
from mtmoe.inference.search.selection.pruning import is_near_best
from mtmoe.inference.search.source_batching import pad_with_eos, runs_of_like_length
from mtmoe.inference.search.threads import MAX_SEARCHES, WaitingSources, run_in_threads
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import BOS

__all__ = ["NOTHING", "Hypothesis", "SearchOptions", "SearchTask", "search_all"]

_FEWEST_ENCODED = 32
"""Sources that are encoded together, if there are so many."""


def search_all(
    model: SearchModel[MemoryT, StateT],
    sources: Sequence[Sequence[int]],
    options: SearchOptions,
    *,
    batch_tokens: int,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
    tasks: Sequence[SearchTask] | None = None,
    shortlist: Shortlist | None = None,
    num_threads: int = 1,
) -> list[list[Hypothesis]]:
    """Search for the hypotheses of every source with the highest GNMT score.

    At each step, the candidates of a sentence are the extensions of its active hypotheses that are at most
    ``prune_margin`` less likely than the likeliest extension of the same hypothesis (GNMT's first pruning).
    Of the ``beam_size`` likeliest candidates those that are EOS are finished; of the others the ``beam_size`` likeliest
    go on, except those that are more than ``beam_margin`` behind the likeliest. (All candidates of a step have one
    length, so dividing by lp would not reorder them; the coverage of an unfinished sentence says nothing, so it counts
    from EOS on.)

    A finished hypothesis that scores more than ``prune_margin`` below the best one is dropped (GNMT's second
    pruning), and so is an active one of which no ending could score higher than that. A sentence is done when no active
    one could still enter the ``num_best``, at the latest at the greatest length, where every active hypothesis ends in
    EOS at the probability that the model gives to it; unless ``early_stopping = "exact"`` also when ``beam_size``
    finished hypotheses are kept; with ``"best"`` also when no active one, as long as it is now, scores higher than the
    best finished one. PAD, UNK and BOS are never produced, though their probability is not given to the others:
    log-probabilities are those of the model. With a beam of 1 this is greedy search.

    Diverse beams are such searches side by side (`selection/diverse_beams.py`). Samples are drawn
    word by word (:func:`mtmoe.inference.search.next_words.sampling.sample_words`), without any pruning.

    What a task requires is always in the translation (`constraints/`): words of a prefix or a phrase are candidates
    whatever their probability, EOS is none before all is there, and the greatest length grows if it has no room for it
    all. Soft terms are more likely than the model finds them (`constraints/soft_terms.py`) while it searches; the
    log-probabilities and scores of what it finds are those of the model.

    Args:
        model: in evaluation mode, on ``device``.
        sources: subword ids without special symbols; one without ids gives ``[NOTHING]``.
        batch_tokens: source tokens that are searched at a time, times hypotheses of each, padding included.
        tasks: constraints on each translation; by default none.
        shortlist: which words to look among, and to normalise probabilities over; by default all. What a task
            requires is always among them.
        num_threads: of the processor, for up to four searches side by side, which share the sources, ``batch_tokens``
            and the model. With 1 torch computes with as many as it has been told to.

    Returns:
        For each source 1 to ``num_best`` hypotheses, best first (samples: as they were drawn).

    Raises:
        UserError: the model's output is not a number; or a task has phrases, but words are drawn, or beams diverse.
    """
    tasks = [SearchTask(number=number) for number in range(len(sources))] if tasks is None else tasks
    if len(tasks) != len(sources):
        raise ValueError(f"{len(tasks)} tasks for {len(sources)} sources")
    if shortlist is not None and options.sampling:
        raise ValueError("words are drawn from all of the vocabulary, not from a shortlist")
    results = [[NOTHING] for _ in sources]
    worded = [
        SearchSource.of(index, source, task, options)
        for index, (source, task) in enumerate(zip(sources, tasks, strict=True))
        if len(source)
    ]
    done = len(sources) - len(worded)
    num_searches = max(1, min(num_threads, MAX_SEARCHES, len(worded)))
    waiting = WaitingSources(worded, num_searches=num_searches)
    searches = [
        open_search(model, options, batch_tokens // num_searches, device, shortlist, waiting, takes_all=True)
        for _ in range(num_searches)
    ]
    found = run_in_threads([search.run for search in searches], num_threads) if num_searches > 1 else searches[0].run()
    for item in found:
        if item is None:
            continue
        index, hypotheses = item
        results[index] = hypotheses
        done += 1
        progress("translate", done, len(sources), "sentences")
    return results


def open_search(
    model: SearchModel[MemoryT, StateT],
    options: SearchOptions,
    batch_tokens: int,
    device: torch.device | str,
    shortlist: Shortlist | None,
    waiting: SourceQueue,
    *,
    takes_all: bool = False,
) -> SourceSearch:
    """Return a search among sources: the model's own, which leaves to :class:`BeamSearch` what it does not know, or
    that alone.

    Args:
        takes_all: whether all sources wait already. Else some may come after any step.
    """
    others = partial(BeamSearch[Any, Any], model, options, batch_tokens, device, shortlist)
    if shortlist is None and isinstance(model, SearchesItself):
        not_words = SearchConstraints(options).not_words
        search = model.open_search(options, batch_tokens, waiting, others, not_words, takes_all=takes_all)
        if search is not None:
            return search
    return others(waiting)


class BeamSearch(Generic[MemoryT, StateT]):
    """A search among sources that it takes one after the other from those that wait."""

    def __init__(
        self,
        model: SearchModel[MemoryT, StateT],
        options: SearchOptions,
        batch_tokens: int,
        device: torch.device | str,
        shortlist: Shortlist | None,
        waiting: SourceQueue,
    ) -> None:
        """Get ready to search; arguments as for :func:`search_all`, ``waiting``: the sources to take."""
        self.model, self.options, self.device, self.waiting = model, options, device, waiting
        self.num_beams = options.num_beams
        self.capacity = batch_tokens // (self.num_beams * options.width)
        self.constraints = SearchConstraints(options)
        self.expansion = CandidateExpansion(model, options, self.constraints, shortlist, device)
        self.finished = FinishedHypotheses(options)
        self.step = 0
        self.places = Places()
        self.source_of_place: dict[int, SearchSource] = {}
        self.source_length_B = np.zeros(0, dtype=np.int64)
        self.first_step_B = np.zeros(0, dtype=np.int64)
        self.back_pointers = BackPointers()
        self._dropped: set[int] = set()

    @torch.inference_mode()
    def run(self) -> Iterator[tuple[int, list[Hypothesis]] | None]:
        """Yield keys of sources and their hypotheses, as they are done; None after each step, where one can stop, and
        where sources can be added to those that wait.

        It ends when none is left. It can then be called again.
        """
        active = self._with_new_sources(None)
        while active is not None:
            before = active
            hidden_XD, attention_XS, state = self.model.decode_step(active.tokens_X, active.state)
            active = self._extended(active._replace(state=state), hidden_XD, attention_XS)
            self.step += 1
            yield from self._sources_done(before, active)
            yield None
            active = self._with_new_sources(active if len(active.beam_X) else None)
            first = self.step if active is None else int(self.first_step_B[active.beam_X // self.num_beams].min())
            self.back_pointers.forget_before(first)

    # ------------------------------------------------------------------------------------------ coming and going

    def drop(self, keys: Iterable[int]) -> None:
        """Search no longer for sources that have entered; with the next step they leave, and nothing is told of them.

        To be called between two steps.
        """
        self._dropped.update(keys)

    def _with_new_sources(self, active: ActiveHypotheses[StateT] | None) -> ActiveHypotheses[StateT] | None:
        """Return the active hypotheses with those of the sources for which there is room."""
        sources = self._next_sources(active)
        if not sources:
            return active
        new = self._started(sources)
        return new if active is None else active.join(new)

    def _next_sources(self, active: ActiveHypotheses[StateT] | None) -> list[SearchSource]:
        if self.waiting.is_over:
            return []
        inside = np.unique(active.beam_X // self.num_beams) if active is not None else np.zeros(0, dtype=np.int64)
        longest = int(self.source_length_B[inside].max(initial=0))

        num_wanted = partial(num_entering, capacity=self.capacity, num_inside=len(inside), longest=longest)
        return self.waiting.take(num_wanted)

    def _started(self, sources: list[SearchSource]) -> ActiveHypotheses[StateT]:
        """Encode sources and return their empty hypotheses."""
        state, lengths_B = self._encoded([source.ids for source in sources])
        places = [self._enter(source) for source in sources]
        self.expansion.enter(places, sources)
        rows_X = np.repeat(np.arange(len(sources)), self.num_beams)
        beam_X = np.concatenate([self.options.beams_of(place) for place in places])
        active = ActiveHypotheses(
            beam_X=np.arange(len(sources)),
            length_X=np.zeros(len(beam_X), dtype=np.int64),
            log_probability_X=np.zeros(len(beam_X)),
            ids_X=[()] * len(beam_X),
            copying_X=[()] * len(beam_X),
            tokens_X=torch.full((len(beam_X),), BOS, device=self.device),
            coverage_XS=torch.zeros(
                len(sources), int(lengths_B.max()) if self.options.coverage_beta else 0, device=self.device
            ),
            source_lengths_X=lengths_B,
            state=state,
        )
        return active.select(rows_X)._replace(beam_X=beam_X)

    def _enter(self, source: SearchSource) -> int:
        """Give a source a place; return it."""
        place = self.places.take()
        self.source_of_place[place] = source
        self.source_length_B = with_room_for(self.source_length_B, place)
        self.first_step_B = with_room_for(self.first_step_B, place)
        self.source_length_B[place], self.first_step_B[place] = len(source.ids) + 1, self.step
        self.constraints.enter(place, source.constraints)
        for beam in self.options.beams_of(place):
            self.finished.enter(beam, source.constraints.max_length)
        return place

    def _leave(self, place: int) -> tuple[SearchSource, list[list[FinishedHypothesis]]]:
        """Free the place of a source; return it and the finished hypotheses of its beams."""
        self.expansion.leave(place)
        self.constraints.leave(place)
        self.places.give_back(place)
        finished = [self.finished.leave(beam) for beam in self.options.beams_of(place)]
        return self.source_of_place.pop(place), finished

    def _encoded(self, sources: Sequence[Sequence[int]]) -> tuple[StateT, Tensor]:
        """Return the state before the first step, and lengths_B, EOS counted."""
        # A processor's time goes into every position, padding or not; a GPU waits for as many steps as there are.
        fewest = _FEWEST_ENCODED if torch.device(self.device).type == "cpu" else len(sources)
        parts = []
        for run in runs_of_like_length([len(source) for source in sources], fewest):
            source_BS, lengths_B = pad_with_eos(sources[run], self.device)
            parts.append((self.model.initial_state(self.model.encode(source_BS, lengths_B)), lengths_B))
        (state, *states), lengths = zip(*parts, strict=True)
        return state.join(*states) if states else state, torch.cat(lengths)

    def _sources_done(
        self, before: ActiveHypotheses[StateT], after: ActiveHypotheses[StateT]
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yield what was found for the sources that have no active hypothesis any more."""
        gone = set((before.beam_X // self.num_beams).tolist()).difference((after.beam_X // self.num_beams).tolist())
        for source, of_beams in [self._leave(place) for place in sorted(gone)]:
            if source.key in self._dropped:
                self._dropped.remove(source.key)
                continue
            found = [[self._hypothesis(one, source) for one in beam[: self.options.num_best]] for beam in of_beams]
            yield source.key, best_of_beams(found, self.options)

    def _hypothesis(self, finished: FinishedHypothesis, source: SearchSource) -> Hypothesis:
        """Return a finished hypothesis of a source, word by word."""
        path = self.back_pointers.path(finished)
        log_probability, gain = finished.log_probability, 0.0
        if source.task.soft_terms:  # they have decided what is found, and are in nothing that is told of it
            log_probability = sum(reversed(path.log_probabilities))
            added = finished.log_probability - log_probability
            gain = added / length_penalty(finished.num_tokens, self.options.length_alpha)
        attention = None
        if self.options.keep_attention and source.keep_attention:
            attention = self.back_pointers.attention(finished.step, path.rows, len(source.ids) + 1)
        return Hypothesis(
            ids=path.ids,
            log_probability=log_probability,
            score=finished.score - gain,
            token_log_probabilities=path.log_probabilities,
            cut_off=finished.cut_off,
            attention=attention,
            gain=gain,
        )

    # ---------------------------------------------------------------------------------------------------- a step

    def _extended(
        self, active: ActiveHypotheses[StateT], hidden_XD: Tensor, attention_XS: Tensor
    ) -> ActiveHypotheses[StateT]:
        """Return the hypotheses that go on after a step; those that end join the finished ones."""
        if self.options.coverage_beta:
            coverage_XS = widened(active.coverage_XS, attention_XS.shape[1]) + attention_XS
            active = active._replace(coverage_XS=coverage_XS)
        is_last_X = active.length_X >= self.finished.max_length_Q[active.beam_X]
        restrictions = self.constraints.restrictions(active, attention_XS, is_last_X)
        candidates = self.expansion.expand(hidden_XD, active, restrictions)
        allowed_XC = self.expansion.allowed(candidates, restrictions, is_last_X)
        scores_XC = active.log_probability_X[:, None] + allowed_XC
        selection = self._selection(scores_XC, candidates.words_XC, active)
        self._finish(selection.finished, scores_XC, candidates, active)
        going_on = self._worth_extending(selection.continuing, scores_XC, active)
        words_X, log_probabilities_X = candidates.words_XC[going_on], candidates.log_probabilities_XC[going_on]
        attention = attention_XS if self.options.keep_attention else None
        step = Step(going_on.rows.tolist(), words_X.tolist(), log_probabilities_X.tolist(), attention)
        self.back_pointers.record(self.step, step)
        ids_X: list[tuple[int, ...]] = [()] * len(words_X)
        copying_X: list[tuple[Copying, ...]] = [()] * len(words_X)
        if self.constraints.restricts_steps:
            ids_X = [(*active.ids_X[row], word) for row, word in zip(step.parents_X, step.tokens_X, strict=True)]
        if self.constraints.tracks_copying:
            copying_X = copying_after(restrictions, going_on.rows, words_X, log_probabilities_X)
        return active.select(going_on.rows)._replace(
            beam_X=active.beam_X[going_on.rows],
            length_X=active.length_X[going_on.rows] + 1,
            log_probability_X=scores_XC[going_on],
            ids_X=ids_X,
            copying_X=copying_X,
            tokens_X=torch.from_numpy(words_X).to(self.device),
        )

    def _selection(self, scores_XC: np.ndarray, words_XC: np.ndarray, active: ActiveHypotheses[StateT]) -> Selection:
        options = self.options
        if options.groups > 1 and not options.sampling:
            return select_diverse(
                scores_XC, words_XC, active.beam_X, options.width, options.groups, options.diversity_penalty
            )
        return select_with_banks(scores_XC, words_XC, active, self.constraints, options.width)

    def _worth_extending(self, cells: Cells, scores_XC: np.ndarray, active: ActiveHypotheses[StateT]) -> Cells:
        """Return the cells of hypotheses that may still be among the best."""
        scores_X, beam_X = scores_XC[cells], active.beam_X[cells.rows]
        is_worth_it = can_still_win(scores_X, active.length_X[cells.rows] + 1, beam_X, self.finished)
        if self.options.beam_margin is not None:
            # What brings required text in may be far behind.
            requires_X = self.constraints.requires_text_B[beam_X // self.num_beams]
            is_worth_it &= requires_X | is_near_best(scores_X, beam_X, self.options.beam_margin)
        if self._dropped:
            dropped = [place for place, source in self.source_of_place.items() if source.key in self._dropped]
            is_worth_it &= ~np.isin(beam_X // self.num_beams, dropped)
        return cells.take(is_worth_it)

    def _finish(
        self, cells: Cells, scores_XC: np.ndarray, candidates: Candidates, active: ActiveHypotheses[StateT]
    ) -> None:
        """Add the hypotheses that end to the finished ones of their beams, with GNMT's score."""
        for row in cells.rows.tolist():
            beam, num_tokens = int(active.beam_X[row]), int(active.length_X[row]) + 1
            log_probability = float(scores_XC[row, 0])
            penalty = length_penalty(num_tokens, self.options.length_alpha)
            finished = FinishedHypothesis(
                score=float(log_probability / penalty + candidates.coverage_penalty_X[row]),
                log_probability=log_probability,
                num_tokens=num_tokens,
                step=self.step,
                row=row,
                eos_log_probability=float(candidates.log_probabilities_XC[row, 0]),
                cut_off=bool(num_tokens > self.finished.max_length_Q[beam] and not candidates.ends_by_itself_X[row]),
            )
            self.finished.add(beam, finished)
