"""Show the progress of long work: a bar in a terminal, otherwise a log message every :data:`SECONDS` seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from dssm_lightning.utils.console import console, printable
from dssm_lightning.utils.logger import log_info

T = TypeVar("T")

SECONDS = 30.0
"""Seconds between two log messages."""


def track(items: Iterable[T], description: str, total: int, least: int = 1) -> Iterator[T]:
    """Yield the items and show the progress.

    Args:
        items: the work.
        description: name of the work, such as ``encoding``.
        total: how many items there are.
        least: number of items from which progress is shown.
    """
    if total < least:
        yield from items
    elif console().is_terminal:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        about = TextColumn("{task.description}", markup=False)
        columns = (about, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(elapsed_when_finished=True))
        with Progress(*columns, transient=True) as bar:  # rich's own console: bars within bars share it
            yield from bar.track(items, total, description=printable(description))
    else:
        yield from _lines(items, description, total)


def _lines(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS:
            last = now
            left = (now - start) / done * (total - done)
            log_info(f"{description}: {done:,} of {total:,}, about {format_seconds(left)} left")


def format_seconds(seconds: float) -> str:
    """Format a duration for people.

    Example:
        >>> format_seconds(75), format_seconds(7260)
        ('1:15 min', '2:01 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, more = divmod(minutes, 60)
    return f"{hours}:{more:02} h" if hours else f"{minutes}:{rest:02} min"
