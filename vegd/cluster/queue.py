"""Keys that wait for work: each once, never two workers at one, failures later and later.

Adding a key says "look again", not what happened: a key that is added ten times while it waits is
worked on once, and one that is added while a worker has it is worked on once more afterwards. A
failure keeps only its own key back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kube.errors import ApiError
from vegd.backoff import Backoff

log = logging.getLogger(__name__)

_FIRST_S, _MOST_S = 0.5, 300.0


@dataclass(slots=True)
class Figures:
    """What has gone through a queue."""

    added: int = 0
    worked: int = 0
    failed: int = 0
    seconds: float = 0.0
    """All work together."""
    longest_wait_s: float = 0.0
    """From when a key was due until a worker took it."""


@dataclass(slots=True)
class _Entry:
    due_s: float | None = None
    """When it is to be worked on; None: it need not be."""
    timer: asyncio.TimerHandle | None = None
    is_queued: bool = False
    is_worked_on: bool = False
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_S, _MOST_S))
    failures: int = 0
    failure: Exception | None = None
    """The last one, if no success came after it."""
    retry_s: float = 0.0
    """When it is to be tried again after its last failure."""


class WorkQueue:
    """Runs in one event loop."""

    def __init__(self) -> None:
        self.figures = Figures()
        self._entries: dict[str, _Entry] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker now; not those that wait for their time."""
        return self._ready.qsize()

    @property
    def failing(self) -> dict[str, int]:
        """The keys whose last work failed, with how many times in a row."""
        return {key: each.failures for key, each in self._entries.items() if each.failures}

    def add(self, key: str, after_s: float = 0.0) -> None:
        """Have a key worked on after a while; the soonest wish counts."""
        self.figures.added += 1
        entry = self._entries.setdefault(key, _Entry())
        if self._want(entry, after_s) and not entry.is_worked_on:
            self._arm(key, entry)

    def retry(self, is_meant: Callable[[Exception], bool]) -> None:
        """Have the keys worked on now whose last failure is meant; and once more those that a
        worker has, which may be about to fail."""
        for key, entry in tuple(self._entries.items()):
            if entry.is_worked_on or (entry.failure is not None and is_meant(entry.failure)):
                self.add(key)

    async def run(
        self,
        work: Callable[[str], Awaitable[float | None]],
        workers: int,
        failures: type[Exception],
    ) -> None:
        """Work for ever, on so many keys at a time.

        `work` says after how many seconds the key is to be looked at again, or None. What it raises
        of `failures` is logged, and the key comes again, later each time; anything else ends all.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._serve(work, failures))

    async def _serve(
        self, work: Callable[[str], Awaitable[float | None]], failures: type[Exception]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self._ready.get()
            entry = self._entries[key]
            begun_s = loop.time()
            waited_s = begun_s - (entry.due_s or begun_s)
            self.figures.longest_wait_s = max(self.figures.longest_wait_s, waited_s)
            entry.is_queued, entry.is_worked_on, entry.due_s = False, True, None
            try:
                again_s = await work(key)
            except failures as exc:
                again_s = self._failed(key, entry, exc)
            else:
                entry.failures, entry.failure = 0, None
                entry.backoff.reset()
            finally:
                entry.is_worked_on = False
                self.figures.worked += 1
                self.figures.seconds += loop.time() - begun_s
            self._end(key, entry, again_s)

    def _end(self, key: str, entry: _Entry, again_s: float | None) -> None:
        """Have the key wait again, if it was added meanwhile or its work asked for it."""
        if again_s is not None:
            self._want(entry, again_s)
        if entry.due_s is None:
            del self._entries[key]
        else:
            self._arm(key, entry)

    def _failed(self, key: str, entry: _Entry, exc: Exception) -> float:
        """When to try again; what the failure itself asks for is the least.

        A failure that came sooner, because of a change, does not put that off: many changes while
        something is away would have the key wait for long after it has come back.
        """
        self.figures.failed += 1
        entry.failures += 1
        entry.failure = exc
        now_s = asyncio.get_running_loop().time()
        wait_s = entry.retry_s - now_s if now_s < entry.retry_s else entry.backoff.wait_s()
        if isinstance(exc, ApiError):
            wait_s = max(wait_s, exc.retry_after_s)
        entry.retry_s = now_s + wait_s
        log.warning("%s: %s; again in %.1f s", key, exc, wait_s)
        return wait_s

    def _want(self, entry: _Entry, after_s: float) -> bool:
        """Note a wish; whether it is sooner than the ones before."""
        due_s = asyncio.get_running_loop().time() + after_s
        if entry.due_s is not None and entry.due_s <= due_s:
            return False
        entry.due_s = due_s
        return True

    def _arm(self, key: str, entry: _Entry) -> None:
        if entry.is_queued or entry.due_s is None:
            return
        if entry.timer is not None:
            entry.timer.cancel()
        loop = asyncio.get_running_loop()
        if entry.due_s <= loop.time():
            self._due(key, entry)
        else:
            entry.timer = loop.call_at(entry.due_s, self._due, key, entry)

    def _due(self, key: str, entry: _Entry) -> None:
        entry.timer = None
        entry.is_queued = True
        self._ready.put_nowait(key)
