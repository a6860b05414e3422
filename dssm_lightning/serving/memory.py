"""How a server's process gives memory back to the system."""

from __future__ import annotations

import ctypes
import sys

LARGE = 4 << 20
"""Bytes of a block that goes back to the system as soon as it is freed."""
ARENAS = 2
"""Parts of the heap. Each thread would have its own, with gaps that no other thread fills."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of <malloc.h>


def give_memory_back() -> bool:
    """Let the C library return freed memory soon, and say whether it can.

    Once a large block was freed, glibc keeps blocks of up to 32 MiB, and twice that in each of its arenas. A server
    that gets a large request now and then would keep the memory of the largest one in each thread.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_MMAP_THRESHOLD: LARGE, _TRIM_THRESHOLD: LARGE, _ARENA_MAX: ARENAS}
    taken = [bool(mallopt(name, value)) for name, value in settings.items()]  # all of them, whatever the first says
    return all(taken)
