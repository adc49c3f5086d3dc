"""The selector: right events, and waits that are not rounded up to milliseconds."""

import asyncio
import contextlib
import selectors
import socket
import time

from bfd.selector import MicrosecondSelector


def test_what_is_ready_is_reported_with_its_key() -> None:
    a, b = socket.socketpair()
    with contextlib.closing(MicrosecondSelector()) as selector, a, b:
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

    with contextlib.closing(MicrosecondSelector()) as selector:
        # A machine with other things to do is late, but not a thousand times in a row.
        assert any(waited() < 0.0046 for _ in range(1000))


def test_it_never_wakes_before_the_time() -> None:
    with contextlib.closing(MicrosecondSelector()) as selector:
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
        factory = asyncio.SelectorEventLoop
        with asyncio.Runner(loop_factory=lambda: factory(MicrosecondSelector())) as runner:
            assert runner.run(work()) == "world\n"
        assert right.recv(10) == b"hello\n"
