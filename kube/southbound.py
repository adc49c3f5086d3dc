"""OVN's southbound database, for what ovn-controller itself says of the BFD sessions.

northd copies this into the northbound rows; where the two differ, northd does not run or is behind.
"""

from types import TracebackType
from typing import Any, NamedTuple, Self

from kube.binding import Status
from kube.ovsdb import Database
from kube.rows import Key

_COLUMNS = {"BFD": ("logical_port", "dst_ip", "status")}
_BY_PORT = "port"


class Session(NamedTuple):
    """A session by port and peer, as ovn-controller has left it."""

    key: Key
    status: Status


class Southbound:
    """An open southbound database. Methods raise a `DatabaseError` of `kube.ovsdb`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def connect(cls, remote: str, *, timeout_s: float = 10.0, probe_s: float = 5.0) -> Self:
        """Connect; parameters as those of `Database.open`."""
        database = await Database.open(
            remote,
            "OVN_Southbound",
            _COLUMNS,
            prepare=lambda idl: idl.index_create("BFD", _BY_PORT).add_column("logical_port"),
            timeout_s=timeout_s,
            probe_s=probe_s,
        )
        return cls(database)

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

    async def sessions(self, port: str) -> tuple[Session, ...]:
        """The sessions of a port."""

        def look(idl: Any) -> tuple[Session, ...]:
            wanted = idl.tables["BFD"].rows.IndexEntry(logical_port=port)
            return tuple(
                Session((port, row.dst_ip), Status(row.status))
                for row in idl.index_equal("BFD", _BY_PORT, wanted)
            )

        return await self._database.read(look)
