"""Leaving without loss: AdminDown first, forwarding on until nothing comes any more.

A drain is asked for by SIGTERM, which ends the process afterwards, or by hand (`vegd drain`), which
lasts until `vegd undrain`; the latter is remembered in the runtime directory, so that it survives a
restart of the agent. *Quiet* is the time since the counters of the policies last moved: packets of
the VPC that the router still sends here, and their answers. At the end of the process the external
addresses are given up: whoever takes them over is then the only one who answers for them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from dataplane.diff import diff
from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel, PolicyCounter
from dataplane.model import DataplaneState
from vegd.spec import Drain as DrainSpec

log = logging.getLogger(__name__)

_LOOK_S = 0.25

ReadCounters = Callable[[], Awaitable[Iterable[PolicyCounter]]]


class Drain:
    """Whether the gateway is leaving, since when, and for how long nothing has passed."""

    def __init__(self, runtime_dir: Path, counters: ReadCounters) -> None:
        self._mark = runtime_dir / "drained"
        self._counters = counters
        self._began: float | None = None
        self._moved = 0.0
        self._seen: int | None = None
        self._asked = asyncio.Event()
        if self._mark.exists():
            log.warning("still draining, as 'vegd drain' has asked; 'vegd undrain' ends it")
            self.begin()

    @property
    def active(self) -> bool:
        """Whether a drain goes on."""
        return self._began is not None

    @property
    def lasts_s(self) -> float:
        """Since when, in seconds; 0 without a drain."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def quiet_s(self) -> float:
        """Since the last packet that was forwarded, or the drain began, in seconds."""
        return 0.0 if self._began is None else time.monotonic() - self._moved

    def begin(self) -> None:
        """A drain begins, if none goes on."""
        if self._began is None:
            self._began = self._moved = time.monotonic()
            self._seen = None
            self._asked.set()

    def ask(self, *, drained: bool) -> None:
        """By hand: begin or end it, and remember that. OSError where it cannot be remembered."""
        if drained:
            self._mark.touch()
            self.begin()
        else:
            self._mark.unlink(missing_ok=True)
            self._began = None
            self._asked.clear()

    async def watch(self) -> None:
        """Follow the counters while a drain goes on, for ever."""
        while True:
            await self._asked.wait()
            try:
                packets = sum(each.packets for each in await self._counters())
            except DataplaneError as exc:
                # What cannot be read may be traffic.
                log.warning("draining: the counters cannot be read: %s", exc)
                self._moved = time.monotonic()
            else:
                if packets != self._seen:
                    self._moved = time.monotonic()
                self._seen = packets
            await asyncio.sleep(_LOOK_S)

    async def finish(self, wanted: DrainSpec, hurry: asyncio.Event) -> str:
        """Wait for the end of a drain; returns why it is over.

        It takes `forward_for` at least, then lasts until all has been quiet for `quiet_for`, but
        not longer than `grace` (all in seconds). `hurry` ends it at once.
        """
        while not hurry.is_set():
            if self.lasts_s >= wanted.longest_s:
                return f"the grace time is over, {self.quiet_s:.1f} s after the last packet"
            if self.lasts_s >= wanted.forward_for and self.quiet_s >= wanted.quiet_for:
                return f"nothing was forwarded for {self.quiet_s:.1f} s"
            try:
                async with asyncio.timeout(_LOOK_S):
                    await hurry.wait()
            except TimeoutError:
                continue
        return "told to end at once"


async def give_up_addresses(kernel: Kernel, interface: str) -> None:
    """Remove our addresses from the external interface, so that it no longer answers for them.

    Those that somebody else has put there are left to him.
    """
    try:
        observed = await kernel.observe(DataplaneState())
        kept = frozenset(
            each for each in observed.addresses if not each.owned or each.interface != interface
        )
        report = await kernel.apply(diff(observed, replace(observed, addresses=kept)))
    except DataplaneError as exc:
        failures = [str(exc)]
    else:
        failures = [str(error) for _, error in report.failed]
        gone = ", ".join(sorted(str(op.object) for op in report.applied))
        log.info("gave up %s", gone or "no external address: none was ours")
    if failures:
        log.error(
            "still answering for external addresses, until 'vegd clean': %s", "; ".join(failures)
        )
