"""OVN's northbound database: one attempt at making an owner's rows the desired ones.

Each call looks, compares and writes in one transaction, so that what was looked at is what is
changed. When to try again is the program's to decide; `changes` says when there is something to
look at.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from kube.binding import Look
from kube.mirror import COLUMNS, View, make_indexes
from kube.ovsdb import Database
from kube.owners import GATEWAY_ID, VENDOR_ID, GatewayOwner, Owner
from kube.rowdiff import Outcome, diff
from kube.rows import Bfd, HaGroup, Policy, Ref, RouterPort, Row, SwitchPort
from kube.rowtrace import RouterRows
from kube.slots import Slot

_NAMED = frozenset({SwitchPort.TABLE, RouterPort.TABLE, HaGroup.TABLE, "Logical_Router"})


@dataclass(frozen=True, slots=True)
class Changed:
    """Where to look again. Says neither what has changed nor that anything has."""

    gateways: frozenset[tuple[str, str]]
    """Vendor and `namespace/name` of the gateways whose rows have moved."""
    names: frozenset[Ref]
    """Ports, routers and chassis groups that have come, gone or changed."""
    is_connection_new: bool = False
    """Whether the database was away before: what failed for that may succeed now."""


class Northbound:
    """An open northbound database. Methods raise a `DatabaseError` of `kube.ovsdb`."""

    def __init__(self) -> None:
        self._database: Database
        self._view: View
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        """Of the four below, which the mirror's thread adds to."""
        self._gateways: set[tuple[str, str]] = set()
        self._names: set[Ref] = set()
        self._is_new = False
        self._is_told = False
        """Whether the reader of changes has been woken since it last took them."""
        self._moved = asyncio.Event()

    @classmethod
    async def connect(
        cls, remote: str, *, timeout_s: float = 10.0, probe_s: float = 5.0
    ) -> "Northbound":
        """Connect; parameters as those of `Database.open`."""
        self = cls()
        self._database = await Database.open(
            remote,
            "OVN_Northbound",
            COLUMNS,
            heard=self._hear,
            prepare=self._prepare,
            timeout_s=timeout_s,
            probe_s=probe_s,
        )
        return self

    def _prepare(self, idl: Any) -> None:
        make_indexes(idl)
        self._view = View(idl)

    async def close(self) -> None:
        """End the connection."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether what is seen is what the server has, as far as is known."""
        return self._database.is_connected

    @property
    def policies_can_name_bfd(self) -> bool:
        """Whether this OVN has `bfd_sessions` in policies (24.03 and later)."""
        return self._database.has_column("Logical_Router_Policy", "bfd_sessions")

    async def has_other_schema(self) -> bool:
        """Whether the database was upgraded since it was opened, and should be opened anew."""
        return await self._database.has_other_schema()

    async def plan(self, owner: Owner, desired: Collection[Row]) -> Outcome:
        """What `converge` would do."""
        rows = self._view.fit(desired)
        return await self._database.read(
            lambda _: diff(self._view.observe(owner, rows), rows, owner)
        )

    async def found(self, owner: Owner) -> tuple[Row, ...]:
        """The owner's rows that are there."""
        observed = await self._database.read(lambda _: self._view.observe(owner, ()))
        return tuple(each.row for each in observed.found if owner.owns(each.row))

    async def converge(self, owner: Owner, desired: Collection[Row]) -> Outcome:
        """Make the owner's rows the desired ones. Returns what was done, and what was left.

        Nothing is sent when nothing is to be done. Raises ValueError for a value that the database
        cannot hold.
        """

        rows = self._view.fit(desired)

        def do(_: Any, txn: Any) -> Outcome:
            outcome = diff(self._view.observe(owner, rows), rows, owner)
            self._view.write(txn, outcome.plan)
            return outcome

        return await self._database.commit(do)

    async def tidy(self, owner: Owner) -> None:
        """Leave the owner's rows as they are, but for those that lack what they need."""

        def do(_: Any, txn: Any) -> None:
            observed = self._view.observe(owner, ())
            rows = [each.row for each in observed.found if owner.owns(each.row)]
            plan = diff(self._view.observe(owner, rows), rows, owner).plan
            self._view.write(txn, plan)

        await self._database.commit(do)

    async def has_port(self, name: str) -> bool:
        """Whether a router port is there."""
        return await self._database.read(lambda _: self._view.has_port(name))

    async def slots(self, owner: GatewayOwner) -> dict[tuple[int, int], Slot]:
        """Those of a gateway's static routes, by IP version and number."""
        return await self._database.read(lambda _: self._view.slots(owner))

    async def looks(self, port: str) -> tuple[Look, ...]:
        """The BFD rows of a port: their status, and whether a policy or a route names them."""

        return await self._database.read(lambda _: tuple(self._view.sessions(port)))

    async def router(self, name: str, port: str, source: str) -> RouterRows:
        """What decides about packets of a pod, by its switch port and address, at a router."""

        def look(_: Any) -> RouterRows:
            rows = tuple(self._view.router(name))
            policies = [row for row in rows if isinstance(row, Policy)]
            sets = {each: self._view.addresses(each) for row in policies for each in row.sets()}
            for group in self._view.groups_of(port):
                sets[f"{group}_ip{6 if ':' in source else 4}"] = frozenset({source})
            ports = {ref.key[0] for row in rows for ref in row.refers() if ref.table == Bfd.TABLE}
            looks = (look for each in ports for look in self._view.sessions(str(each)))
            sessions = {look.key: str(look.status or "unknown") for look in looks}
            return RouterRows(self._view.has_router(name), rows, sets, sessions)

        return await self._database.read(look)

    async def changes(self) -> AsyncIterator[Changed]:
        """Where to look again, for ever; after a new connection everywhere.

        What happens between two steps comes together. There is to be one reader.
        """
        while True:
            await self._moved.wait()
            self._moved.clear()
            with self._lock:
                gateways, self._gateways = self._gateways, set()
                names, self._names = self._names, set()
                is_new, self._is_new = self._is_new, False
                self._is_told = False
            yield Changed(frozenset(gateways), frozenset(names), is_new)

    async def reconnect(self) -> None:
        """Drop the connection and make a new one."""
        await self._database.reconnect()

    def _hear(self, event: str, row: Any, old: Any) -> None:
        """In the mirror's thread."""
        if event == "connect":
            self._add(is_new=True)
            return
        table = row._table.name  # noqa: SLF001 - the only way to the table
        gateways = {
            (ids[VENDOR_ID], ids[GATEWAY_ID])
            for ids in (_ids(row), _ids(old))
            if VENDOR_ID in ids and GATEWAY_ID in ids
        }
        names = set()
        if table in _NAMED and (event != "update" or table in {RouterPort.TABLE, HaGroup.TABLE}):
            names = {Ref(table, (row.name,))}
        if table == Bfd.TABLE:
            names = {Ref(RouterPort.TABLE, (row.logical_port,))}
        if gateways or names:
            self._add(gateways, names)

    def _add(
        self,
        gateways: Iterable[tuple[str, str]] = (),
        names: Iterable[Ref] = (),
        *,
        is_new: bool = False,
    ) -> None:
        """Wakes the reader once, not for each row: a new connection brings all that there are."""
        with self._lock:
            self._gateways.update(gateways)
            self._names.update(names)
            self._is_new |= is_new
            was_told, self._is_told = self._is_told, True
        if not was_told:
            self._loop.call_soon_threadsafe(self._moved.set)


def _ids(row: Any) -> dict[str, str]:
    """The marks of a row; of the old values of an update, which has them only if they changed."""
    return getattr(row, "external_ids", {}) if row is not None else {}
