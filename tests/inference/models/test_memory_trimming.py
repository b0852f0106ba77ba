import os
import subprocess
import sys

import pytest

from mtmoe.inference.models import memory_trimming as freed_memory
from mtmoe.inference.models.memory_trimming import MemoryTrimming, malloc_trim

# In a process of its own, whose heap nothing else has used.
_FREES_ALL_BUT_THE_LAST = """
import threading
from mtmoe.inference.models.memory_trimming import MemoryTrimming

def resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

def used_by_a_search():
    blocks = [b"x" * 50_000 for _ in range(2000)]  # 95 MiB, below the size that malloc maps for itself
    kept.append(blocks[-1])

kept = []
thread = threading.Thread(target=used_by_a_search)
thread.start()
thread.join()
before = resident_mib()
MemoryTrimming().translated(1024)
print(before - resident_mib())
"""


@pytest.mark.skipif(malloc_trim() is None, reason="the C library has no malloc_trim")
def test_what_a_search_has_freed_goes_back_to_the_system():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    result = subprocess.run(
        [sys.executable, "-c", _FREES_ALL_BUT_THE_LAST], capture_output=True, text=True, check=True, env=environment
    )
    assert float(result.stdout) > 80


def test_it_goes_back_now_and_then_and_not_after_each_sentence(monkeypatch):
    trimmed = []
    monkeypatch.setattr(freed_memory, "malloc_trim", lambda: trimmed.append)
    memory = MemoryTrimming()
    after = []
    for num_sentences in (1, 254, 1, 1, 255, 5000, 10):
        memory.translated(num_sentences)
        after.append(len(trimmed))
    assert after == [0, 0, 1, 1, 2, 3, 3]
    assert set(trimmed) == {0}


def test_a_system_without_it_goes_on(monkeypatch):
    monkeypatch.setattr(freed_memory, "malloc_trim", lambda: None)
    MemoryTrimming().translated(2000)
