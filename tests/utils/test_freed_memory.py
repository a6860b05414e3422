"""A server gives freed memory back to the system at once; a fit keeps it for its next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURED = """
import re, sys
import numpy as np
from dssm_lightning.utils import freed_memory

def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

can = getattr(freed_memory, sys.argv[1])() if sys.argv[1] else False
before = private()
first = np.ones(30 << 17)  # 30 MiB; glibc takes blocks of this size from its heap once one is freed
del first
others, small = [np.ones(20 << 17) for _ in range(int(sys.argv[2]))], bytearray(5_000)
del others
print(can, private() - before)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def retained(setting: str, blocks: int) -> tuple[bool, int]:
    """Whether the C library takes the setting, and how many MiB a process holds after it freed blocks of 20 MiB."""
    words = [sys.executable, "-c", MEASURED, setting, str(blocks)]
    found = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    return found[0] == "True", int(found[1])


def test_a_server_gives_large_blocks_back() -> None:
    can, kept = retained("give_memory_back", 2)
    assert not can or kept < 10
    if can:
        assert retained("", 2)[1] > 10, "the C library gives memory back by itself: the setting is not needed"


def test_a_fit_keeps_them() -> None:
    can, kept = retained("keep_memory", 4)
    assert not can or kept > 70
    if can:
        assert retained("", 4)[1] < 70, "the C library keeps memory by itself: the setting is not needed"
