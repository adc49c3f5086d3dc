"""How long the sessions outlive their agent.

An agent is a connection that has committed a set. While none is there the hold time runs, from the
moment when the last one hung up; that moment is kept through a restart of the engine, so that a
restart does not give it again.
"""

import asyncio
from collections.abc import Awaitable, Callable

from bfd.timing import NEVER_US


class HoldTime:
    """`hold_s` seconds, 0 for ever; `on_end` is awaited each time when they are over.

    `on_news` is called when an agent came or the last one left.
    """

    def __init__(
        self, hold_s: float, on_end: Callable[[], Awaitable[None]], on_news: Callable[[], None]
    ) -> None:
        self._hold_us = round(hold_s * 1_000_000) or NEVER_US
        self._on_end = on_end
        self._on_news = on_news
        self._agents: set[object] = set()
        self._left = asyncio.Event()
        self._came = asyncio.Event()
        self.left_us: int | None = None
        """When the last agent hung up, on the loop's clock; None while one is there, and before
        the first."""

    def came(self, agent: object) -> None:
        """A connection has committed a set."""
        self._agents.add(agent)
        self.left_us = None
        self._left.clear()
        self._came.set()
        self._on_news()

    def went(self, connection: object) -> None:
        """A connection has ended, perhaps that of an agent."""
        if connection in self._agents:
            self._agents.remove(connection)
            if not self._agents:
                self.went_at(round(asyncio.get_running_loop().time() * 1_000_000))

    def went_at(self, left_us: int) -> None:
        """The last agent left at that time, be it in an earlier life of the engine."""
        self.left_us = left_us
        self._came.clear()
        self._left.set()
        self._on_news()

    async def keep(self) -> None:
        """Call `on_end` whenever no agent was there for the hold time; runs on."""
        if self._hold_us == NEVER_US:
            return
        while True:
            await self._left.wait()
            end_us = (self.left_us or 0) + self._hold_us
            try:
                async with asyncio.timeout_at(end_us / 1_000_000):
                    await self._came.wait()
            except TimeoutError:
                await self._on_end()
                await self._came.wait()
