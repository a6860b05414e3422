"""What a batcher does: works, and the jobs that ask for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from dssm_lightning.serving.errors import RequestError

Outcome = tuple[list[Any], dict[str, float]]
"""The result of each item, and the seconds by what was done."""


class Work(Protocol):
    """What is done with items. Items of works that are equal may be done together, with the same results as alone."""

    def __hash__(self) -> int:
        """Equal works have equal hashes."""

    @property
    def kind(self) -> str:
        """The name of it in metrics."""

    @property
    def costs_like(self) -> Hashable:
        """Works of an equal value take about the same time for an item."""

    @property
    def joins(self) -> bool:
        """Whether items of several requests may be done at once."""

    @property
    def is_light(self) -> bool:
        """Whether it may be done on the event loop, if it took little time before. A job of it has one item."""

    def run(self, items: Sequence[Any]) -> Outcome:
        """Do it.

        Raises:
            RequestError: an item is refused.
        """


class Job:
    """Some items of one request, and the future of their results."""

    __slots__ = ("deadline", "future", "is_alone", "is_queued", "items", "work")

    def __init__(self, work: Work, items: Sequence[Any], future: asyncio.Future[list[Any]], deadline: float) -> None:
        self.work, self.items, self.future, self.deadline = work, items, future, deadline
        self.is_queued, self.is_alone = False, not work.joins

    @property
    def key(self) -> Hashable:
        """Jobs of an equal key may be done together."""
        return self if self.is_alone else self.work

    def fail(self, error: BaseException) -> None:
        """Give the error to who waits, if somebody does."""
        if not self.future.done():
            self.future.set_exception(error)

    def succeed(self, results: list[Any]) -> None:
        """Give the results to who waits, if somebody does."""
        if not self.future.done():
            self.future.set_result(results)

    def expire(self) -> None:
        """Answer that the time is over."""
        self.fail(RequestError(504, "the answer took too long (--timeout); ask for less, or again later"))


Queue = dict[Hashable, deque[Job]]
"""Jobs in order of arrival, those of one key together."""


def run_jobs(jobs: Sequence[Job]) -> tuple[Outcome | Exception, float]:
    """Return the results or the error of jobs that are done together, and the processor time that they took."""
    items = [item for job in jobs for item in job.items]
    started = time.thread_time()
    try:
        outcome: Outcome | Exception = jobs[0].work.run(items)
    except RequestError as error:
        outcome = _without_frames(error)
    except Exception as error:  # an unexpected error: the request gets it, and the batcher goes on
        outcome = error
    return outcome, time.thread_time() - started


def _without_frames(error: RequestError) -> RequestError:
    """Let go of where an error came from: frames hold the bundle, and hold each other and the error for long."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
