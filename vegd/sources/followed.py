"""The specification from two files: the one that was given, and the one that the watcher keeps.

Both are followed as `vegd.sources.file` does, and each has its last good specification. Of these
the one with the higher `revision` is in force, on a tie that of the file that was given. A bad file
leaves the other in force and says so, until that one brings something newer. The watcher's file may
be missing until it is there for the first time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from vegd.sources.file import FileSource, SpecSnapshot
from vegd.spec import SpecError

_Order = tuple[int, int]


class TwoFiles:
    """Like `FileSource`, of two: call `first` once, then iterate over `snapshots`."""

    def __init__(self, given: Path, followed: Path, period_s: float = 1.0) -> None:
        self._sources = (FileSource(given, period_s), FileSource(followed, period_s))
        self._newest: list[SpecSnapshot] = [
            SpecSnapshot(0, None, (), path) for path in (given, followed)
        ]
        self._outdated = -1
        """Which of the two the other has overtaken, so that its faults do not matter any more."""
        self._snapshot = self._newest[0]

    async def first(self) -> SpecSnapshot:
        """The specification to start with; SpecError if neither file has one."""
        for place, source in enumerate(self._sources):
            self._newest[place] = await source.look()
        self._fold()
        if self._snapshot.spec is None:
            raise SpecError(self._snapshot.faults, str(self._newest[0].path))
        return self._snapshot

    def reload(self) -> None:
        """Look now, and yield a snapshot even if nothing has changed."""
        for source in self._sources:
            source.reload()

    async def snapshots(self) -> AsyncIterator[SpecSnapshot]:
        """What is new since `first`, for ever: changes, and the answer to each `reload`."""
        streams = [source.snapshots() for source in self._sources]
        waiting = [asyncio.ensure_future(_next(stream)) for stream in streams]
        try:
            while True:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for place, task in enumerate(waiting):
                    if task.done():
                        self._take(place, task.result())
                        waiting[place] = asyncio.ensure_future(_next(streams[place]))
                yield self._snapshot
        finally:
            for task in waiting:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waiting, return_exceptions=True)

    def _take(self, place: int, snapshot: SpecSnapshot) -> None:
        if snapshot != self._newest[place]:
            self._newest[place] = snapshot
            if snapshot.faults:
                self._outdated = -1
            elif snapshot.spec is not None and self._chosen() == place:
                self._outdated = 1 - place
        self._fold()

    def _chosen(self) -> int | None:
        """Which of the two counts; None if neither has ever been good."""
        order: list[_Order] = [
            (each.spec.revision, -place)
            for place, each in enumerate(self._newest)
            if each.spec is not None
        ]
        return -max(order)[1] if order else None

    def _fold(self) -> None:
        place = self._chosen() or 0
        counts, before = self._newest[place], self._snapshot
        bad = self._bad()
        faulty = None if bad is None or bad is counts else bad.path
        self._snapshot = replace(
            counts,
            generation=before.generation + (counts.spec != before.spec),
            faults=() if bad is None else bad.faults,
            faulty=faulty,
        )

    def _bad(self) -> SpecSnapshot | None:
        """The one whose faults are worth telling."""
        for place, each in enumerate(self._newest):
            never_there = place == 1 and each.spec is None and not each.path.exists()
            if each.faults and place != self._outdated and not never_there:
                return each
        return None


async def _next(stream: AsyncIterator[SpecSnapshot]) -> SpecSnapshot:
    return await anext(stream)
