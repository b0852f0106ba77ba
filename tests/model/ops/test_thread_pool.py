"""Pieces of an operation on several threads: each is done once, by whoever is free, and errors arrive."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator

import pytest
import torch

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.ops.thread_pool import MOST_THREADS, share_work


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_every_piece_is_done_once_by_several_threads_with_their_share_of_torchs() -> None:
    meeting, done, states = threading.Barrier(3, timeout=30), [], []

    def work(pieces: Iterator[int]) -> None:
        states.append((torch.get_num_threads(), torch.is_grad_enabled()))
        meeting.wait()  # passes only when three are at work at once
        done.extend(pieces)

    torch.set_num_threads(3)
    with torch.no_grad():
        share_work(list(range(100)), work)
    assert sorted(done) == list(range(100))
    assert states == [(1, False)] * 3
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("num_threads", "num_pieces"), [(1, 100), (4, 7), (4, 0), (MOST_THREADS + 1, 100)])
def test_few_pieces_one_thread_and_very_many_are_left_to_torch(num_threads: int, num_pieces: int) -> None:
    calls = []
    torch.set_num_threads(num_threads)

    def work(pieces: Iterator[int]) -> None:
        calls.append((list(pieces), torch.get_num_threads()))

    share_work(list(range(num_pieces)), work)
    assert calls == [(list(range(num_pieces)), num_threads)]


@pytest.mark.parametrize("of_helper", [True, False])
def test_an_error_of_any_thread_is_raised_and_no_piece_begun_after_it(of_helper: bool) -> None:
    main, begun = threading.current_thread(), []

    def work(pieces: Iterator[int]) -> None:
        for piece in pieces:
            begun.append(piece)
            if (threading.current_thread() is not main) == of_helper:
                raise ValueError("nothing doing")
            threading.Event().wait(0.001)  # so that the others have their turn

    with pytest.raises(ValueError, match="nothing doing"):
        share_work(list(range(10_000)), work)
    assert torch.get_num_threads() == 4
    assert len(begun) < 5_000


def test_what_was_made_in_inference_mode_may_be_written_to() -> None:
    meeting = threading.Barrier(4, timeout=30)
    with torch.inference_mode():
        result = torch.zeros(64)

        def work(pieces: Iterator[int]) -> None:
            meeting.wait()  # everyone takes part
            for piece in pieces:
                result[piece] += piece
                threading.Event().wait(0.001)

        share_work(list(range(64)), work)
    assert result.tolist() == list(range(64))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    share_work(list(range(8)), deque)  # now there are some here
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)  # rather than hang
            done: list[int] = []
            torch.set_num_threads(4)
            share_work(list(range(8)), done.extend)
            status = int(sorted(done) != list(range(8)))
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_layer_of_experts_has_the_same_bits_on_one_thread_and_on_four(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    settings = MixtureOfExpertsSettings(num_experts=64, experts_per_token=4, expert_hidden=24)
    mixture = MixtureOfExperts(16, settings).to(torch.float32 if dtype == torch.bfloat16 else dtype)
    torch.nn.init.normal_(mixture.gate.gate_DE)  # type: ignore[union-attr, arg-type]
    x_ND, weight_ND = torch.randn(300, 16, dtype=dtype, requires_grad=True), torch.randn(300, 16, dtype=dtype)
    with torch.no_grad():
        routing = mixture.gate(x_ND)
    results = []
    for num_threads in (1, 4, 4):
        torch.set_num_threads(num_threads)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y_ND = mixture.experts(x_ND, routing)
        gradients = torch.autograd.grad((y_ND * weight_ND).sum(), [x_ND, *mixture.experts.parameters()])
        results.append([y_ND, *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
