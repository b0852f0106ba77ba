"""Compiled search: greedy and beam search wholly in the library, of sources of which nothing is required.

It finds what :class:`mtmoe.inference.search.beam_search.BeamSearch` finds with the compiled model, to the bit, without
Python at every step. What has further constraints (terms, a prefix, placeholders) is left to that.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch

from mtmoe.inference.compiled.library import LETTERS, Letters, check, library
from mtmoe.inference.compiled.library import SearchOptions as LibraryOptions
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.next_words.likeliest import check_numbers
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SearchSource, SourceQueue, SourceSearch, num_entering
from mtmoe.inference.text.subword_repetition import Repetition, SubwordLetters
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL

_EARLY_STOPPING = {"full": 0, "exact": 1, "best": 2}
_NOT_A_NUMBER = 2
"""Status of the library's functions."""


def can_search(options: SearchOptions) -> bool:
    """Return whether the library's search knows all that the options ask for."""
    return not (options.min_length_ratio or options.no_repeat_ngram or options.sampling or options.groups > 1)


class _Others:
    """The sources that are left to another search, which takes all of them at once."""

    def __init__(self) -> None:
        self.sources: deque[SearchSource] = deque()

    @property
    def is_over(self) -> bool:
        return not self.sources

    def take(self, num_wanted: Callable[[SearchSource, int], int]) -> list[SearchSource]:
        sources = list(self.sources)
        self.sources.clear()
        return sources


class CompiledSearch:
    """A search among sources that it takes one after the other from those that wait."""

    def __init__(
        self,
        model: ctypes.c_void_p,
        owner: object,
        vocabulary_size: int,
        options: SearchOptions,
        capacity: int,
        waiting: SourceQueue,
        others: Callable[[SourceQueue], SourceSearch],
        not_words: np.ndarray,
        *,
        takes_all: bool,
    ) -> None:
        """Begin without sources.

        Args:
            model: the library's, which lives as long as its owner.
            options: for which :func:`can_search` is true.
            capacity: source tokens that are searched at a time.
            others: opens the search for sources of which more is required.
            not_words: special symbols that are no candidates.
            takes_all: whether all sources wait already, so that nobody has to be asked before one is done.
        """
        loaded = library()
        assert loaded is not None
        self._library, self._model, self._owner, self._vocabulary_size = loaded, model, owner, vocabulary_size
        self._options, self._capacity, self._waiting = options, capacity, waiting
        self._not_words = not_words
        self._others_waiting = _Others()
        self._others = others(self._others_waiting)
        self._steps_of_others: Iterator[tuple[int, list[Hypothesis]] | None] = iter(())
        self._most_steps = 0 if takes_all else 1
        self._search: ctypes.c_void_p | None = None
        self._letters: SubwordLetters | None = None
        self._kept: list[np.ndarray] = []
        self._longest_penalty = -1
        self._length_of: dict[int, int] = {}
        """Of each source that is inside, by its key: its tokens, EOS included."""
        self._own: set[int] = set()

    def run(self) -> Iterator[tuple[int, list[Hypothesis]] | None]:
        """Yield keys of sources and their hypotheses, as they are done; None after each step, where one can stop, and
        where sources can be added to those that wait.

        It ends when none is left. It can then be called again.
        """
        while True:
            self._take_in()
            if not self._length_of:
                return
            found = self._own_steps() if self._own else []
            if len(self._own) < len(self._length_of):
                found += self._step_of_others()
            for key, hypotheses in found:
                self._length_of.pop(key, None)
                yield key, hypotheses
            yield None

    def drop(self, keys: Iterable[int]) -> None:
        """Search no longer for sources that have entered. To be called between two steps."""
        left = []
        for key in keys:
            del self._length_of[key]
            if key in self._own:
                self._own.remove(key)
                check(self._library.mtmoe_search_drop(self._search, key))
            else:
                left.append(key)
        if left:
            self._others.drop(left)

    # ------------------------------------------------------------------------------------------ coming and going

    def _take_in(self) -> None:
        if self._waiting.is_over:
            return
        num_wanted = partial(
            num_entering,
            capacity=self._capacity,
            num_inside=len(self._length_of),
            longest=max(self._length_of.values(), default=0),
        )
        for source in self._waiting.take(num_wanted):
            self._length_of[source.key] = len(source.ids) + 1
            if self._takes(source):
                self._add(source)
            else:
                self._others_waiting.sources.append(source)

    def _takes(self, source: SearchSource) -> bool:
        """Return whether the library knows all that is required of a source."""
        if not source.constraints.are_usual:
            return False
        repetition = source.task.repetition
        if repetition is None:
            return True
        if type(repetition) is not Repetition or list(repetition.source) != list(source.ids):
            return False
        if self._letters is None and self._search is None:
            self._letters = repetition.subwords
        return repetition.subwords is self._letters

    def _add(self, source: SearchSource) -> None:
        max_length = source.constraints.max_length
        self._open(max_length)
        ids = np.array([*source.ids, EOS], dtype=np.int64)
        keeps_attention = self._options.keep_attention and source.keep_attention
        limits_loops = source.task.repetition is not None
        check(
            self._library.mtmoe_search_add(
                self._search, source.key, ids.ctypes.data, len(ids), max_length, limits_loops, keeps_attention
            )
        )
        self._own.add(source.key)

    def _open(self, max_length: int) -> None:
        """Open the library's search, with length penalties for translations so long."""
        if self._search is None:
            self._search = self._new_search()
            weakref.finalize(self, self._library.mtmoe_search_delete, self._search).atexit = False
        if max_length > self._longest_penalty:
            self._longest_penalty = 2 * max_length
            lengths = range(self._longest_penalty + 3)
            alpha = self._options.length_alpha
            # A number's and an array's may differ in the last bit; each is used where the other search has it.
            of_number = np.array([length_penalty(length, alpha) for length in lengths])
            of_array = np.ascontiguousarray(length_penalty(np.array(lengths), alpha))
            check(
                self._library.mtmoe_search_set_penalties(
                    self._search, of_number.ctypes.data, of_array.ctypes.data, len(of_number)
                )
            )

    def _new_search(self) -> ctypes.c_void_p:
        options, letters = self._options, Letters()
        if self._letters is not None:
            for name in LETTERS:
                numbers = np.array(getattr(self._letters, name), dtype=np.int32)
                self._kept.append(numbers)
                setattr(letters, name, numbers.ctypes.data)
        own = LibraryOptions(
            width=options.width,
            num_best=options.num_best,
            num_words=min(options.beam_size, self._vocabulary_size - NUM_SPECIAL),
            early_stopping=_EARLY_STOPPING[options.early_stopping],
            begin_of_sentence=BOS,
            end_of_sentence=EOS,
            prune_margin=options.prune_margin,
            beam_margin=np.inf if options.beam_margin is None else options.beam_margin,
            coverage_beta=options.coverage_beta,
        )
        never = self._not_words
        search: ctypes.c_void_p | None = self._library.mtmoe_search_new(
            self._model, own, never.ctypes.data, len(never), letters
        )
        check(0 if search else 1)
        assert search is not None
        return search

    # --------------------------------------------------------------------------------------------------- searching

    def _step_of_others(self) -> list[tuple[int, list[Hypothesis]]]:
        found: list[tuple[int, list[Hypothesis]]] = []
        for item in self._steps_of_others:
            if item is None:
                return found
            found.append(item)
        self._steps_of_others = self._others.run()
        return found

    def _own_steps(self) -> list[tuple[int, list[Hypothesis]]]:
        """Take steps until a source is done, or one where somebody else must be asked between two."""
        most_steps = self._most_steps if len(self._own) == len(self._length_of) else 1
        sizes = np.empty(4, dtype=np.int64)
        status = self._library.mtmoe_search_steps(self._search, most_steps, sizes.ctypes.data)
        if status == _NOT_A_NUMBER:
            check_numbers(np.array([np.nan]))
        check(status)
        if not sizes[0]:
            return []
        return self._taken(*sizes.tolist())

    def _taken(
        self, num_sources: int, num_hypotheses: int, num_tokens: int, num_attention: int
    ) -> list[tuple[int, list[Hypothesis]]]:
        of_sources = np.empty((num_sources, 2), dtype=np.int64)
        of_hypotheses = np.empty((num_hypotheses, 3), dtype=np.int64)
        scores = np.empty((num_hypotheses, 2))
        ids, log_probabilities = np.empty(num_tokens, dtype=np.int64), np.empty(num_tokens)
        attention = torch.empty(num_attention)
        self._library.mtmoe_search_take(
            self._search, EOS, of_sources.ctypes.data, of_hypotheses.ctypes.data, scores.ctypes.data, ids.ctypes.data,
            log_probabilities.ctypes.data, attention.data_ptr(),
        )  # fmt: skip
        words, of_words = ids.tolist(), log_probabilities.tolist()
        hypotheses = iter(zip(of_hypotheses.tolist(), scores.tolist(), strict=True))
        found: list[tuple[int, list[Hypothesis]]] = []
        begin = begin_of_attention = 0
        for key, number in of_sources.tolist():
            of_source = []
            for _ in range(number):
                (length, size_of_attention, is_cut_off), (score, log_probability) = next(hypotheses)
                end, end_of_attention = begin + length, begin_of_attention + size_of_attention
                own = attention[begin_of_attention:end_of_attention].view(length, -1) if size_of_attention else None
                of_source.append(
                    Hypothesis(
                        ids=tuple(words[begin : end - 1]),
                        log_probability=log_probability,
                        score=score,
                        token_log_probabilities=tuple(of_words[begin:end]),
                        cut_off=bool(is_cut_off),
                        attention=own,
                    )
                )
                begin, begin_of_attention = end, end_of_attention
            self._own.remove(key)
            found.append((key, of_source))
        return found
