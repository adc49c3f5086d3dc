"""The work queue: each key once, never two workers at one, failures later and later."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from vegd.cluster.queue import WorkQueue

_LIMIT_S = 50


class _Trouble(Exception):
    pass


@asynccontextmanager
async def _running(
    queue: WorkQueue, work: Callable[[str], Awaitable[float | None]], workers: int = 3
) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(work, workers, _Trouble))
    try:
        async with asyncio.timeout(_LIMIT_S):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_key_that_is_added_often_while_it_waits_is_worked_on_once() -> None:
    queue, done = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        done.append(key)

    for _ in range(10):
        queue.add("a")
    queue.add("b")
    assert queue.depth == 2
    async with _running(queue, work):
        while len(done) < 2:
            await asyncio.sleep(0)
        queue.add("c")
        while "c" not in done:
            await asyncio.sleep(0)
    assert done == ["a", "b", "c"]
    assert (queue.figures.added, queue.figures.worked, queue.depth) == (12, 3, 0)


async def test_a_key_that_is_added_while_it_is_worked_on_is_worked_on_once_more() -> None:
    queue, at_work, most = WorkQueue(), Counter[str](), Counter[str]()
    let_go, begun = asyncio.Event(), asyncio.Queue[str]()

    async def work(key: str) -> None:
        at_work[key] += 1
        most[key] = max(most[key], at_work[key])
        begun.put_nowait(key)
        await let_go.wait()
        at_work[key] -= 1

    async with _running(queue, work):
        queue.add("a")
        await begun.get()
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(0.05)
        assert begun.empty()
        let_go.set()
        await begun.get()
    assert most == {"a": 1}
    assert queue.figures.worked == 2


async def test_so_many_keys_as_there_are_workers_are_worked_on_at_a_time() -> None:
    queue, let_go, begun = WorkQueue(), asyncio.Event(), list[str]()

    async def work(key: str) -> None:
        begun.append(key)
        await let_go.wait()

    for number in range(10):
        queue.add(str(number))
    async with _running(queue, work, workers=4):
        while len(begun) < 4:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert (len(begun), queue.depth) == (4, 6)
        let_go.set()
        while len(begun) < 10:
            await asyncio.sleep(0)


async def test_a_failure_comes_again_later_and_holds_nobody_else_up() -> None:
    queue, tries, loop = WorkQueue(), list[float](), asyncio.get_running_loop()
    others, over = list[str](), asyncio.Event()

    async def work(key: str) -> None:
        if key != "bad":
            others.append(key)
            return
        tries.append(loop.time())
        if len(tries) < 3:
            raise _Trouble("no")
        over.set()

    queue.add("bad")
    async with _running(queue, work, workers=1):
        while not tries:
            await asyncio.sleep(0)
        queue.add("good")
        while not others:
            await asyncio.sleep(0)
        assert queue.failing == {"bad": 1}
        await over.wait()
        while queue.failing:
            await asyncio.sleep(0)
    assert tries[1] - tries[0] >= 0.37
    assert tries[2] - tries[1] >= 0.75
    assert queue.figures.failed == 2


async def test_a_change_does_not_wait_for_the_next_try() -> None:
    queue, tries = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        tries.append(key)
        if len(tries) < 8:
            raise _Trouble("no")

    queue.add("a")
    async with _running(queue, work):
        for number in range(1, 8):
            while len(tries) < number or not queue.failing:
                await asyncio.sleep(0)
            queue.add("a")
        while len(tries) < 8:
            await asyncio.sleep(0)
    # By itself the eighth try comes after half a minute at least.
    assert queue.failing == {}


async def test_what_failed_for_a_reason_that_is_gone_is_tried_at_once() -> None:
    queue, tries, is_away = WorkQueue(), Counter[str](), True

    async def work(key: str) -> None:
        tries[key] += 1
        if key == "other":
            raise _Trouble("other")
        if is_away:
            raise _Trouble("away")

    async with _running(queue, work):
        for number in range(1, 11):
            # By itself the tenth try comes after minutes.
            for key in ("a", "other"):
                queue.add(key)
            while queue.failing != {"a": number, "other": number}:
                await asyncio.sleep(0)
        is_away, before = False, tries.copy()
        queue.retry(lambda exc: str(exc) == "away")
        while tries["a"] == before["a"]:
            await asyncio.sleep(0)
    assert tries["other"] == before["other"]
    assert queue.failing.keys() == {"other"}


async def test_failures_after_changes_do_not_put_the_next_try_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, tries = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        tries.append(key)
        raise _Trouble("no")

    queue.add("a")
    async with _running(queue, work):
        for number in range(1, 11):
            while len(tries) < number or queue.failing != {"a": number}:
                await asyncio.sleep(0)
            queue.add("a")
    waits = [float(each) for each in re.findall(r"again in ([\d.]+) s", caplog.text)]
    # Ten failures of its own would have it wait for minutes.
    assert len(waits) >= 10
    assert max(waits) < 8


async def test_work_can_ask_to_be_looked_at_again_and_the_soonest_wish_counts() -> None:
    queue, done, again = WorkQueue(), list[str](), [0.05, 1000.0]

    async def work(key: str) -> float:
        done.append(key)
        return again.pop(0)

    queue.add("a")
    async with _running(queue, work):
        while len(done) < 2:
            await asyncio.sleep(0.01)
        again.append(1000.0)
        queue.add("a", 500.0)
        assert queue.depth == 0
        queue.add("a")
        while len(done) < 3:
            await asyncio.sleep(0.01)
        queue.add("a", 2000.0)
        await asyncio.sleep(0.05)
    assert done == ["a"] * 3


async def test_what_is_no_expected_failure_ends_the_workers() -> None:
    queue = WorkQueue()

    async def work(key: str) -> None:
        raise ZeroDivisionError

    queue.add("a")
    with pytest.raises(ExceptionGroup) as ended:
        await queue.run(work, 2, _Trouble)
    assert ended.group_contains(ZeroDivisionError)
