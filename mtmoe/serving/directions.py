"""Directions: from which language to which one the runs of a server translate, and which run does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mtmoe.config.settings import Data
from mtmoe.data.cleaning.language_tokens import language_token
from mtmoe.errors import UserError
from mtmoe.languages import Direction, covers, normal_code, parse_direction
from mtmoe.serving.refusal import Refusal

AUTO = "auto"


class ServedDirection(NamedTuple):
    """A direction, by normal codes. token: what a multilingual run reads in front of a line; else empty. onward: where
    the run translates into a third language, by which direction its translation is translated."""

    source: str
    target: str
    run: str
    token: str = ""
    onward: ServedDirection | None = None

    @property
    def runs(self) -> str:
        """Return the runs that it takes, for people."""
        return self.run if self.onward is None else f"{self.run}, then {self.onward.run}"

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


def directions_of_run(run: str, data: Data) -> Iterator[ServedDirection]:
    """Yield the directions of a run; of a multilingual one all those of its training text.

    Raises:
        UserError: a language model, which has no direction.
    """
    if data.monolingual:
        raise UserError(f"{run} is a language model, which does not translate", fix="name a run of a translation model")
    if data.multilingual is None:
        yield ServedDirection(normal_code(data.source_language), normal_code(data.target_language), run)
        return
    for written in dict.fromkeys(source.direction for source in data.train if source.direction):
        direction = parse_direction(written)
        yield ServedDirection(
            normal_code(direction.source), normal_code(direction.target), run, language_token(written)
        )


class Directions:
    """All directions that are served."""

    def __init__(self, served: Sequence[ServedDirection], pivot: str | None = None) -> None:
        """Take them in.

        Args:
            pivot: code of a language by way of which directions are served that no run has; None: they are not.

        Raises:
            UserError: two runs translate in the same direction; no direction goes by way of the pivot.
        """
        self._served: dict[Direction, ServedDirection] = {}
        for each in served:
            other = self._served.setdefault(Direction(each.source, each.target), each)
            if other is not each:
                raise UserError(f"{other.run} and {each.run} both translate {each}", fix="serve one of them")
        if pivot is not None:
            self._add_by_pivot(normal_code(pivot))

    def _add_by_pivot(self, pivot: str) -> None:
        runs = list(self)
        added = False
        for first in (each for each in runs if each.target == pivot):
            for second in (each for each in runs if each.source == pivot and each.target != first.source):
                whole = first._replace(target=second.target, onward=second)
                added |= self._served.setdefault(Direction(whole.source, whole.target), whole) is whole
        if not added:
            there = ", ".join(map(str, runs))
            raise UserError(
                f"no direction goes by way of {pivot!r} that no run has: there is {there}",
                fix="leave out --pivot, or serve runs into and out of that language",
            )

    def __iter__(self) -> Iterator[ServedDirection]:
        return iter(self._served.values())

    @property
    def sources(self) -> list[str]:
        """Return the codes of the languages that can be translated, each once."""
        return list(dict.fromkeys(each.source for each in self))

    @property
    def targets(self) -> list[str]:
        """Return the codes of the languages that can be translated into, each once."""
        return list(dict.fromkeys(each.target for each in self))

    def targets_of(self, source: str) -> list[str]:
        """Return what a language can be translated into."""
        return [each.target for each in self if each.source == source]

    def pivoted_targets_of(self, source: str) -> list[str]:
        """Return what a language is translated into by way of another one."""
        return [each.target for each in self if each.source == source and each.onward is not None]

    def source_of(self, code: str) -> str:
        """Return the served source language that a code means: ``en`` of ``EN``, ``eng`` and ``en-US``.

        Raises:
            Refusal: there is none.
        """
        return _meant(code, self.sources, "source")

    def target_of(self, code: str) -> str:
        """Return the served target language that a code means.

        Raises:
            Refusal: there is none.
        """
        return _meant(code, self.targets, "target")

    def find(self, source: str, target: str) -> ServedDirection:
        """Return the direction between two languages, however their codes are written.

        Raises:
            Refusal: a language or the direction is not served.
        """
        found_source = self.source_of(source)
        found_target = self.target_of(target)
        direction = self._served.get(Direction(found_source, found_target))
        if direction is None:
            served = ", ".join(map(str, self))
            raise Refusal(400, f"{found_source}-{found_target} is not served; there is {served}")
        return direction


def _meant(code: str, served: Sequence[str], what: str) -> str:
    wanted = normal_code(code) if len(code) <= 35 else code  # the longest that BCP 47 asks programs to take
    if wanted in served:
        return wanted
    found = [each for each in served if covers(each, wanted) or covers(wanted, each)]
    if found:
        return found[0]
    raise Refusal(400, f"{what} language {code!r} is not served; there is {', '.join(served)}")
