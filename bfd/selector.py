"""An epoll selector that wakes at most one millisecond late.

epoll counts whole milliseconds, which we like: timers that are close to each other share a wake-up.
But the selector of the standard library rounds up twice on the way (to milliseconds in floating
point, and from there again), so that nine milliseconds may become ten. For sessions of 10 ms that
is a tenth of the interval.
"""

import math
import os
import select
import selectors

_MOST_EVENTS = 64


class MillisecondSelector(selectors.EpollSelector):
    """For ``asyncio.SelectorEventLoop``."""

    def __init__(self) -> None:
        super().__init__()
        # A second handle of the same epoll instance, so that both can be closed.
        self._handle = select.epoll.fromfd(os.dup(self.fileno()))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        if timeout is None:
            wait_s = -1.0
        elif timeout <= 0:
            wait_s = 0.0
        else:
            # Half a millisecond less than wanted is rounded up to exactly what is wanted.
            wait_s = (math.ceil(timeout * 1000 - 1e-6) - 0.5) / 1000
        keys = self.get_map()
        ready = []
        for descriptor, happened in self._handle.poll(wait_s, _MOST_EVENTS):
            events = 0
            if happened & ~select.EPOLLIN:
                events |= selectors.EVENT_WRITE
            if happened & ~select.EPOLLOUT:
                events |= selectors.EVENT_READ
            key = keys[descriptor]
            ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        """Close both handles."""
        self._handle.close()
        super().close()
