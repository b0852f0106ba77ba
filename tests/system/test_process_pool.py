"""Chunks come out in order, and a process that dies is replaced once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from mtmoe.errors import UserError
from mtmoe.system.process_pool import PAUSE, Chunk, ProcessPool

FIX = "use fewer"


class Squaring(NamedTuple):
    """A worker whose processes die over a number: always, or only where ``mark`` is not there yet."""

    fatal: int = -1
    mark: Path | None = None

    def __call__(self, place, num_threads):
        """Begin; ``num_threads`` is not used."""
        return self._squared

    def _squared(self, number):
        if number == self.fatal and not (self.mark and self.mark.exists()):
            if self.mark:
                self.mark.touch()
            os._exit(3)
        if number == 99:
            raise UserError("99 is too many", fix="give fewer")
        return number * number if number != 98 else 1 // 0


def fails_to_begin(place, num_threads):
    raise UserError(f"worker {place} finds no run", fix="check the path")


def chunks(numbers):
    return [PAUSE if number is None else Chunk(number, f"line {number}") for number in numbers]


def test_answers_come_in_order_and_a_pause_is_answered_when_all_before_it_are():
    given = []
    with ProcessPool(Squaring(), 2, fix=FIX) as pool:

        def read():
            for chunk in chunks([1, 2, 3, None, 4]):
                yield chunk
                if chunk is PAUSE:
                    assert given == [1, 4, 9, None], "what was read before the pause is given out first"

        for answer in pool.answers(read()):
            given.append(answer)
    assert given == [1, 4, 9, None, 16]


def test_a_process_that_dies_is_replaced_and_its_chunk_worked_on_again(tmp_path):
    warnings = []
    with ProcessPool(Squaring(5, tmp_path / "mark"), 1, fix=FIX, warn=warnings.append) as pool:
        assert list(pool.answers(chunks([4, 5, 6]))) == [16, 25, 36]
    assert warnings == ["a worker process died (exit status 3) over line 5; another one works on them again"]


def test_a_chunk_that_kills_every_process_is_an_error_that_names_its_lines():
    with ProcessPool(Squaring(5), 1, fix=FIX) as pool:
        with pytest.raises(UserError, match=r"died \(exit status 3\) over line 5, for the second time") as caught:
            list(pool.answers(chunks([5])))
    assert caught.value.fix == FIX


def test_an_error_of_a_worker_is_raised_here():
    with ProcessPool(Squaring(), 1, fix=FIX) as pool, pytest.raises(UserError, match="99 is too many"):
        list(pool.answers(chunks([99])))
    with ProcessPool(Squaring(), 1, fix=FIX) as pool, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(pool.answers(chunks([98])))
    with ProcessPool(fails_to_begin, 1, fix=FIX) as pool, pytest.raises(UserError, match="worker 0 finds no run"):
        list(pool.answers(chunks([1])))
