"""Several processes give what one gives, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.requests import Request
from mtmoe.inference.translator import Translator
from mtmoe.inference.worker_pool import WorkerPool

LINES = ["Where is the station?", "", "Two dogs play in the snow.", "The children are waiting.", "Snow", "A man"]
CHUNKS = [[Request(line, number=2 * place + n) for n, line in enumerate(LINES)] for place in range(5)]


def is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def test_workers_give_what_one_process_gives_in_order_and_answer_before_a_pause(run_directory):
    expected = [[t.text for t in Translator(run_directory, device="cpu").translate(chunk)] for chunk in CHUNKS]
    num_given_out = 0
    seen_at_pause = []

    def chunks():
        yield from CHUNKS[:3]
        seen_at_pause.append(num_given_out)
        yield []
        seen_at_pause.append(num_given_out)
        yield from CHUNKS[3:]

    found = []
    with WorkerPool(run_directory, 2, devices=["cpu"]) as pool:
        processes = pool.process_ids
        for answer in pool.translate_chunks(chunks()):
            num_given_out += 1
            found.append([t.text for t in answer])
    assert [texts for texts in found if texts] == expected
    assert seen_at_pause[0] < 3, "a pool that waits for each chunk uses one process only"
    assert seen_at_pause[1] == 4, "all that was read, and the pause itself"
    wait_until(lambda: not any(map(is_running, processes)))


def test_a_worker_that_dies_is_replaced_and_its_lines_are_translated(run_directory):
    warnings = []
    with WorkerPool(run_directory, 1, devices=["cpu"], warn=warnings.append) as pool:
        answers = pool.translate_chunks(CHUNKS)
        first = next(answers)
        os.kill(pool.process_ids[0], signal.SIGKILL)
        assert len([first, *answers]) == len(CHUNKS)
    assert len(warnings) == 1
    assert warnings[0].startswith("a worker process died (SIGKILL) over lines ")
    assert warnings[0].endswith("; another one works on them again")


def test_an_error_in_a_worker_is_the_error_of_the_pool(run_directory):
    with pytest.raises(UserError, match="num_best = 9 is more than decoding"):
        with WorkerPool(run_directory, 2, devices=["cpu"]) as pool:
            list(pool.translate_chunks(CHUNKS, num_best=9))
    with pytest.raises(UserError, match="no checkpoint '7'"):
        with WorkerPool(run_directory, 1, checkpoint="7") as pool:
            list(pool.translate_chunks(CHUNKS))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_process_that_started_it(run_directory, end):
    program = (
        "import sys, time\n"
        "from mtmoe.inference.worker_pool import WorkerPool\n"
        "from mtmoe.inference.requests import Request\n"
        "if __name__ == '__main__':\n"
        f"    with WorkerPool({str(run_directory)!r}, 2, devices=['cpu']) as pool:\n"
        "        answers = pool.translate_chunks([[Request('Snow')]] * 10**6)\n"
        "        for number, _ in enumerate(answers):\n"
        "            if number == 3:\n"
        "                print(*pool.process_ids, flush=True)\n"
    )
    # A group of its own, as in a terminal, where Ctrl-C reaches the workers too.
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(is_running, workers))
    for worker in workers:
        (blocked,) = re.findall(r"^SigBlk:\s*(\w+)", Path(f"/proc/{worker}/status").read_text(), re.MULTILINE)
        assert int(blocked, 16) & 1 << (signal.SIGINT - 1), "Ctrl-C would reach a worker that is starting"
    if end == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, end)
    _, talk = process.communicate(timeout=60)
    wait_until(lambda: not any(map(is_running, workers)))
    # The traceback of the interrupted program itself may quote any line of this module.
    assert "Process mtmoe worker" not in talk, "a worker complained"
    assert "spawn_main" not in talk, "a worker complained while it was starting"
