"""The specification from a file, followed while the daemon runs.

The file is looked at every second, and at once when asked (`reload`, for SIGHUP). What counts is
its content: a ``touch``, a rename over it or the swap of the symlink by which Kubernetes publishes
a ConfigMap are all just looked through. A change that is seen by looking is taken when two looks in
a row have found the same, because an editor that writes in place would otherwise be caught in the
middle, and half a list of policies may well be valid. A file that is bad or gone leaves the last
good specification in force and says so.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from vegd.spec import Fault, GatewaySpec, SpecError, parse_bytes, read_bytes

_SETTLE_S = 0.1
"""Longer than the tick in which two changes of a file may bear the same time (10 ms at most)."""

_Reading = tuple[bytes | None, tuple[Fault, ...]]
_Signature = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class SpecSnapshot:
    """The specification in force after a look at its source."""

    generation: int
    """1 for the first; grows only when the specification changes."""
    spec: GatewaySpec | None
    """The last good one; None when there never was one."""
    faults: tuple[Fault, ...]
    """Of the newest content; if there are any, that content is not in force."""
    path: Path
    """Where the specification in force was read."""
    warnings: tuple[Fault, ...] = ()
    """Of the specification in force."""
    faulty: Path | None = None
    """The file that has the faults, where it is not `path`."""


class FileSource:
    """Call `first` once, then iterate over `snapshots`. `period_s` is the time between looks."""

    def __init__(self, path: Path, period_s: float = 1.0) -> None:
        self._path = path
        self._period_s = period_s
        self._reload = asyncio.Event()
        self._reading: _Reading = (None, ())
        self._signature: _Signature = None
        self._snapshot = SpecSnapshot(0, None, (), path)

    async def first(self) -> SpecSnapshot:
        """The specification to start with; SpecError if there is none to be had."""
        snapshot = await self.look()
        if snapshot.spec is None:
            raise SpecError(snapshot.faults, str(self._path))
        return snapshot

    async def look(self) -> SpecSnapshot:
        """What the file says now, be it good or bad."""
        self._take(await asyncio.to_thread(read_bytes, self._path))
        return self._snapshot

    def reload(self) -> None:
        """Look now, and yield a snapshot even if nothing has changed."""
        self._reload.set()

    async def snapshots(self) -> AsyncIterator[SpecSnapshot]:
        """What is new since `first`, for ever: changes, and the answer to each `reload`."""
        while True:
            before = self._snapshot
            if await self._is_asked_within(self._period_s):
                self._reload.clear()
                yield await self.look()
            elif (reading := await self._changed()) is not None:
                self._take(reading)
                if self._snapshot != before:
                    yield self._snapshot

    async def _is_asked_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reload.wait()
        return self._reload.is_set()

    async def _changed(self) -> _Reading | None:
        """What the file says now, if that is new and has come to rest; None otherwise."""
        signature = _signature(self._path)
        if signature == self._signature:
            return None
        reading = await asyncio.to_thread(read_bytes, self._path)
        if reading == self._reading:
            self._signature = signature
            return None
        # An order to reload does not wait for the file to rest.
        if await self._is_asked_within(_SETTLE_S):
            return None
        again = await asyncio.to_thread(read_bytes, self._path)
        return reading if again == reading else None

    def _take(self, reading: _Reading) -> None:
        # The signature is taken with the next look: a change in between is then not missed.
        self._reading, self._signature = reading, None
        data, faults = reading
        spec = None
        if data is not None:
            spec, faults = parse_bytes(data)
        before = self._snapshot
        in_force = before.spec if spec is None else spec
        self._snapshot = SpecSnapshot(
            generation=before.generation + (in_force != before.spec),
            spec=in_force,
            faults=faults,
            path=self._path,
            warnings=() if in_force is None else in_force.warnings(),
        )


def _signature(path: Path) -> _Signature:
    """What changes when the file does, or is replaced, or goes; symlinks are followed."""
    try:
        seen = path.stat()
    except (OSError, ValueError):
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
