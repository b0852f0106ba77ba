"""Searches in threads of one process: what they find, how they end, and what they leave behind."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtmoe.errors import UserError
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SearchSource
from mtmoe.inference.search.threads import WaitingSources, run_in_threads

OPTIONS = SearchOptions(
    beam_size=3,
    num_best=2,
    length_alpha=0.6,
    coverage_beta=0.3,
    prune_margin=2.0,
    max_length_ratio=1.0,
    max_length_extra=1,
)


@pytest.mark.parametrize("num_threads", [2, 3, 100])
def test_threads_find_what_one_search_finds(random_model, num_threads):
    generator = np.random.default_rng(1)
    sources = [generator.integers(4, 10, generator.integers(0, 9)).tolist() for _ in range(60)]
    model = random_model(4, 6)
    expected = search_all(model, sources, OPTIONS, batch_tokens=10_000)
    for batch_tokens in (1, 200, 10_000):
        found = search_all(model, sources, OPTIONS, batch_tokens=batch_tokens, num_threads=num_threads)
        for hypotheses, others in zip(found, expected, strict=True):
            assert [h.ids for h in hypotheses] == [h.ids for h in others]
            assert [h.score for h in hypotheses] == pytest.approx([h.score for h in others], abs=1e-5)


def test_the_searches_share_all_of_the_sources_evenly():
    lengths = [3, 9, 1, 5, 4, 7, 2]
    sources = [SearchSource.of(key, [4] * length, SearchTask(), OPTIONS) for key, length in enumerate(lengths)]
    waiting = WaitingSources(sources, num_searches=2)

    def taken(num_wanted):
        return [source.key for source in waiting.take(num_wanted)]

    assert taken(lambda source, num_waiting: 100) == [1, 5, 3, 4]  # longest first, and no more than half
    asked = []
    assert taken(lambda *arguments: asked.append(arguments) or 0) == []
    assert asked == [(sources[0], 3)]
    assert taken(lambda source, num_waiting: 2) == [0, 6]
    assert taken(lambda source, num_waiting: 2) == [2]
    assert taken(lambda source, num_waiting: 1 / 0) == []


def test_each_thread_computes_with_one_thread_and_the_setting_comes_back():
    def search():
        yield threading.current_thread(), torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = list(run_in_threads([search, search]))
        assert torch.get_num_threads() == 3
        assert [number for _, number in run_in_threads([search, search], 5)] == [2, 2]
        assert list(run_in_threads([search])) == [(threading.current_thread(), 3)]
    finally:
        torch.set_num_threads(before)
    assert len({thread for thread, _ in found} - {threading.current_thread()}) == 2
    assert [number for _, number in found] == [1, 1]


def test_searches_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)

    def search():
        yield meeting.wait()

    assert sorted(run_in_threads([search, search])) == [0, 1]


def test_an_error_of_one_ends_all_and_is_raised(random_model):
    num_steps = []

    def fine():
        while True:
            num_steps.append(1)
            time.sleep(0.001)
            yield 1

    def broken():
        yield 2
        raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        list(run_in_threads([fine, broken]))
    at_the_end = len(num_steps)
    time.sleep(0.05)
    assert len(num_steps) == at_the_end
    model = random_model(0, 3)
    model.predict = None
    with pytest.raises(TypeError):
        search_all(model, [[4], [5]], replace(OPTIONS, num_best=1), batch_tokens=100, num_threads=2)


def test_the_threads_end_when_nobody_waits_for_more():
    def endless():
        while True:
            yield 1

    found = run_in_threads([endless, endless])
    assert next(found) == 1
    before = threading.active_count()
    found.close()  # as by Ctrl-C in the loop over it
    assert threading.active_count() == before - 2


def test_a_search_that_finds_nothing_for_long_is_left_at_its_next_step():
    def slow():
        while True:
            time.sleep(0.001)
            yield None

    def broken():
        yield 1
        raise UserError("broken")

    before = threading.active_count()
    with pytest.raises(UserError, match="broken"):
        list(run_in_threads([slow, broken]))
    assert threading.active_count() == before
