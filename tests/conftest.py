"""Settings of all tests. On a machine that does other things, too, the time of a single example says nothing."""

from __future__ import annotations

import multiprocessing
import signal

import pytest
from hypothesis import settings

from tests import forked

LONGEST = (
    "tests/training/test_trainer.py",
    "tests/training/test_language_model_training.py",
    "tests/distributed/test_parity.py",
    "tests/distributed/test_elastic.py",
    "tests/documentation/test_documents_run.py",
    "tests/campaign/test_kills.py",
    "tests/distributed/",
    "tests/inference/test_stability.py",
    "tests/cli/",
    "tests/training/",
)
"""Files and folders whose tests take longest, that first. A process takes a file at a time: were one of these the last,
the other cores would wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: next((n for n, place in enumerate(LONGEST) if item.nodeid.startswith(place)), 99))


multiprocessing.get_context = forked.get_context

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A suite in the background of a script inherits that SIGINT is ignored, under nohup that SIGHUP is, and so would the
# commands that it interrupts.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
