"""AsyncTranslator: many tasks and threads at a time, each of which gets what `Translator.translate` gives."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from mtmoe import AsyncTranslator, Request, Translation, Translator, UserError
from mtmoe.inference.requests import Wanted
from mtmoe.inference.translator import LineRead
from tests.inference.conftest import SENTENCES

NUM_TASKS = 200


def texts(translations: Sequence[Translation]) -> list[str]:
    return [translation.text for translation in translations]


@pytest.fixture(scope="module")
def translator(run_directory: Path) -> Translator:
    """What `mtmoe translate` translates with."""
    return Translator(run_directory, device="cpu")


@pytest.fixture(scope="module")
def calls() -> list[list[str]]:
    """Lines of many calls: one or two of any length, some blank."""
    generator = random.Random(7)
    words = " ".join(SENTENCES).split()

    def line() -> str:
        return " ".join(generator.choices(words, k=generator.randint(0, 6)))

    return [[line() for _ in range(generator.choice((1, 1, 1, 2)))] for _ in range(NUM_TASKS)]


@pytest.fixture(scope="module")
def expected(translator: Translator, calls: list[list[str]]) -> list[list[str]]:
    """What the translator gives these lines, in one call."""
    found = iter(texts(translator.translate([line for lines in calls for line in lines])))
    expected = [[next(found) for _ in lines] for lines in calls]
    assert len({each for lines in expected for each in lines}) > NUM_TASKS / 2
    return expected


def test_hundreds_of_tasks_get_what_one_call_gives(
    translator: Translator, calls: list[list[str]], expected: list[list[str]]
) -> None:
    async def all_at_once() -> list[list[Translation]]:
        async with AsyncTranslator(translator) as running:
            return await asyncio.gather(*(running.translate(lines) for lines in calls))

    assert list(map(texts, asyncio.run(all_at_once()))) == expected


def test_threads_share_it_and_the_translator_itself_works_meanwhile(
    translator: Translator, calls: list[list[str]], expected: list[list[str]]
) -> None:
    with AsyncTranslator(translator) as running, ThreadPoolExecutor(8) as pool:

        def translated(number: int) -> list[Translation]:
            if number % 4 == 0:
                return translator.translate(calls[number])
            if number % 4 == 1:
                return asyncio.run(running.translate(calls[number]))
            return running.submit(calls[number]).result(300)

        found = list(pool.map(translated, range(16)))
    assert list(map(texts, found)) == expected[:16]


def test_numbers_alternatives_and_alignments_are_those_of_the_translator(translator: Translator) -> None:
    async def both() -> tuple[list[Translation], list[Translation]]:
        async with AsyncTranslator(translator) as running:
            wanted = running.translate(SENTENCES, 3, with_alignment=True)
            return await asyncio.gather(wanted, running.translate([Request(SENTENCES[0], prefix="Deux")]))

    found, with_prefix = asyncio.run(both())
    alone = translator.translate(SENTENCES, 3, with_alignment=True)
    for one, other in zip(found, alone, strict=True):
        assert (one.text, one.alignment) == (other.text, other.alignment)
        assert texts(one.alternatives) == texts(other.alternatives)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
    assert with_prefix[0].text.startswith("Deux")


class Counting(Translator):
    """Counts the lines that it has translated."""

    num_finished = 0

    def finished(self, line: LineRead, translation: Translation, wanted: Wanted) -> Translation:
        self.num_finished += 1
        return super().finished(line, translation, wanted)


@pytest.fixture
def counting(run_directory: Path) -> Counting:
    """A translator that tells how much it did."""
    return Counting(run_directory, device="cpu")


MANY = [SENTENCES[1]] * 3000


def test_a_task_that_is_cancelled_takes_its_lines_out_and_harms_no_other(
    counting: Counting, calls: list[list[str]], expected: list[list[str]]
) -> None:
    async def cancelled_in_between() -> list[list[Translation]]:
        async with AsyncTranslator(counting) as running:
            leaving = [asyncio.create_task(running.translate(MANY)) for _ in range(3)]
            staying = [asyncio.create_task(running.translate(lines)) for lines in calls[:20]]
            await asyncio.wait(staying, return_when=asyncio.FIRST_COMPLETED)  # so that lines of all are in the search
            for task in leaving:
                task.cancel()
            ended = await asyncio.gather(*leaving, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended)
            return await asyncio.gather(*staying)

    assert list(map(texts, asyncio.run(cancelled_in_between()))) == expected[:20]
    assert counting.num_finished < len(MANY) / 2


def test_a_thread_takes_its_lines_out_by_cancelling_what_it_waits_for(counting: Counting) -> None:
    with AsyncTranslator(counting) as running:
        future = running.submit(MANY)
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result(1)
        found = running.submit(SENTENCES[:1]).result(300)
    assert counting.num_finished < len(MANY) / 2
    assert texts(found) == texts(counting.translate(SENTENCES[:1]))


def test_an_error_is_told_to_its_own_call_alone(
    translator: Translator, calls: list[list[str]], expected: list[list[str]]
) -> None:
    async def one_is_wrong() -> list[list[Translation] | BaseException]:
        async with AsyncTranslator(translator) as running:
            good = [running.translate(lines) for lines in calls[:30]]
            bad = running.translate(SENTENCES, 99)
            return await asyncio.gather(*good[:15], bad, *good[15:], return_exceptions=True)

    found = asyncio.run(one_is_wrong())
    bad = found.pop(15)
    assert isinstance(bad, UserError)
    assert "99" in bad.problem
    assert [texts(each) for each in found if not isinstance(each, BaseException)] == expected[:30]


def test_an_event_loop_that_ends_leaves_it_to_the_next_one(translator: Translator) -> None:
    told: list[object] = []
    running = AsyncTranslator(translator)

    async def left_behind() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        task = asyncio.create_task(running.translate(SENTENCES * 20))
        await asyncio.sleep(0.02)
        assert not task.done()  # `asyncio.run` cancels it, and closes the loop

    with running:
        for _ in range(3):
            asyncio.run(left_behind())
        assert texts(asyncio.run(running.translate(SENTENCES))) == texts(translator.translate(SENTENCES))
    assert told == []


def test_to_close_it_is_to_answer_what_was_taken_and_nothing_more(translator: Translator) -> None:
    running = AsyncTranslator(translator)
    futures = [running.submit(SENTENCES) for _ in range(5)]
    closing = [threading.Thread(target=running.close) for _ in range(2)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(300)
    assert all(future.done() for future in futures)
    assert [texts(future.result(0)) for future in futures] == [texts(translator.translate(SENTENCES))] * 5
    with pytest.raises(ValueError, match="closed"):
        running.submit(SENTENCES)
    with pytest.raises(ValueError, match="closed"):
        asyncio.run(running.translate(SENTENCES))


def test_other_tasks_go_on_while_lines_are_translated_and_while_it_is_closed(translator: Translator) -> None:
    async def ticks_meanwhile() -> int:
        running = AsyncTranslator(translator)
        translating = asyncio.create_task(running.translate(SENTENCES * 10))
        await asyncio.sleep(0)  # it is submitted
        closing = asyncio.create_task(running.aclose())
        num_ticks = 0
        while not closing.done():
            await asyncio.sleep(0.001)
            num_ticks += 1
        assert translating.done()
        return num_ticks

    assert asyncio.run(ticks_meanwhile()) > 5


def test_a_line_must_be_in_a_list(translator: Translator) -> None:
    with AsyncTranslator(translator) as running, pytest.raises(ValueError, match=r"write \[line\]"):
        running.submit("Where?")
