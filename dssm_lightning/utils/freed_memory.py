"""What becomes of the memory that a process frees: a server gives it back to the system, a fit or test keeps it."""

from __future__ import annotations

import ctypes
import sys

LARGE = 4 << 20
"""Bytes of a block that goes back to the system as soon as a server frees it."""
ARENAS = 2
"""Parts of a server's heap. Each thread would have its own, with gaps that no other thread fills."""
KEPT = 1 << 30
"""Bytes at the end of the heap that a fit or a test keeps."""
LARGEST_OF_HEAP = 32 << 20
"""Bytes of the largest block that glibc takes from the heap."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of <malloc.h>


def give_memory_back() -> bool:
    """Let the C library return freed memory soon, and say whether it can.

    Once a large block was freed, glibc keeps blocks of up to 32 MiB, and twice that in each of its arenas. A server
    that gets a large request now and then would keep the memory of the largest one in each thread.
    """
    return _set({_MMAP_THRESHOLD: LARGE, _TRIM_THRESHOLD: LARGE, _ARENA_MAX: ARENAS})


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next block, and say whether it can.

    A step frees its matrices, and the next step asks for as large ones. glibc would return them to the system in
    between, which clears every page before it hands it out again.
    """
    return _set({_MMAP_THRESHOLD: LARGEST_OF_HEAP, _TRIM_THRESHOLD: KEPT})


def _set(settings: dict[int, int]) -> bool:
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    taken = [bool(mallopt(name, value)) for name, value in settings.items()]  # all of them, whatever the first says
    return all(taken)
