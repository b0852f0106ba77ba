"""The engine: lines of all jobs in turn; nothing depends on what else is in flight."""

from __future__ import annotations

import random
import threading
import weakref
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.continuous_translation import LoadedModel
from mtmoe.inference.engine import EngineClosedError, Limits, Listener, QueueFullError, TranslationEngine
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES
from tests.inference.held_models import AtOnce, HeldModel


@pytest.fixture
def held() -> HeldModel:
    """A model that waits."""
    return HeldModel()


@pytest.fixture(scope="module")
def translator(run_directory: Path) -> Translator:
    """What `mtmoe translate` translates with."""
    return Translator(run_directory, device="cpu")


def requests(*texts: str) -> list[Request]:
    return [Request(text, number=number) for number, text in enumerate(texts)]


def texts(job: Any) -> list[str]:
    return [translation.text for translation in job.future.result(600)]


def test_what_waits_is_translated_together_and_a_short_text_does_not_wait_for_a_long_one(held: Any) -> None:
    with TranslationEngine({"r": held}, Limits(batch_lines=4)) as engine:
        first = engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)  # the engine is busy; meanwhile others come
        long = engine.submit("r", requests("l1", "l2", "l3", "l4", "l5"))
        short = engine.submit("r", requests("s"))
        for _ in range(3):
            held.go.release()
        assert (texts(first), texts(short), texts(long)) == (["A"], ["S"], ["L1", "L2", "L3", "L4", "L5"])
    assert held.batches == [["a"], ["l1", "s", "l2", "l3"], ["l4", "l5"]]


def test_a_search_is_of_one_run_and_one_wish_and_nobody_waits_for_ever(held: Any) -> None:
    other_batches: list[tuple[int, int]] = []

    def other(lines: Any, wanted: Wanted) -> list[Translation]:
        other_batches.append((wanted.num_best, len(lines)))
        return [Translation(line.text) for line in lines]

    with TranslationEngine({"r": held, "o": AtOnce(other)}, Limits(batch_lines=4)) as engine:
        engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)
        long = engine.submit("r", requests("b", "c", "d", "e"))
        jobs = [engine.submit("o", requests("x"), Wanted(num_best=n)) for n in (1, 2, 1)]
        held.go.release(2)
        for job in jobs:  # before the rest of the long one, for which nobody has said go
            assert texts(job) == ["x"]
        assert held.batches[:2] == [["a"], ["b"]]
        held.go.release()
        assert texts(long) == ["B", "C", "D", "E"]
    assert sorted(other_batches) == [(1, 2), (2, 1)]


def test_threads_share_what_there_is(held: Any) -> None:
    with TranslationEngine({"r": held}, num_threads=2) as engine:
        job = engine.submit("r", requests("a", "b", "c", "d"))
        assert held.begun.acquire(timeout=60)
        assert held.begun.acquire(timeout=60), "another thread waits for go, too"
        held.go.release(2)
        assert texts(job) == ["A", "B", "C", "D"]
    assert sorted(map(len, held.batches)) == [2, 2]


def test_a_model_is_replaced_without_harm_to_what_is_at_work(held: Any) -> None:
    def translate(lines: Any, wanted: Wanted) -> list[Translation]:
        return [Translation("new") for _ in lines]

    with TranslationEngine({"r": held}) as engine:
        before = engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)
        engine.replace("r", AtOnce(translate))
        after = engine.submit("r", requests("b"))
        held.go.release()
        assert (texts(before), texts(after)) == (["A"], ["new"])
        engine.replace("r", held)
        held.go.release()
        assert texts(engine.submit("r", requests("c"))) == ["C"]


def test_nothing_keeps_a_model_that_was_replaced() -> None:
    def translate(lines: Any, wanted: Wanted) -> list[Translation]:
        return [Translation(line.text) for line in lines]

    old = AtOnce(translate)
    released = threading.Event()
    weakref.finalize(old, released.set)
    with TranslationEngine({"r": old}, num_threads=2) as engine:
        assert texts(engine.submit("r", requests("a", "b", "c"))) == ["a", "b", "c"]
        engine.replace("r", AtOnce(translate))
        del old
        assert released.wait(60)


def test_a_batch_ends_with_many_characters(held: Any) -> None:
    with TranslationEngine({"r": held}, Limits(batch_characters=10)) as engine:
        job = engine.submit("r", requests("a" * 6, "b" * 6, "c"))
        held.go.release(2)
        assert len(texts(job)) == 3
    assert [len(batch) for batch in held.batches] == [2, 1]


def test_a_full_queue_refuses_and_says_when_to_come_back(held: Any) -> None:
    with TranslationEngine({"r": held}, Limits(queue_lines=3)) as engine:
        first = engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)
        second = engine.submit("r", requests("b", "c", "d"))
        with pytest.raises(QueueFullError, match=r"3 lines are waiting, and 3 may") as refused:
            engine.submit("r", requests("e"))
        assert refused.value.retry_after_seconds >= 1
        held.go.release(2)
        assert texts(first) + texts(second) == ["A", "B", "C", "D"]


def test_a_text_longer_than_the_queue_is_taken_when_nothing_waits(held: Any) -> None:
    held.go.release()
    with TranslationEngine({"r": held}, Limits(queue_lines=1)) as engine:
        assert texts(engine.submit("r", requests("a", "b"))) == ["A", "B"]


def test_what_is_cancelled_is_not_translated_and_makes_room(held: Any) -> None:
    dropped: list[tuple[str, int]] = []

    class Notes(Listener):
        def lines_dropped(self, reason: str, num_lines: int) -> None:
            dropped.append((reason, num_lines))

    with TranslationEngine({"r": held}, Limits(queue_lines=2), listener=Notes()) as engine:
        engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)
        left = engine.submit("r", requests("b", "c"))
        engine.cancel(left)
        assert engine.num_waiting == 0
        with pytest.raises(CancelledError):
            left.future.result(60)
        stays = engine.submit("r", requests("d", "e"))
        held.go.release(2)
        assert texts(stays) == ["D", "E"]
    assert held.batches == [["a"], ["d", "e"]]
    assert dropped == [("cancelled", 2)]


def test_one_that_leaves_in_the_middle_of_its_batch_harms_nobody(held: Any) -> None:
    with TranslationEngine({"r": held}) as engine:
        left = engine.submit("r", requests("a"))
        assert held.begun.acquire(timeout=60)
        engine.cancel(left)
        held.go.release(2)
        assert texts(engine.submit("r", requests("b"))) == ["B"]


def test_an_error_is_told_to_whose_lines_it_is_alone() -> None:
    def translate(lines: Any, wanted: Wanted) -> list[Translation]:
        if any(line.text == "bad" for line in lines):
            raise UserError("no")
        return [Translation(line.text) for line in lines]

    engine = TranslationEngine({"r": AtOnce(translate)}, Limits(batch_lines=4))
    bad, good = engine.submit("r", requests("x", "bad", "y", "z")), engine.submit("r", requests("c", "d", "e"))
    with engine:  # both were there before the first batch
        assert texts(good) == ["c", "d", "e"]
        with pytest.raises(UserError):
            bad.future.result(60)
    assert engine.num_waiting == 0


def test_to_close_is_to_answer_all_that_was_taken_and_nothing_more(held: Any) -> None:
    with TranslationEngine({"r": held}) as engine:
        jobs = [engine.submit("r", requests(name)) for name in "abc"]
        held.go.release(3)
    assert [texts(job) for job in jobs] == [["A"], ["B"], ["C"]]
    assert not engine.is_alive
    with pytest.raises(EngineClosedError):
        engine.submit("r", requests("d"))


def test_no_lines_are_done_at_once(held: Any) -> None:
    assert TranslationEngine({"r": held}).submit("r", []).future.result(0) == []


def test_lines_are_told_one_by_one(held: Any) -> None:
    told: list[tuple[int, str]] = []
    held.go.release(2)
    with TranslationEngine({"r": held}, Limits(batch_lines=1)) as engine:
        job = engine.submit("r", requests("a", "b"), told=lambda place, each: told.append((place, each.text)))
        job.future.result(60)
    assert told == [(0, "A"), (1, "B")]


def test_lines_of_a_running_search_are_taken_out_when_nobody_waits_for_them(translator: Translator) -> None:
    dropped: list[tuple[str, int]] = []
    lines_of_steps: list[int] = []
    is_begun, goes_on = threading.Event(), threading.Event()

    class Notes(Listener):
        def lines_dropped(self, reason: str, num_lines: int) -> None:
            dropped.append((reason, num_lines))

        def step_done(self, run: str, num_lines: int, seconds: float) -> None:
            lines_of_steps.append(num_lines)
            is_begun.set()
            assert goes_on.wait(600)

    expected = [translator.translate([line], with_scores=False)[0].text for line in SENTENCES]
    with TranslationEngine({"r": LoadedModel(translator)}, listener=Notes()) as engine:
        left = engine.submit("r", requests(*SENTENCES[::-1] * 3))
        stays = engine.submit("r", requests(*SENTENCES))
        assert is_begun.wait(600)
        engine.cancel(left, "late")
        goes_on.set()
        assert texts(stays) == expected
        assert texts(engine.submit("r", requests(*SENTENCES))) == expected
    assert dropped == [("late", 1)] * 3 * len(SENTENCES)
    assert lines_of_steps[0] == 4 * len(SENTENCES)
    assert max(lines_of_steps[1:]) == len(SENTENCES)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_line_is_translated_as_alone_whatever_else_is_in_flight(translator: Translator, num_threads: int) -> None:
    generator = random.Random(5)
    words = " ".join(SENTENCES).split()
    lines = [" ".join(generator.choices(words, k=generator.randint(1, 12))) for _ in range(18)]
    alone = {line: translator.translate([line], with_scores=False)[0].text for line in lines}
    assert len(set(alone.values())) > 10

    engine = TranslationEngine({"r": LoadedModel(translator)}, Limits(batch_lines=7), num_threads=num_threads)
    jobs = [engine.submit("r", requests(*lines[n : n + 3]), Wanted(num_best=1 + n % 2)) for n in range(0, 18, 3)]
    with engine:
        for n, job in zip(range(0, 18, 3), jobs, strict=True):
            if n % 2 == 0:  # with alternatives the search goes on for longer, as it does with --nbest
                assert texts(job) == [alone[line] for line in lines[n : n + 3]]
            else:
                expected = translator.translate(lines[n : n + 3], 2, with_scores=False)
                assert texts(job) == [each.text for each in expected]
