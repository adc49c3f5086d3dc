"""The loop: right events, waits that are not rounded up to milliseconds, the engine inside."""

import asyncio
import contextlib
import selectors
import socket
import time

import pytest

from bfd.selector import EngineLoop, EngineSelector, monotonic_us


def test_what_is_ready_is_reported_with_its_key() -> None:
    a, b = socket.socketpair()
    with contextlib.closing(EngineSelector()) as selector, a, b:
        selector.register(a, selectors.EVENT_READ, "a")
        selector.register(b, selectors.EVENT_READ | selectors.EVENT_WRITE, "b")
        ready = {key.data: events for key, events in selector.select(0)}
        assert ready == {"b": selectors.EVENT_WRITE}
        b.send(b"x")
        ready = {key.data: events for key, events in selector.select()}
        assert ready == {"a": selectors.EVENT_READ, "b": selectors.EVENT_WRITE}
        selector.unregister(b)
        b.close()
        a.recv(1)
        assert [events for _, events in selector.select(0)] == [selectors.EVENT_READ], "hung up"


def test_a_wait_is_not_rounded_up_to_milliseconds() -> None:
    def waited() -> float:
        start = time.monotonic()
        assert selector.select(0.0042) == []
        return time.monotonic() - start

    with contextlib.closing(EngineSelector()) as selector:
        # A machine with other things to do is late, but not a thousand times in a row.
        assert any(waited() < 0.0046 for _ in range(1000))


def test_it_never_wakes_before_the_time() -> None:
    with contextlib.closing(EngineSelector()) as selector:
        for tenths in range(1, 60):
            start = time.monotonic()
            selector.select(tenths / 10_000)
            assert time.monotonic() - start >= tenths / 10_000


def test_an_event_loop_runs_on_it() -> None:
    async def work() -> str:
        reader, writer = await asyncio.open_connection(sock=left)
        writer.write(b"hello\n")
        right.sendall(b"world\n")
        line = await reader.readline()
        await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        return line.decode()

    left, right = socket.socketpair()
    with right:
        with asyncio.Runner(loop_factory=EngineLoop) as runner:
            assert runner.run(work()) == "world\n"
        assert right.recv(10) == b"hello\n"


def test_the_engine_is_served_while_asyncio_sleeps() -> None:
    """Deadlines and packets of the engine, inside one wait of the loop."""
    turns = []

    def on_due() -> None:
        turns.append("due")
        if len(turns) < 20:
            selector.due_us = monotonic_us() + 1_000
            left.send(b"x")

    def on_readable() -> None:
        turns.append(right.recv(10).decode())

    async def sleep() -> None:
        loop.selector.due_us = monotonic_us() + 1_000
        await asyncio.sleep(0.5)

    left, right = socket.socketpair()
    with left, right, asyncio.Runner(loop_factory=EngineLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, EngineLoop)
        selector = loop.selector
        selector.on_due = on_due
        selector.add_reader(right.fileno(), on_readable)
        begun = time.monotonic()
        runner.run(sleep())
        assert time.monotonic() - begun >= 0.5
        selector.remove_reader(right.fileno())
    assert turns[:20] == ["due", "x"] * 10


def test_what_the_engine_asks_of_asyncio_is_done_at_once() -> None:
    async def wait() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EngineLoop)
        news, timer = asyncio.Event(), asyncio.Event()
        loop.selector.on_due = news.set
        loop.selector.due_us = monotonic_us() + 1_000
        await news.wait()
        loop.selector.on_due = lambda: loop.call_later(0.001, timer.set) and None
        loop.selector.due_us = monotonic_us() + 1_000
        await timer.wait()

    # Nothing else would end the wait.
    with asyncio.Runner(loop_factory=EngineLoop) as runner:
        runner.run(wait())


def test_a_reader_may_remove_another_that_is_ready_too() -> None:
    read: list[int] = []

    def read_and_remove(mine: socket.socket, other: socket.socket) -> None:
        read.append(mine.fileno())
        mine.recv(1)
        selector.remove_reader(other.fileno())

    a, b = socket.socketpair()
    with contextlib.closing(EngineSelector()) as selector, a, b:
        selector.add_reader(a.fileno(), lambda: read_and_remove(a, b))
        selector.add_reader(b.fileno(), lambda: read_and_remove(b, a))
        a.send(b"x")
        b.send(b"x")
        assert selector.select(0.001) == []
        assert len(read) == 1


def test_an_error_of_the_engine_is_logged_and_the_next_deadline_is_met(
    caplog: pytest.LogCaptureFixture,
) -> None:
    met = []

    def fail() -> None:
        selector.on_due = lambda: met.append(1)
        selector.due_us = monotonic_us()
        raise ValueError("wrong")

    with contextlib.closing(EngineSelector()) as selector:
        selector.on_due = fail
        selector.due_us = monotonic_us()
        selector.select(0.01)
    assert "ValueError: wrong" in caplog.text
    assert met == [1]
