"""Continuous translation: lines enter a running search at any time, as others leave it.

What is found for a line is what :meth:`mtmoe.Translator.translate` finds: both take the same steps, and nothing in a
search depends on what else is searched. A thread steps it; lines may be added by any thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mtmoe.inference.constraints.line_constraints import LineConstraints
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.models.memory_trimming import MemoryTrimming
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.search.hypothesis import NOTHING, Hypothesis
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SearchSource
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import LinePass, LineRead, Translator, Work

_ENTERING_SHARE = 4
"""Sources enter together once they are so large a part (1/4) of those that are searched: to encode each alone costs
several times as much ..."""
_MOST_STEPS_OF_WAITING = 2
"""... but none waits for longer."""


class _Line(NamedTuple):
    """A line at work. found: the hypotheses of its parts, by their places; passes: constraints of further searches."""

    number: int
    read: LineRead
    wanted: Wanted
    work: Work
    found: dict[int, list[Hypothesis]]
    passes: Iterator[LineConstraints]


class _Gathering:
    """Sources that wait until enough of them can enter together."""

    def __init__(self) -> None:
        self._sources: deque[SearchSource] = deque()
        self._num_steps = 0
        self.num_searched = 0

    @property
    def is_over(self) -> bool:
        return not self._sources

    def add(self, source: SearchSource) -> None:
        """Let a source wait."""
        self._sources.append(source)

    def drop(self, keys: set[int]) -> set[int]:
        """Let sources wait no longer; return the keys of those that did not."""
        waited = {source.key for source in self._sources if source.key in keys}
        if waited:
            self._sources = deque(source for source in self._sources if source.key not in waited)
        return keys - waited

    def take(self, num_wanted: Callable[[SearchSource, int], int]) -> list[SearchSource]:
        self._num_steps += 1
        num_waiting = len(self._sources)
        if not num_waiting:
            return []
        if _ENTERING_SHARE * num_waiting < self.num_searched and self._num_steps <= _MOST_STEPS_OF_WAITING:
            return []
        number = min(num_wanted(self._sources[0], num_waiting), num_waiting)
        if number:
            self._num_steps = 0
            self.num_searched += number
        return [self._sources.popleft() for _ in range(number)]


class ContinuousTranslation:
    """Translates lines as they come. All are to have as many translations (``num_best``).

    >>> running = ContinuousTranslation(translator, Wanted())                                   # doctest: +SKIP
    >>> running.add(7, Request("Where is the station?"), Wanted())                              # doctest: +SKIP
    >>> while running.num_lines:                                                                # doctest: +SKIP
    ...     found.update(running.step())
    """

    def __init__(self, translator: Translator, wanted: Wanted) -> None:
        """Begin without lines.

        Raises:
            UserError: more translations are wanted than the beam holds.
        """
        self._translator = translator
        # A step keeps it for all, which costs nothing; each source says whether its hypotheses are to have theirs.
        self._options: SearchOptions = translator.search_options(wanted, keep_attention=True)
        self._waiting = _Gathering()
        self.search = translator.open_search(self._options, self._waiting)
        self._steps: Iterator[Any] = iter(())
        self._lines: dict[int, _Line] = {}
        self._owner: dict[int, tuple[int, int]] = {}  # of a source, by its key: number of the line, place of the part
        self._next_key = 0
        self._ready: deque[_Line] = deque()
        self._trimming = MemoryTrimming()

    @property
    def num_lines(self) -> int:
        """Return how many lines are at work."""
        return len(self._lines)

    def add(self, number: int, request: Request, wanted: Wanted) -> None:
        """Take in a line.

        Args:
            number: told with its translation; no other line at work has it.
            wanted: as many translations as of all; the rest may be of this line.

        Raises:
            UserError: the settings exclude what the line asks for.
        """
        passes = self._translator.constraints_in_turn()
        read = self._translator.read(request)
        work = self._translator.prepared([(read, LinePass())], wanted, next(passes))
        self._begin(_Line(number, read, wanted, work, {}, passes))

    def _begin(self, line: _Line) -> None:
        work = line.work
        sources = []
        for place, (part, task) in enumerate(zip(work.parts, work.tasks, strict=True)):
            if part.ids:
                source = SearchSource.of(self._next_key + place, part.ids, task, self._options)
                sources.append(source._replace(keep_attention=work.options.keep_attention))
            else:
                line.found[place] = [NOTHING]
        for source in sources:
            self._owner[source.key] = line.number, source.key - self._next_key
            self._waiting.add(source)
        self._next_key += len(work.parts)
        self._lines[line.number] = line
        if len(line.found) == len(work.parts):
            self._ready.append(line)

    def drop(self, number: int) -> None:
        """Take a line out, for which nobody waits any more. It is no longer at work."""
        line = self._lines.pop(number)
        if line in self._ready:
            self._ready.remove(line)
        keys = {key for key, (owner, _) in self._owner.items() if owner == number}
        for key in keys:
            del self._owner[key]
        searched = self._waiting.drop(keys)
        self.search.drop(searched)
        self._waiting.num_searched -= len(searched)

    def step(self) -> list[tuple[int, Translation]]:
        """Take a step of the search; return the lines that are done with it, and their translations.

        Raises:
            Exception: the model failed. No line is at work after that.
        """
        try:
            with full_precision():
                for item in self._steps:
                    if item is None:
                        break
                    self._found(*item)
                else:
                    self._steps = self.search.run()
                return self._done()
        except BaseException:
            self._lines.clear()
            raise

    def _found(self, key: int, hypotheses: list[Hypothesis]) -> None:
        number, place = self._owner.pop(key)
        self._waiting.num_searched -= 1
        line = self._lines[number]
        line.found[place] = hypotheses
        if len(line.found) == len(line.work.parts):
            self._ready.append(line)

    def _done(self) -> list[tuple[int, Translation]]:
        """Put the lines together of which everything is found; some are searched once more."""
        done = []
        while self._ready:
            line = self._ready.popleft()
            found = [line.found[place] for place in range(len(line.work.parts))]
            [translation] = self._translator.assembled(line.work, found, line.wanted)
            self._trimming.translated(len(found))
            [line_pass] = self._translator.once_more([line.read], line.work, found, [translation])
            if line_pass is not None and (constraints := next(line.passes, None)) is not None:
                work = self._translator.prepared([(line.read, line_pass)], line.wanted, constraints)
                self._begin(line._replace(work=work, found={}))
                continue
            del self._lines[line.number]
            done.append((line.number, self._translator.finished(line.read, translation, line.wanted)))
        return done


class LoadedModel:
    """A translator as an engine works with it (`engine.py`)."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator

    def open(self, wanted: Wanted) -> ContinuousTranslation:
        """Begin a search for lines of which as many translations are wanted."""
        return ContinuousTranslation(self._translator, wanted)

    def translate(self, lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        """Translate lines by themselves."""
        return self._translator.translate(
            lines, wanted.num_best, with_alignment=wanted.with_alignment, with_scores=wanted.with_scores
        )
