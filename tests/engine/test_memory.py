"""Memory is kept between the steps of a training: counted in page faults, which show new allocations."""

import subprocess
import sys

import pytest

from stylebridge.engine import memory
from stylebridge.engine.memory import keeping_freed_memory

_FAULTS = """
import contextlib, resource, sys
import torch
from stylebridge.engine.memory import keeping_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with keeping_freed_memory() if sys.argv[1] == "keep" else contextlib.nullcontext():
    for _ in range(5):
        torch.ones(20 << 20)  # 80 MiB, let go at once
    before = faults()
    for _ in range(5):
        torch.ones(20 << 20)
    print(faults() - before)
torch.ones(20 << 20)
before = faults()
torch.ones(20 << 20)
print(faults() - before)
"""


def _count(how: str) -> list[int]:
    environment = {"THP_MEM_ALLOC_ENABLE": "0", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], check=True, capture_output=True, text=True, env=environment
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(memory._glibc() is None, reason="needs glibc: elsewhere the system's allocator decides")
def test_inside_memory_is_kept_and_afterwards_it_is_given_back():
    pages = 80 << 8  # of 4 KiB in 80 MiB
    freely, _ = _count("free")
    kept, afterwards = _count("keep")
    assert freely > 3 * pages
    assert kept < pages / 10
    assert afterwards > pages / 2


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with keeping_freed_memory():
        pass
