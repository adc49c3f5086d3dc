"""One of several controllers acts. It stops acting before another one may begin.

The leader renews its Lease every few seconds. If it cannot for `_GIVE_UP_S`, which is less than the
Lease lasts, its work is cancelled and it is a candidate again; a leader that is ended gives the
Lease up after its work has ended, so that the next one need not wait for it to run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from kube.errors import KubeError
from kube.leases import Candidate

log = logging.getLogger(__name__)

LASTS_S = 15
"""What the Lease says; a killed leader is replaced after that long."""
_RENEW_S = 3.0
_GIVE_UP_S = 10.0
"""Without renewal the work ends; the rest of `LASTS_S` is for it to do so."""


class Leadership:
    """Takes part with one candidate."""

    def __init__(self, candidate: Candidate, rng: random.Random | None = None) -> None:
        self.is_leader = False
        self._candidate = candidate
        self._rng = rng or random.Random()  # noqa: S311 - spreads requests, guards nothing
        self._renewed_s = 0.0

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Whenever this one leads, do the work, for ever; it is cancelled when the lead is lost.

        What the work raises ends the lead, too, and is raised.
        """
        while True:
            if await self._attempt():
                await self._lead(work)
            await asyncio.sleep(self._pause_s())

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        log.info("leading")
        self.is_leader = True
        task = asyncio.ensure_future(work())
        try:
            while not task.done() and not self._is_over():
                await asyncio.wait([task], timeout=self._pause_s())
                if not task.done():
                    await self._attempt()
        finally:
            self.is_leader = False
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(KubeError, TimeoutError):
                async with asyncio.timeout(_GIVE_UP_S / 2):
                    await self._candidate.release(_now())
        if not task.cancelled():
            task.result()
        log.warning("not leading any more: the Lease could not be renewed")

    async def _attempt(self) -> bool:
        """Take or renew the Lease within the time that is left."""
        now_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_GIVE_UP_S / 2):
                ours = await self._candidate.attempt(now_s, _now())
        except (KubeError, TimeoutError) as exc:
            log.warning("leader election: %s", exc)
            return False
        if ours:
            self._renewed_s = now_s
        elif self.is_leader:
            self._renewed_s = -_GIVE_UP_S
        return ours

    def _is_over(self) -> bool:
        return asyncio.get_running_loop().time() - self._renewed_s >= _GIVE_UP_S

    def _pause_s(self) -> float:
        return _RENEW_S * self._rng.uniform(0.8, 1.2)


def _now() -> datetime:
    return datetime.now(UTC)
