"""The event loop of the engine: asyncio's, with the engine served inside its wait.

Nearly always the engine wakes up only to send and to read, which concerns nobody else. A turn of
asyncio's loop, with its handles, contexts and queues, would cost more than that. So the selector
calls the engine itself, for its deadline and its sockets, and waits on; it returns to asyncio for
asyncio's own descriptors and timers, and when the engine has asked asyncio for something.

epoll counts whole milliseconds, and the selector of the standard library rounds up to them: a
detection time would end a millisecond late, and for sessions of 10 ms that is a tenth of the
interval. So a wait that has an end is left to select(2), which counts microseconds, with the epoll
instance as the one thing that it watches.
"""

import asyncio
import logging
import os
import select
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

from bfd.timing import NEVER_US

log = logging.getLogger(__name__)

_MOST_EVENTS = 64
_Args = TypeVarTuple("_Args")


def monotonic_us() -> int:
    """The clock of the event loop, in whole microseconds."""
    return time.monotonic_ns() // 1000


class EngineSelector(selectors.EpollSelector):
    """For `EngineLoop`. Its file descriptor must be below 1024 (FD_SETSIZE): make it when the
    process starts.

    `due_us` is when `on_due` is called, once, by `monotonic_us`; set it again for another call.
    An error of the engine is logged, and does not end the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        # A second handle of the same epoll instance, so that both can be closed.
        self._handle = select.epoll.fromfd(os.dup(self.fileno()))
        self._watched = (self._handle.fileno(),)
        self._readers: dict[int, Callable[[], None]] = {}
        self.due_us = NEVER_US
        self.on_due: Callable[[], None] = lambda: None
        self.is_wanted = False
        """asyncio has got something to do since it began to wait."""

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call whenever there is something to read."""
        self._readers[fd] = callback
        self.register(fd, selectors.EVENT_READ)

    def remove_reader(self, fd: int) -> None:
        """Do not call any more."""
        del self._readers[fd]
        self.unregister(fd)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        self.is_wanted = False
        end_us = NEVER_US
        if timeout is not None:
            end_us = monotonic_us() + -int(-timeout * 1_000_000 // 1)
        while True:
            ready = self._wait(min(end_us, self.due_us))
            now_us = monotonic_us()
            if self.due_us <= now_us:
                self.due_us = NEVER_US
                self._call(self.on_due)
            if ready or self.is_wanted or end_us <= now_us:
                return ready

    def _wait(self, until_us: int) -> list[tuple[selectors.SelectorKey, int]]:
        """Until then, or until there is an event: those of the engine are seen to."""
        if until_us >= NEVER_US:
            happenings = self._handle.poll(-1, _MOST_EVENTS)
        else:
            wait_s = (until_us - monotonic_us()) / 1_000_000
            if wait_s > 0 and not select.select(self._watched, (), (), wait_s)[0]:
                return []
            happenings = self._handle.poll(0, _MOST_EVENTS)
        ready = []
        for descriptor, happened in happenings:
            reader = self._readers.get(descriptor)
            if reader is not None:
                self._call(reader)
                continue
            events = 0
            if happened & ~select.EPOLLIN:
                events |= selectors.EVENT_WRITE
            if happened & ~select.EPOLLOUT:
                events |= selectors.EVENT_READ
            key = self.get_map().get(descriptor)
            if key is not None:
                ready.append((key, events & key.events))
        return ready

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            log.exception("the engine has failed; it goes on")

    def close(self) -> None:
        """Close both handles."""
        self._handle.close()
        super().close()


class EngineLoop(asyncio.SelectorEventLoop):
    """See the module. `selector` serves the engine."""

    def __init__(self) -> None:
        self.selector = EngineSelector()
        super().__init__(self.selector)

    def call_soon(
        self,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """As asyncio's, and ends the wait."""
        self.selector.is_wanted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, and ends the wait: it may be for an earlier time."""
        self.selector.is_wanted = True
        return super().call_at(when, callback, *args, context=context)
