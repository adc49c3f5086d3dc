"""An epoll selector that wakes on the microsecond.

epoll counts whole milliseconds, and the selector of the standard library rounds up to them: a
detection time would end a millisecond late, and for sessions of 10 ms that is a tenth of the
interval. So a wait that has an end is left to select(2), which counts microseconds, with the epoll
instance as the one thing that it watches.
"""

import os
import select
import selectors

_MOST_EVENTS = 64


class MicrosecondSelector(selectors.EpollSelector):
    """For ``asyncio.SelectorEventLoop``. Its file descriptor must be below 1024 (FD_SETSIZE):
    make it when the process starts."""

    def __init__(self) -> None:
        super().__init__()
        # A second handle of the same epoll instance, so that both can be closed.
        self._handle = select.epoll.fromfd(os.dup(self.fileno()))
        self._watched = (self._handle.fileno(),)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        if timeout is None:
            happenings = self._handle.poll(-1, _MOST_EVENTS)
        elif timeout <= 0 or select.select(self._watched, (), (), timeout)[0]:
            happenings = self._handle.poll(0, _MOST_EVENTS)
        else:
            return []
        keys = self.get_map()
        ready = []
        for descriptor, happened in happenings:
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
