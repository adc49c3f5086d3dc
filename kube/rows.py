"""Rows of OVN's northbound database as values.

A field is named like its column and holds what the column means: a set of names instead of a set of
UUIDs where a column refers to other rows. What identifies a row is its key, not its UUID, so that
rows which are wanted can be compared with rows that are there. Columns that are not named here are
not ours: nobody reads or writes them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple
from uuid import UUID

Key = tuple[str | int, ...]
Map = frozenset[tuple[str, str]]
Members = frozenset[tuple[str, int]]
NO_SLOT = -1
"""Of a static route that was not made for a slot."""
BY_SOURCE, BY_DESTINATION = "src-ip", "dst-ip"
"""The policies of static routes: which address has to be in the prefix."""
Value = str | int | frozenset[str] | frozenset[Key] | Map | Members | Key | None

_SET_IN_MATCH = re.compile(r"\$([\w.]+)")


def as_map(pairs: Mapping[str, str]) -> Map:
    """A column of keys and values."""
    return frozenset(pairs.items())


class Ref(NamedTuple):
    """A row by its table and key."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What all tables have in common. `external_ids` is where a row's owner is."""

    external_ids: Map

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]
    HOLDER: ClassVar[tuple[str, str, str] | None] = None
    """The table and column whose row holds this one, and the field with that row's name."""
    REFERS: ClassVar[Mapping[str, str]] = {}
    """Columns that refer to rows, and the table of these."""
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """Columns that a row does without where OVN does not have them."""
    NO_COLUMNS: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not read as columns, besides the holder's name."""
    KEPT: ClassVar[frozenset[str]] = frozenset()
    """Columns that are given to a new row and left alone in one that is there."""

    @property
    def key(self) -> Key:
        """What identifies the row in its table."""
        return tuple(getattr(self, name) for name in self.KEY)

    @property
    def ref(self) -> Ref:
        """The row by table and key."""
        return Ref(self.TABLE, self.key)

    @property
    def holder(self) -> Ref | None:
        """The row that holds this one; without that one it cannot be."""
        if self.HOLDER is None:
            return None
        table, _, name = self.HOLDER
        return Ref(table, (getattr(self, name),))

    def columns(self) -> dict[str, Value]:
        """The columns with their values."""
        return {name: getattr(self, name) for name in self.column_names()}

    @classmethod
    def column_names(cls) -> tuple[str, ...]:
        """The fields that are columns."""
        others = cls.NO_COLUMNS | {cls.HOLDER[2] if cls.HOLDER else ""}
        return tuple(each.name for each in fields(cls) if each.name not in others)

    def needs(self) -> Iterator[Ref]:
        """The rows without which it must not be."""
        if self.holder is not None:
            yield self.holder

    def refers(self) -> Iterator[Ref]:
        """The rows that its columns refer to."""
        for column, table in self.REFERS.items():
            yield from references(table, getattr(self, column))

    def sets(self) -> frozenset[str]:
        """The address sets and port groups that the row names in a text."""
        return frozenset()


def references(table: str, value: Value) -> Iterator[Ref]:
    """The rows that the value of a column refers to: a name, a key, or a set of either."""
    if isinstance(value, frozenset):
        for each in value:
            yield Ref(table, each if isinstance(each, tuple) else (each,))
    elif isinstance(value, tuple):
        yield Ref(table, value)
    elif value is not None:
        yield Ref(table, (value,))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortGroup(Row):
    """The ports of the selected pods."""

    TABLE = "Port_Group"
    KEY = ("name",)
    REFERS = {"ports": "Logical_Switch_Port"}  # noqa: RUF012 - of the base class
    name: str
    ports: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSet(Row):
    """Networks and addresses of one family."""

    TABLE = "Address_Set"
    KEY = ("name",)
    name: str
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Row):
    """A routing policy. `bfd_sessions` names rows of BFD by their keys."""

    TABLE = "Logical_Router_Policy"
    KEY = ("router", "priority", "match")
    HOLDER = ("Logical_Router", "policies", "router")
    REFERS = {"bfd_sessions": "BFD"}  # noqa: RUF012
    router: str
    priority: int
    match: str
    action: str
    nexthops: frozenset[str] = frozenset()
    bfd_sessions: frozenset[Key] = frozenset()

    def sets(self) -> frozenset[str]:
        """Those of the match; a port group's are named like it, with `_ip4` or `_ip6`."""
        return frozenset(_SET_IN_MATCH.findall(self.match))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bfd(Row):
    """A BFD session of OVN; intervals in milliseconds.

    It needs its router port: without it ovn-northd 25.03.0 dies, and dies again when it is started
    (23.03 does not).
    """

    TABLE = "BFD"
    KEY = ("logical_port", "dst_ip")
    logical_port: str
    dst_ip: str
    min_tx: int
    min_rx: int
    detect_mult: int

    def needs(self) -> Iterator[Ref]:
        """The port that it begins at."""
        yield Ref("Logical_Router_Port", (self.logical_port,))


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute(Row):
    """A static route; several with the same prefix share the packets, each with its `slot`.

    The slot is in the row's UUID (`kube.ecmp`), so that the next hop may change and the row stay.
    `selection_fields` (OVN 25.03 and later): the fields by whose hash a packet finds its route.
    """

    TABLE = "Logical_Router_Static_Route"
    KEY = ("router", "route_table", "policy", "ip_prefix", "slot")
    HOLDER = ("Logical_Router", "static_routes", "router")
    REFERS = {"bfd": "BFD"}  # noqa: RUF012
    NO_COLUMNS = frozenset({"slot"})
    OPTIONAL = frozenset({"selection_fields"})
    router: str
    ip_prefix: str
    nexthop: str
    slot: int = 0
    policy: str = BY_SOURCE
    route_table: str = ""
    bfd: Key | None = None
    selection_fields: frozenset[str] = frozenset()
    options: Map = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterPort(Row):
    """A port of a logical router."""

    TABLE = "Logical_Router_Port"
    KEY = ("name",)
    HOLDER = ("Logical_Router", "ports", "router")
    REFERS = {"ha_chassis_group": "HA_Chassis_Group"}  # noqa: RUF012
    KEPT = frozenset({"mac"})
    router: str
    name: str
    mac: str
    networks: frozenset[str]
    ha_chassis_group: str | None = None
    options: Map = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HaGroup(Row):
    """The chassis that may hold a router port, with their priorities."""

    TABLE = "HA_Chassis_Group"
    KEY = ("name",)
    name: str
    ha_chassis: Members


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Row):
    """A logical switch."""

    TABLE = "Logical_Switch"
    KEY = ("name",)
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPort(Row):
    """The port of a switch that leads to a router port.

    Every pod of the cluster has a row in this table, so that nothing but names is read of it; the
    rest is given to a new row and never looked at again. The port goes with its switch.
    """

    TABLE = "Logical_Switch_Port"
    KEY = ("name",)
    NO_COLUMNS = frozenset({"external_ids", "switch", "router_port"})
    name: str
    external_ids: Map = frozenset()
    switch: str = ""
    router_port: str = ""


KINDS: tuple[type[Row], ...] = (
    PortGroup,
    AddressSet,
    Bfd,
    Policy,
    StaticRoute,
    HaGroup,
    Switch,
    SwitchPort,
    RouterPort,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A row that is there."""

    uuid: UUID
    row: Row


@dataclass(frozen=True, slots=True)
class Observation:
    """What the database holds as far as one owner's rows are concerned.

    `found` are the rows with the owner's mark and, of whomever, those with a key that is wanted;
    `present` are those of the rows that are referred to which are there.
    """

    found: tuple[Found, ...] = ()
    present: frozenset[Ref] = frozenset()
