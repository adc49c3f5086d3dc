"""The northbound database for as long as the controller runs, whatever becomes of it.

It need not be there at the start: whoever needs it connects, and fails as if it had gone away
later. Which way next hops are tied to BFD sessions is found out here, for each BFD port alone
(`kube.binding`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from kube.binding import Choice, Look, PortHistory, choose, saw
from kube.northbound import Changed, Northbound
from kube.ovsdb import DatabaseError
from kube.routes import Way
from vegd.backoff import Backoff

log = logging.getLogger(__name__)

_FIRST_S, _MOST_S = 0.5, 15.0
_LOOK_S = 60.0
"""How often the schema is looked at: OVN is upgraded seldom."""


class Ovn:
    """One northbound database. Methods raise DatabaseError."""

    def __init__(
        self,
        remote: str,
        ordered: Way | None = None,
        timeout_s: float = 10.0,
        look_s: float = _LOOK_S,
    ) -> None:
        self.remote = remote
        self.histories: dict[str, PortHistory] = {}
        """What each BFD port has shown."""
        self._ordered = ordered
        self._known: dict[str, tuple[Choice, tuple[Look, ...]]] = {}
        """Of each BFD port, until something of its sessions moves."""
        self._timeout_s = timeout_s
        self._look_s = look_s
        self._northbound: Northbound | None = None
        self._connecting = asyncio.Lock()
        self._opened = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; one that is lost is made anew by itself."""
        return self._northbound is not None and self._northbound.is_connected

    async def northbound(self) -> Northbound:
        """The database."""
        async with self._connecting:
            if self._northbound is None:
                self._northbound = await Northbound.connect(self.remote, timeout_s=self._timeout_s)
                self._opened.set()
                log.info("connected to OVN's northbound database at %s", self.remote)
            return self._northbound

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self._northbound is not None:
            await self._northbound.close()

    async def follow(self, told: Callable[[Changed], None]) -> None:
        """Tell for ever where to look again. A database that was upgraded is opened anew."""
        backoff = Backoff(_FIRST_S, _MOST_S)
        while True:
            try:
                northbound = await self.northbound()
            except DatabaseError as exc:
                wait_s = backoff.wait_s()
                log.warning("%s; again in %.1f s", exc, wait_s)
                self._opened.clear()
                with contextlib.suppress(TimeoutError):
                    # Whoever needs it may be the first to have a connection.
                    await asyncio.wait_for(self._opened.wait(), wait_s)
                continue
            backoff.reset()
            reading = asyncio.ensure_future(_read(northbound, told))
            upgraded = asyncio.ensure_future(self._until_upgraded(northbound))
            try:
                await asyncio.wait((reading, upgraded), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
                upgraded.result()
            finally:
                reading.cancel()
                upgraded.cancel()
            await self._reopen(northbound)

    async def _until_upgraded(self, northbound: Northbound) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            try:
                if await northbound.has_other_schema():
                    return
            except DatabaseError as exc:
                log.debug("%s", exc)  # whoever needs it says so

    async def _reopen(self, northbound: Northbound) -> None:
        log.info("OVN's northbound database has another schema: opening it anew")
        async with self._connecting:
            self._northbound = None
            self._known.clear()
        await northbound.close()

    def forget(self, port: str) -> None:
        """Something of the sessions of a BFD port has moved."""
        self._known.pop(port, None)

    async def way(self, port: str) -> tuple[Choice, tuple[Look, ...]]:
        """How next hops are tied to the sessions of a BFD port, and how those are."""
        known = self._known.get(port)
        if known is not None:
            return known
        northbound = await self.northbound()
        looks = await northbound.looks(port)
        now_s = asyncio.get_running_loop().time()
        history = saw(self.histories.get(port, PortHistory()), looks, now_s)
        self.histories[port] = history
        has_column = northbound.policies_can_name_bfd
        choice = choose(history, now_s, has_column=has_column, ordered=self._ordered)
        if choice.way is not Way.TRIAL:
            # A trial is also a matter of time.
            self._known[port] = (choice, looks)
        return choice, looks


async def _read(northbound: Northbound, told: Callable[[Changed], None]) -> None:
    async for changed in northbound.changes():
        told(changed)
