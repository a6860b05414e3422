"""Jobs that arrive together are done together, each has its own result, and the loop never waits for long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dssm_lightning.serving.batching import Batcher
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.settings import Limits

LOOP = threading.main_thread()


@dataclass(frozen=True)
class Doubling:
    """Doubles numbers, and refuses negative ones; it remembers what was done together, and where."""

    seconds: float = 0.0
    name: str = "a"
    joins: bool = True
    is_light: bool = True
    kind: str = "doubling"
    batches: list[list[Any]] = field(default_factory=list, compare=False)
    threads: list[threading.Thread] = field(default_factory=list, compare=False)
    entered: threading.Event = field(default_factory=threading.Event, compare=False)
    watched: list[list[Any]] = field(default_factory=list, compare=False)
    seen: list[int] = field(default_factory=list, compare=False)  # batches of the watched work at the start of each own

    @property
    def costs_like(self) -> str:
        return f"{self.name}{self.seconds}"

    def run(self, items: Sequence[Any]) -> tuple[list[Any], dict[str, float]]:
        self.seen.append(len(self.watched))
        self.batches.append(list(items))
        self.threads.append(threading.current_thread())
        self.entered.set()
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            time.sleep(0)
        if any(item == "bug" for item in items):
            raise LookupError("a bug")
        if any(item < 0 for item in items):
            raise RequestError(422, f"{min(items)} is negative")
        return [2 * item for item in items], {"run": 0.0}


def run(made: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(made, 30))


async def warmed(batcher: Batcher, work: Doubling) -> Batcher:
    """The batcher, which knows what the work takes."""
    for _ in range(3):
        await batcher.submit(work, [1])
    work.batches.clear()
    work.threads.clear()
    return batcher


def test_the_first_of_its_kind_runs_in_the_thread_and_the_next_on_the_loop() -> None:
    async def check() -> None:
        work, batcher = Doubling(), Batcher(Limits())
        assert await batcher.submit(work, [1]) == [2]
        assert await batcher.submit(work, [2]) == [4]
        assert [each is LOOP for each in work.threads] == [False, True]

    run(check())


def test_what_arrives_together_is_one_batch_with_each_its_own_result() -> None:
    async def check() -> None:
        work = Doubling()
        batcher = await warmed(Batcher(Limits()), work)
        found = await asyncio.gather(*(batcher.submit(work, [number]) for number in range(20)))
        assert found == [[2 * number] for number in range(20)]
        assert work.batches == [list(range(20))]

    run(check())


def test_a_batch_is_no_larger_than_its_limit_and_keeps_the_order() -> None:
    async def check() -> None:
        work = Doubling()
        batcher = await warmed(Batcher(Limits(max_batch_size=8)), work)
        found = await asyncio.gather(*(batcher.submit(work, [number]) for number in range(20)))
        assert found == [[2 * number] for number in range(20)]
        assert work.batches == [list(range(8)), list(range(8, 16)), list(range(16, 20))]

    run(check())


def test_a_list_is_not_divided() -> None:
    async def check() -> None:
        work, batcher = Doubling(is_light=False), Batcher(Limits(max_batch_size=4))
        assert await batcher.submit(work, list(range(10))) == [2 * number for number in range(10)]
        assert work.batches == [list(range(10))]

    run(check())


def test_other_options_are_other_batches() -> None:
    async def check() -> None:
        one, other, batcher = Doubling(name="a"), Doubling(name="b"), Batcher(Limits())
        found = await asyncio.gather(*(batcher.submit(work, [1]) for work in [one, other, one, other]))
        assert found == [[2]] * 4
        assert (one.batches, other.batches) == ([[1, 1]], [[1, 1]])

    run(check())


def test_work_that_does_not_join_is_done_one_by_one() -> None:
    async def check() -> None:
        work, batcher = Doubling(joins=False), Batcher(Limits())
        await asyncio.gather(*(batcher.submit(work, [number]) for number in range(3)))
        assert work.batches == [[0], [1], [2]]

    run(check())


def test_a_bad_item_in_a_joined_batch_fails_alone() -> None:
    async def check() -> None:
        work = Doubling()
        batcher = await warmed(Batcher(Limits()), work)
        made = [batcher.submit(work, [number]) for number in (1, -7, 2, "bug", -8)]
        found = await asyncio.gather(*made, return_exceptions=True)
        assert [found[0], found[2]] == [[2], [4]]
        assert [str(found[place]) for place in (1, 4)] == ["-7 is negative", "-8 is negative"]
        assert isinstance(found[3], LookupError | TypeError)
        assert await batcher.submit(work, [3]) == [6]
        assert batcher.waiting == 0

    run(check())


def test_slow_work_does_not_block_the_loop_and_light_work_goes_on() -> None:
    async def check() -> None:
        light, heavy = Doubling(name="light"), Doubling(name="heavy", seconds=0.3, is_light=False)
        batcher = await warmed(Batcher(Limits()), light)
        slow = asyncio.create_task(batcher.submit(heavy, [1]))
        await asyncio.to_thread(heavy.entered.wait, 10)
        assert await batcher.submit(light, [2]) == [4]
        assert not slow.done()
        assert light.threads == [LOOP]
        assert await slow == [2]
        assert heavy.threads[0] is not LOOP

    run(check())


def test_what_becomes_slow_leaves_the_loop() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.01), Batcher(Limits())
        for _ in range(4):
            await batcher.submit(work, [1])
        assert LOOP not in work.threads

    run(check())


def test_what_queues_behind_a_batch_is_the_next_batch() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.05, is_light=False), Batcher(Limits())
        first = asyncio.create_task(batcher.submit(work, [0]))
        await asyncio.to_thread(work.entered.wait, 10)
        others = [asyncio.create_task(batcher.submit(work, [number])) for number in range(1, 6)]
        assert await asyncio.gather(first, *others) == [[2 * number] for number in range(6)]
        assert work.batches == [[0], [1, 2, 3, 4, 5]]

    run(check())


def test_light_and_other_work_take_turns_in_the_thread() -> None:
    async def check() -> None:
        light = Doubling(name="l", seconds=0.001)
        heavy = Doubling(name="h", is_light=False, watched=light.batches)
        batcher = await warmed(Batcher(Limits(max_batch_size=8)), light)
        jobs = [asyncio.create_task(batcher.submit(light, [number])) for number in range(64)]
        slow = asyncio.create_task(batcher.submit(heavy, [1]))
        await slow
        assert heavy.seen[0] <= 3, "the other work did not wait for all the light work"
        assert await asyncio.gather(*jobs) == [[2 * number] for number in range(64)]

    run(check())


def test_a_job_whose_time_is_over_is_answered_504_and_not_begun() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.4, is_light=False, joins=False), Batcher(Limits(timeout=0.1))
        began = time.perf_counter()
        found = await asyncio.gather(*(batcher.submit(work, [1]) for _ in range(3)), return_exceptions=True)
        assert time.perf_counter() - began < 0.35
        assert [getattr(error, "status", None) for error in found] == [504] * 3
        assert batcher.waiting == 0
        quick = Doubling(name="quick")
        batcher.limits = Limits()
        assert await batcher.submit(quick, [2]) == [4]
        assert work.batches == [[1]], "those that waited were never begun"

    run(check())


def test_a_client_that_left_leaves_nothing() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.1, is_light=False, joins=False), Batcher(Limits())
        running = asyncio.create_task(batcher.submit(work, [1]))
        await asyncio.to_thread(work.entered.wait, 10)
        left = [asyncio.create_task(batcher.submit(work, [2])) for _ in range(3)]
        await asyncio.sleep(0)
        assert batcher.waiting == 3
        for task in [running, *left]:
            task.cancel()
        found = await asyncio.gather(running, *left, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in found)
        assert batcher.waiting == 0
        assert await batcher.submit(Doubling(name="next"), [3]) == [6]
        assert work.batches == [[1]]
        assert not batcher._open

    run(check())


def test_a_full_queue_is_429_with_a_time() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.05, is_light=False, joins=False), Batcher(Limits(max_queue=3))
        running = asyncio.create_task(batcher.submit(work, [1]))
        await asyncio.to_thread(work.entered.wait, 10)
        waiting = [asyncio.create_task(batcher.submit(work, [1])) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match=r"3 queries wait.*3.*--max_queue") as error:
            await batcher.submit(work, [1])
        assert error.value.status == 429
        assert int(error.value.headers["Retry-After"]) >= 1
        await asyncio.gather(running, *waiting)
        assert await batcher.submit(work, [4]) == [8]

    run(check())


def test_one_request_above_the_queue_is_done_if_nothing_waits() -> None:
    assert run(Batcher(Limits(max_queue=3)).submit(Doubling(), list(range(5)))) == [0, 2, 4, 6, 8]


def test_a_closed_batcher_refuses_what_waits_and_finishes_what_runs() -> None:
    async def check() -> None:
        work, batcher = Doubling(seconds=0.1, is_light=False, joins=False), Batcher(Limits())
        running = asyncio.create_task(batcher.submit(work, [1]))
        await asyncio.to_thread(work.entered.wait, 10)
        waiting = asyncio.create_task(batcher.submit(work, [2]))
        await asyncio.sleep(0)
        batcher.close()
        with pytest.raises(RequestError, match="stops") as error:
            await waiting
        assert error.value.status == 503
        with pytest.raises(RequestError, match="stops"):
            await batcher.submit(work, [3])
        assert await running == [2]

    run(check())


def test_batches_are_counted() -> None:
    async def check() -> None:
        counted: list[Any] = []
        queues: list[int] = []
        batcher = Batcher(Limits(), lambda *values, **seconds: counted.append((*values, seconds)), queues.append)
        await asyncio.gather(*(batcher.submit(Doubling(), [number]) for number in range(3)))
        assert counted == [("doubling", 3, {"run": 0.0})]
        assert queues == [0]

    run(check())


def test_the_costs_of_very_many_kinds_are_not_kept() -> None:
    async def check() -> None:
        batcher = Batcher(Limits())
        for number in range(600):
            await batcher.submit(Doubling(name=str(number)), [1])
        assert len(batcher._costs) <= 512

    run(check())
