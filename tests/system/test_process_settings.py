"""Settings of the process: made by whoever calls for them, never over the user's, and by nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from mtmoe.system.process_settings import let_waiting_threads_sleep, prepare_for_training, prepare_for_translation
from tests.paths import ROOT

_LSTMS_OF_MANY_SHAPES = """
import torch
from mtmoe.system.process_settings import prepare_for_translation

def resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

prepare_for_translation()
torch.set_num_threads(1)
lstm = torch.nn.LSTM(64, 64, batch_first=True)
with torch.inference_mode():
    lstm(torch.zeros(40, 30, 64))
    before = resident_mib()
    for length in range(1, 31):
        for number in range(1, 21):
            lstm(torch.zeros(number, length, 64))
print(resident_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("variable", "keeps_few"), [(None, True), ("ONEDNN", False), ("DNNL", False)])
def test_few_compiled_products_are_kept_unless_the_user_says_so(variable, keeps_few):
    environment = {name: value for name, value in os.environ.items() if "PRIMITIVE_CACHE" not in name}
    if variable:
        environment[f"{variable}_PRIMITIVE_CACHE_CAPACITY"] = "1024"
    command = [sys.executable, "-c", _LSTMS_OF_MANY_SHAPES]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (float(result.stdout) < 70) is keeps_few, result.stdout


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_waiting_threads_sleep_early_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], expected: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that what comes is undone
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    let_waiting_threads_sleep()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize(
    ("chosen", "training", "translation"),
    [({}, "256", "128"), ({"ONEDNN": "7"}, "7", "7"), ({"DNNL": "7"}, None, None)],
)
def test_the_users_number_of_compiled_products_stays(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], training: str | None, translation: str | None
) -> None:
    for prepare, expected in (
        (lambda: prepare_for_training(torch.device("cpu")), training),
        (prepare_for_translation, translation),
    ):
        for library in ("ONEDNN", "DNNL"):
            monkeypatch.setenv(f"{library}_PRIMITIVE_CACHE_CAPACITY", "")
            monkeypatch.delenv(f"{library}_PRIMITIVE_CACHE_CAPACITY")
        for library, value in chosen.items():
            monkeypatch.setenv(f"{library}_PRIMITIVE_CACHE_CAPACITY", value)
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
        try:
            prepare()
        finally:
            torch.set_flush_denormal(False)
        assert os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == expected
        assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


_MAKES_ALL = """
import os, sys, warnings
before, filters = dict(os.environ), list(warnings.filters)
import torch
import mtmoe
from mtmoe.model.lstm import Lstm
Lstm(8, 4, 8)
assert os.environ == before, {k: v for k, v in os.environ.items() if before.get(k) != v}
assert not [f for f in warnings.filters if f not in filters and f[1] and "LSTM" in f[1].pattern]
"""


def test_making_a_layer_changes_neither_environment_nor_filters() -> None:
    done = subprocess.run([sys.executable, "-c", _MAKES_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_SETTINGS = re.compile(
    r"os\.environ\[[^]]*\] *\|?=(?!=)|os\.environ\.(setdefault|update|pop)|os\.putenv"
    r"|warnings\.(filterwarnings|simplefilter)|set_num_threads|set_num_interop_threads|set_flush_denormal"
)
_ALLOWED = {
    "mtmoe/system/process_settings.py": "the one place",
    "mtmoe/model/ops/thread_pool.py": "threads for one operation, given back",
    "mtmoe/inference/search/threads.py": "threads for one search, given back",
    "mtmoe/config/placeholder_patterns.py": "filters inside catch_warnings",
    "mtmoe/distributed/sharded_checkpoint.py": "filters inside catch_warnings",
}


def test_no_other_module_changes_what_belongs_to_the_process() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("mtmoe", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if _SETTINGS.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(_ALLOWED)
