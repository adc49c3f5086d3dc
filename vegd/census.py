"""When the tracked connections are counted: on demand, and never so often that it costs much.

A scrape asks for the newest census and waits for it only shortly; a large table is finished after
it and shown to the next. The pause after a census is so long that counting takes a fiftieth of the
time at most, however large the table is.
"""

import asyncio
import logging
import time
from typing import NamedTuple

from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.portuse import Census

log = logging.getLogger(__name__)

_WAIT_S = 0.5
_PAUSE_S = 1.0
_PAUSE_FACTOR = 49


class Taken(NamedTuple):
    """A census, with the monotonic time at its end and how long it took, in seconds."""

    census: Census
    at: float
    took_s: float


class CensusTaker:
    """Counts, one census at a time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._newest: Taken | None = None
        self._due = 0.0
        self._asked = asyncio.Event()
        self._done = asyncio.Event()

    async def newest(self, good_for_s: float = 0.0) -> Taken | None:
        """The newest census, a fresh one if the pause is over and it is older than that; None if
        none could be taken yet."""
        if self._newest is not None and time.monotonic() - self._newest.at < good_for_s:
            return self._newest
        if not self._asked.is_set() and time.monotonic() >= self._due:
            self._done.clear()
            self._asked.set()
        if self._asked.is_set():
            try:
                async with asyncio.timeout(_WAIT_S):
                    await self._done.wait()
            except TimeoutError:
                log.debug("the census is not finished; the one before is shown")
        return self._newest

    async def run(self) -> None:
        """Count whenever it is asked for, for ever."""
        while True:
            await self._asked.wait()
            began = time.monotonic()
            try:
                census = await self._kernel.census()
            except (DataplaneError, OSError) as exc:
                log.warning("the tracked connections cannot be counted: %s", exc)
                self._newest = None
            else:
                now = time.monotonic()
                self._newest = Taken(census, now, now - began)
            finally:
                now = time.monotonic()
                self._due = now + max(_PAUSE_S, _PAUSE_FACTOR * (now - began))
                self._asked.clear()
                self._done.set()
