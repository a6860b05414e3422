"""Requests that arrive together are answered together, without a wait, and without blocking the event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dssm_lightning.serving.costs import Costs
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.jobs import Job, Outcome, Queue, Work, run_jobs
from dssm_lightning.serving.settings import Limits

ON_THE_LOOP = 0.002
"""Seconds of computation that may run on the event loop at a time."""
MOST_COSTS = 512
"""Kinds of work whose costs are remembered."""
_LATER = {"Retry-After": "1"}


class Batcher:
    """Runs the jobs of one event loop.

    What arrives in one turn of the loop is one batch: there is no timer. Light work of at most two expected
    milliseconds runs on the loop at once. Everything else, and the first of its kind, runs in one thread; what queues
    meanwhile is the next batch. Light work and other work take turns in the thread. While other work is in the thread,
    light work goes on, on the loop. If a batch fails, its jobs are done one by one, so that a bad query fails alone.

    Args:
        limits: of the queue, of a batch, and of the time.
        count_batch: called after each batch with its kind, number of items and seconds.
        set_queue: called with the number of items that wait.
    """

    def __init__(
        self,
        limits: Limits,
        count_batch: Callable[..., None] = lambda kind, items, **seconds: None,
        set_queue: Callable[[int], None] = lambda items: None,
    ) -> None:
        self.limits, self.waiting = limits, 0
        self._count_batch, self._set_queue = count_batch, set_queue
        self._light: Queue = {}
        self._heavy: Queue = {}
        self._open: dict[Job, None] = {}  # in order of their deadlines
        self._costs: dict[Hashable, Costs] = {}
        self._seconds = 0.001  # of an item, of late
        self._timer: asyncio.TimerHandle | None = None
        self._is_scheduled = self._is_closed = self._is_heavy_next = False
        self._running: Queue | None = None  # the queue whose jobs are in the thread
        self._thread = ThreadPoolExecutor(1, "batches")

    async def submit(self, work: Work, items: Sequence[Any]) -> list[Any]:
        """Return the result of each item.

        Raises:
            RequestError: an item is refused; 429 too many items wait; 504 the time is over; 503 the server stops.
        """
        if self._is_closed:
            raise RequestError(503, "the server stops; ask again", headers=_LATER)
        if self.waiting and self.waiting + len(items) > self.limits.max_queue:
            raise self._full()
        loop = asyncio.get_running_loop()
        job = Job(work, items, loop.create_future(), loop.time() + self.limits.timeout)
        self._open[job] = None
        if self._timer is None:
            self._timer = loop.call_at(job.deadline, self._expire)
        self._enqueue(job)
        try:
            return await job.future
        finally:
            self._unqueue(job)
            del self._open[job], job  # an error's traceback holds this frame, which must not hold the error's job

    def close(self) -> None:
        """Refuse the jobs that wait, and all others; what runs comes to its end."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for job in [job for queue in (self._light, self._heavy) for jobs in queue.values() for job in jobs]:
            job.fail(RequestError(503, "the server stops; ask again", headers=_LATER))
        self._light.clear()
        self._heavy.clear()
        self._thread.shutdown(wait=False)

    # -- the queues ----------------------------------------------------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        costs = self._costs.get(job.work.costs_like) if job.work.is_light and not job.is_alone else None
        queue = self._heavy if costs is None or not costs.fitting(ON_THE_LOOP) else self._light
        jobs = queue.get(job.key)
        if jobs is None:
            jobs = queue[job.key] = deque()
        jobs.append(job)
        job.is_queued = True
        self.waiting += len(job.items)
        self._schedule()

    def _unqueue(self, job: Job) -> None:
        if job.is_queued:
            job.is_queued = False
            self.waiting -= len(job.items)

    def _take(self, queue: Queue, most: int) -> list[Job]:
        """Take the first jobs that may be done together, in order of arrival; what is left of them is last then."""
        key = next(iter(queue))
        jobs, size = queue.pop(key), 0
        taken: list[Job] = []
        now = asyncio.get_running_loop().time()
        while jobs and (not taken or size + len(jobs[0].items) <= most):
            job = jobs.popleft()
            self._unqueue(job)
            if now >= job.deadline:
                job.expire()
            if not job.future.done():  # its client is there
                taken.append(job)
                size += len(job.items)
        if jobs:
            queue[key] = jobs
        return taken

    def _expire(self) -> None:
        """Answer those whose time is over."""
        loop, self._timer = asyncio.get_running_loop(), None
        for job in self._open:
            if job.deadline > loop.time():
                self._timer = loop.call_at(job.deadline, self._expire)
                break
            job.expire()

    def _full(self) -> RequestError:
        seconds = max(1, math.ceil(self.waiting * self._seconds))
        message = f"{self.waiting:,} queries wait, of at most {self.limits.max_queue:,} (--max_queue)"
        return RequestError(429, f"{message}; ask again in {seconds} s", headers={"Retry-After": str(seconds)})

    # -- batches -------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Do one batch of light work, and hand a batch to the thread if that is free."""
        self._is_scheduled = False
        if self._heavy and self._running is None and self._is_heavy_next:
            self._run_in_thread(self._heavy)
        if self._light and self._running is not self._light and self._run_light():
            self._schedule()
        if self._heavy and self._running is None:
            self._run_in_thread(self._heavy)

    def _run_light(self) -> bool:
        """Run what waits on the loop if it is little, or else in the thread; beside a heavy batch, as much as fits.

        Returns whether more can be done now.
        """
        jobs = next(iter(self._light.values()))
        fitting = min(self._costs_of(jobs[0].work).fitting(ON_THE_LOOP), self.limits.max_batch_size)
        if len(jobs) > fitting and self._running is None:
            self._run_in_thread(self._light)
            return False
        taken = self._take(self._light, fitting) if fitting else []
        if taken:
            self._finish(taken, *run_jobs(taken))
        return bool(fitting and self._light)

    def _run_in_thread(self, queue: Queue) -> None:
        taken: list[Job] = []
        while queue and not taken:
            taken = self._take(queue, self.limits.max_batch_size)
        if not taken:
            return
        self._running, self._is_heavy_next = queue, queue is self._light
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, run_jobs, taken)
        done.add_done_callback(lambda done: self._thread_done(taken, done))

    def _thread_done(self, jobs: list[Job], done: asyncio.Future[tuple[Outcome | Exception, float]]) -> None:
        self._running = None
        self._finish(jobs, *done.result())
        if self._heavy or self._light:
            self._schedule()

    def _finish(self, jobs: list[Job], outcome: Outcome | Exception, seconds: float) -> None:
        """Give each job its results, or do the jobs of a failed batch one by one."""
        size = sum(len(job.items) for job in jobs)
        self._seconds += 0.05 * (seconds / size - self._seconds)
        self._set_queue(self.waiting)
        if isinstance(outcome, Exception):
            self._fail(jobs, outcome)
            return
        results, parts = outcome
        self._costs_of(jobs[0].work).add(size, seconds)
        self._count_batch(jobs[0].work.kind, size, **parts)
        start = 0
        for job in jobs:
            stop = start + len(job.items)
            job.succeed(results[start:stop])
            start = stop

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            if len(jobs) == 1 or self._is_closed:
                job.fail(error)
            elif not job.future.done():
                job.is_alone = True
                self._enqueue(job)

    def _costs_of(self, work: Work) -> Costs:
        key = work.costs_like
        found = self._costs.get(key)
        if found is None:
            if len(self._costs) >= MOST_COSTS:
                self._costs.clear()
            found = self._costs[key] = Costs()
        return found
