"""A specification that stays as it is for the life of the process."""

import asyncio
from collections.abc import AsyncIterator

from vegd.sources.file import SpecSnapshot


class FixedSource:
    """Yields its one snapshot again whenever it is asked to reload."""

    def __init__(self, snapshot: SpecSnapshot) -> None:
        self._snapshot = snapshot
        self._asked = asyncio.Event()

    def reload(self) -> None:
        """Yield it again."""
        self._asked.set()

    async def snapshots(self) -> AsyncIterator[SpecSnapshot]:
        """The snapshot, each time it is asked for, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            yield self._snapshot
