"""Mirrors that are kept for as long as the program runs, whatever becomes of the API server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from kube.client import Client
from kube.errors import ApiError, Gone, KubeError
from kube.informer import Change, LeftOut, Mirror, Synced, Told, follow
from kube.objects import Query, Resource
from vegd.backoff import Backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_S, _MOST_S = 0.5, 30.0


class Pace(NamedTuple):
    """Times in seconds, each from a least to a most and drawn anew every time, so that the
    controllers and their mirrors do not all ask at once."""

    watch_s: tuple[float, float] = (300.0, 600.0)
    """How long one watch lasts."""
    compare_s: tuple[float, float] = (3600.0, 7200.0)
    """After so long, at the end of a watch, all is listed and compared, should one have missed
    anything."""


_PACE = Pace()


class Follower(Generic[T]):
    """Keeps one mirror. Changes are told in the event loop, before the next one is read."""

    def __init__(
        self,
        client: Client,
        query: Query,
        kind: type[T],
        on_change: Callable[[Change[T]], None],
        *,
        pace: Pace = _PACE,
        rng: random.Random | None = None,
    ) -> None:
        self.mirror: Mirror[T] = Mirror()
        self.synced = asyncio.Event()
        """Set once the mirror has been complete."""
        self.trouble = ""
        """Why the mirror may be old; empty if it is followed."""
        self.failures = 0
        """Attempts that failed; a version that was too old is none."""
        self._client = client
        self._query = query
        self._kind = kind
        self._on_change = on_change
        self._rng = rng or random.Random()  # noqa: S311 - spreads requests, guards nothing
        self._backoff = Backoff(_FIRST_S, _MOST_S, self._rng)
        self._pace = pace
        self._compare_s = 0.0

    @property
    def resource(self) -> Resource:
        """What is followed."""
        return self._query.resource

    async def run(self) -> None:
        """Follow for ever. What the API server refuses, or does not answer, is tried again."""
        while True:
            await self._compare_now_and_then()
            try:
                await follow(
                    self._client,
                    self._query,
                    self._kind,
                    self.mirror,
                    self._told,
                    self._rng.uniform(*self._pace.watch_s),
                )
            except Gone as exc:
                log.info("%s: listing again: %s", self._query.resource.plural, exc)
            except KubeError as exc:
                await self._wait(exc)
            else:
                self._well()

    def _told(self, change: Told[T]) -> None:
        self._well()
        if isinstance(change, LeftOut):
            plural = self._query.resource.plural
            log.warning("%s %s is left out: %s", plural, change.key, change.why)
            return
        self._on_change(change)
        if isinstance(change, Synced):
            self.synced.set()

    def _well(self) -> None:
        self.trouble = ""
        self._backoff.reset()

    async def _wait(self, exc: KubeError) -> None:
        self.trouble = str(exc)
        self.failures += 1
        wait_s = self._backoff.wait_s()
        if isinstance(exc, ApiError):
            wait_s = max(wait_s, exc.retry_after_s)
        log.warning("%s; again in %.1f s", exc, wait_s)
        await asyncio.sleep(wait_s)

    async def _compare_now_and_then(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._compare_s:
            self.mirror.must_list()
            self._compare_s = now_s + self._rng.uniform(*self._pace.compare_s)


async def all_synced(*followers: Follower[Any]) -> None:
    """Wait until each mirror has been complete once: before that nobody may decide by them."""
    for follower in followers:
        await follower.synced.wait()
