"""Beam search with GNMT's score, greedy search, diverse beams and sampling, of any number of sources.

Sources are searched many at a time. One that is done leaves, and when enough have left others enter, so that the
model always has about as many rows to work on. What is found for a source depends on nothing but the source and what
is asked of its translation.

Letters: B sources, Q beams (one or more of each source: q belongs to source q // beams a source), X live hypotheses
of all beams (rows of the decoder, sorted by beam, then by rank), C ways to extend one (EOS, the likeliest words,
words that a user asked for), E such words, S source positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtmoe.errors import UserError
from mtmoe.inference.search.active_hypotheses import Extensions, Live, Step, widened
from mtmoe.inference.search.candidates import Extender
from mtmoe.inference.search.finished_hypotheses import Ending, Finished, best_of_beams
from mtmoe.inference.search.hypothesis import NOTHING, Hypothesis, SearchTask, length_penalty
from mtmoe.inference.search.next_words.shortlist import Shortlist
from mtmoe.inference.search.search_constraints import Asked
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.selection.best_candidates import Places, is_near_best
from mtmoe.inference.search.source_batching import pad_with_eos, runs_of_like_length
from mtmoe.inference.search.threads import MAX_SEARCHES, WaitingSources, run_in_threads
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import BOS

__all__ = ["NOTHING", "Hypothesis", "SearchOptions", "SearchTask", "search_all"]

_REFILL_SHARE = (
    4  # of a batch: sources enter when so large a part (1/4) of it is free, so that they are encoded together
)

_FEWEST_ENCODED = 32  # sources that are encoded together, if there are so many


def search_all(
    model: SearchModel,
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

    At each step, the candidates of a sentence are the extensions of its live hypotheses that are at most
    ``prune_margin`` less likely than the likeliest extension of the same hypothesis (GNMT's first pruning).
    Of the ``beam_size`` likeliest candidates those that are EOS are finished; of the others the ``beam_size`` likeliest
    live on, except those that are more than ``beam_margin`` behind the likeliest. (All candidates of a step have one
    length, so dividing by lp would not reorder them; the coverage of an unfinished sentence says nothing, so it counts
    from EOS on.)

    A finished hypothesis that scores more than ``prune_margin`` below the best one is dropped (GNMT's second
    pruning), and so is a live one of which no ending could score higher than that. A sentence is done when no live one
    could still enter the ``num_best``, at the latest at the greatest length, where every live hypothesis ends in EOS
    at the probability that the model gives to it; unless ``early_stopping = "exact"`` also when ``beam_size`` finished
    hypotheses are kept; with ``"best"`` also when no live one, as long as it is now, scores higher than the best
    finished one. PAD, UNK and BOS are never produced, though their probability is not given to the others:
    log-probabilities are those of the model. With a beam of 1 this is greedy search.

    Diverse beams are such searches side by side (`selection`). Samples are drawn
    word by word (:func:`mtmoe.inference.search.next_words.sampling.sample_words`), without any pruning.

    What a task asks for is always in the translation: words of a prefix or a phrase are candidates whatever their
    probability, EOS is none before all is there, and the greatest length grows if it has not room for it all. Soft
    terms are more likely than the model finds them (`constraints/soft_terms.py`) while it searches; the
    log-probabilities and scores of what it finds are those of the model.

    Args:
        model: in evaluation mode, on ``device``.
        sources: subword ids without special symbols; one without ids gives ``[NOTHING]``.
        batch_tokens: source tokens that are searched at a time, times hypotheses of each, padding included.
        tasks: what is asked of each translation; by default nothing.
        shortlist: which words to look among, and to normalise probabilities over; by default all. What a task asks
            for is always among them.
        num_threads: of the processor, for up to four searches side by side, which share the sources, ``batch_tokens``
            and the model. With 1 torch computes with as many as it has been told to.

    Returns:
        For each source 1 to ``num_best`` hypotheses, best first (samples: as they were drawn).

    Raises:
        UserError: the model's output is not a number; or a task has phrases, but words are drawn, or beams diverse.
    """
    tasks = [SearchTask(number=number) for number in range(len(sources))] if tasks is None else tasks
    _check_tasks(tasks, len(sources), options)
    if shortlist is not None and options.sampling:
        raise ValueError("words are drawn from all of the vocabulary, not from a shortlist")
    results = [[NOTHING] for _ in sources]
    worded = [index for index, source in enumerate(sources) if len(source)]
    done = len(sources) - len(worded)
    num_searches = max(1, min(num_threads, MAX_SEARCHES, len(worded)))
    waiting = WaitingSources([len(sources[index]) for index in worded], num_searches=num_searches)
    searches = [
        _Search(
            model,
            [sources[index] for index in worded],
            [tasks[index] for index in worded],
            options,
            batch_tokens // num_searches,
            device,
            shortlist,
            waiting,
        )
        for _ in range(num_searches)
    ]
    for index, hypotheses in run_in_threads([search.found for search in searches], num_threads):
        results[worded[index]] = hypotheses
        done += 1
        progress("translate", done, len(sources), "sentences")
    return results


def _check_tasks(tasks: Sequence[SearchTask], num_sources: int, options: SearchOptions) -> None:
    if len(tasks) != num_sources:
        raise ValueError(f"{len(tasks)} tasks for {num_sources} sources")
    for task in tasks:
        if task.soft_terms and (options.sampling or options.soft_terms is None):
            raise ValueError("soft terms need a search, and options that say how likely they are")
        if task.has_demands and (options.sampling or options.groups > 1):
            key = "sampling" if options.sampling else "diverse_beams"
            raise UserError(
                f"phrases and placeholders that must occur in a translation need one beam, but decoding.{key} is on",
                fix=f"leave out phrases, terms and decoding.placeholders, or [decoding.{key}]",
            )


class _Search:
    def __init__(
        self,
        model: SearchModel,
        sources: Sequence[Sequence[int]],
        tasks: Sequence[SearchTask],
        options: SearchOptions,
        batch_tokens: int,
        device: torch.device | str,
        shortlist: Shortlist | None,
        waiting: WaitingSources,
    ) -> None:
        self.model, self.sources, self.tasks, self.options, self.device = model, sources, tasks, options, device
        self.waiting = waiting
        self.num_beams = options.num_beams
        self.capacity = batch_tokens // (self.num_beams * options.width)
        num_words_B = [len(source) for source in sources]
        self.source_length_B = np.array(num_words_B, dtype=np.int64) + 1
        self.asked = Asked(tasks, num_words_B, options)
        self.extender = Extender(model, options, shortlist, device)
        max_length_B = np.array(self.asked.max_length_B, dtype=np.int64)
        self.finished = Finished(np.repeat(max_length_B, self.num_beams), options)
        self.step = 0
        self.first_step_B = np.zeros(len(sources), dtype=np.int64)
        self.history: dict[int, Step] = {}

    @torch.inference_mode()
    def found(self) -> Iterator[tuple[int, list[Hypothesis]] | None]:
        """Indices of sources and their hypotheses, as they are done; None after each step, where it can be left."""
        live = self._entered(None)
        while live is not None:
            before = live
            live = self._extended(live)
            self.step += 1
            yield from self._done(before, live)
            yield None
            live = self._entered(live if len(live.beam_X) else None)
            self._forget_steps(live)

    # ------------------------------------------------------------------------------------------ coming and going

    def _entered(self, live: Live | None) -> Live | None:
        """The live hypotheses with those of the sources for which there is room."""
        indices = self._next_sources(live)
        if not indices:
            return live
        new = self._started(indices)
        return new if live is None else live.join(new)

    def _next_sources(self, live: Live | None) -> list[int]:
        if self.waiting.is_over:
            return []
        inside = np.unique(live.beam_X // self.num_beams) if live is not None else np.zeros(0, dtype=np.int64)
        longest = int(self.source_length_B[inside].max(initial=0))

        def num_wanted(next_source: int, num_waiting: int) -> int:
            most = max(1, self.capacity // max(longest, int(self.source_length_B[next_source])))
            room = most - len(inside)
            return 0 if len(inside) and room < min(-(-most // _REFILL_SHARE), num_waiting) else room

        return self.waiting.take(num_wanted)

    def _started(self, indices: list[int]) -> Live:
        sources = [self.sources[index] for index in indices]
        state, lengths_B = self._encoded(sources)
        rows_X = np.repeat(np.arange(len(indices)), self.num_beams)
        beam_X = np.concatenate([self.options.beams_of(index) for index in indices])
        self.first_step_B[indices] = self.step
        max_lengths = [self.asked.max_length_B[index] for index in indices]
        self.extender.enter(indices, sources, [self.tasks[index] for index in indices], max_lengths)
        live = Live(
            beam_X=np.arange(len(indices)),
            length_X=np.zeros(len(beam_X), dtype=np.int64),
            log_probability_X=np.zeros(len(beam_X)),
            ids_X=[()] * len(beam_X) if self.asked.has_rules else [],
            begun_X=[()] * len(beam_X) if self.asked.has_soft_terms else [],
            tokens_X=torch.full((len(beam_X),), BOS, device=self.device),
            coverage_XS=torch.zeros(
                len(indices), int(lengths_B.max()) if self.options.coverage_beta else 0, device=self.device
            ),
            source_lengths_X=lengths_B,
            state=state,
        )
        return live.select(rows_X)._replace(beam_X=beam_X)

    def _encoded(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Tensor]:
        """The state before the first step, and lengths_B."""
        # A processor's time goes into every position, padding or not; a GPU waits for as many steps as there are.
        fewest = _FEWEST_ENCODED if torch.device(self.device).type == "cpu" else len(sources)
        parts = []
        for run in runs_of_like_length([len(source) for source in sources], fewest):
            source_BS, lengths_B = pad_with_eos(sources[run], self.device)
            parts.append((self.model.initial_state(self.model.encode(source_BS, lengths_B)), lengths_B))
        (state, *states), lengths = zip(*parts, strict=True)
        return state.join(*states) if states else state, torch.cat(lengths)

    def _done(self, before: Live, after: Live) -> Iterator[tuple[int, list[Hypothesis]]]:
        gone = set((before.beam_X // self.num_beams).tolist()).difference((after.beam_X // self.num_beams).tolist())
        for index in sorted(gone):
            beams = self.options.beams_of(index)
            found = [
                [self._spelt_out(ending, index) for ending in self.finished.endings_Q[beam][: self.options.num_best]]
                for beam in beams
            ]
            for beam in beams:
                self.finished.endings_Q[beam].clear()
            self.extender.leave(index)
            yield index, best_of_beams(found, self.options)

    def _spelt_out(self, ending: Ending, index: int) -> Hypothesis:
        ids: list[int] = []
        log_probabilities = [ending.eos_log_probability]
        rows = [ending.row]
        for step in range(ending.step - 1, ending.step - ending.num_tokens, -1):
            taken, row = self.history[step], rows[-1]
            ids.append(taken.tokens_X[row])
            log_probabilities.append(taken.log_probabilities_X[row])
            rows.append(taken.parents_X[row])
        log_probability, gain = ending.log_probability, 0.0
        if self.tasks[index].soft_terms:  # they have decided what is found, and are in nothing that is told of it
            log_probability = sum(log_probabilities)
            added = ending.log_probability - log_probability
            gain = added / length_penalty(ending.num_tokens, self.options.length_alpha)
        return Hypothesis(
            ids=tuple(reversed(ids)),
            log_probability=log_probability,
            score=ending.score - gain,
            token_log_probabilities=tuple(reversed(log_probabilities)),
            cut_off=ending.cut_off,
            attention=self._attention(ending.step, rows, index) if self.options.keep_attention else None,
            gain=gain,
        )

    def _attention(self, last_step: int, rows: Sequence[int], index: int) -> Tensor:
        """[T, S], float32 on the CPU; ``rows``: of the last step, and of those before it."""
        parts = []
        for step, row in enumerate(reversed(rows), start=last_step - len(rows) + 1):
            attention_XS = self.history[step].attention_XS
            assert attention_XS is not None
            parts.append(attention_XS[row, : self.source_length_B[index]])
        return torch.stack(parts).float().cpu()

    def _forget_steps(self, live: Live | None) -> None:
        """A hypothesis is spelt out when its sentence is done, so steps before all live sentences are not needed."""
        if live is None:
            return
        first = int(self.first_step_B[live.beam_X // self.num_beams].min())
        while (oldest := next(iter(self.history), first)) < first:
            del self.history[oldest]

    # ---------------------------------------------------------------------------------------------------- a step

    def _extended(self, live: Live) -> Live:
        hidden_XD, attention_XS, state = self.model.decode_step(live.tokens_X, live.state)
        live = live._replace(state=state)
        if self.options.coverage_beta:
            coverage_XS = widened(live.coverage_XS, attention_XS.shape[1]) + attention_XS
            live = live._replace(coverage_XS=coverage_XS)
        is_last_X = live.length_X >= self.finished.max_length_Q[live.beam_X]
        mixtures = self.asked.mixtures(live, attention_XS, is_last_X)
        rules = self.asked.rules(live, is_last_X, mixtures)
        extensions = self.extender.extensions(hidden_XD, live, rules)
        possible_XC = self.extender.possible(extensions, rules, is_last_X, mixtures)
        scores_XC = live.log_probability_X[:, None] + possible_XC
        choice = self.asked.chosen(scores_XC, extensions.words_XC, live)
        self._finish(choice.ending, scores_XC, extensions, live)
        going_on = self._worth_extending(choice.going_on, scores_XC, live)
        words_X = extensions.words_XC[going_on]
        self.history[self.step] = Step(
            going_on.rows.tolist(),
            words_X.tolist(),
            extensions.log_probabilities_XC[going_on].tolist(),
            attention_XS if self.options.keep_attention else None,
        )
        ids_X, begun_X = self.asked.grown(live, going_on, extensions, mixtures)
        return live.select(going_on.rows)._replace(
            beam_X=live.beam_X[going_on.rows],
            length_X=live.length_X[going_on.rows] + 1,
            log_probability_X=scores_XC[going_on],
            ids_X=ids_X,
            begun_X=begun_X,
            tokens_X=torch.from_numpy(words_X).to(self.device),
        )

    def _worth_extending(self, places: Places, scores_XC: np.ndarray, live: Live) -> Places:
        scores_X, beam_X = scores_XC[places], live.beam_X[places.rows]
        is_worth_it = self.finished.is_hopeful(scores_X, live.length_X[places.rows] + 1, beam_X)
        if self.options.beam_margin is not None:
            # What brings a phrase in that a user asked for may be far behind.
            has_demands_X = self.asked.has_demands_B[beam_X // self.num_beams]
            is_worth_it &= has_demands_X | is_near_best(scores_X, beam_X, self.options.beam_margin)
        return places.take(is_worth_it)

    def _finish(self, places: Places, scores_XC: np.ndarray, extensions: Extensions, live: Live) -> None:
        for row in places.rows.tolist():
            beam, num_tokens = int(live.beam_X[row]), int(live.length_X[row]) + 1
            log_probability = float(scores_XC[row, 0])
            penalty = length_penalty(num_tokens, self.options.length_alpha)
            ending = Ending(
                score=float(log_probability / penalty + extensions.coverage_penalty_X[row]),
                log_probability=log_probability,
                num_tokens=num_tokens,
                step=self.step,
                row=row,
                eos_log_probability=float(extensions.log_probabilities_XC[row, 0]),
                cut_off=bool(num_tokens > self.finished.max_length_Q[beam] and not extensions.ends_by_itself_X[row]),
            )
            self.finished.add(beam, ending)
