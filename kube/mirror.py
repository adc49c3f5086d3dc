"""Between rows as values and rows of the mirror.

Looks rows up by owner and by key through indexes, so that a look at one gateway costs the same
however many there are, and carries out plans. A row that is changed or removed is verified first:
if somebody else has changed it meanwhile, the transaction comes to nothing and is done again.
Ports of a group and addresses of a set are added and removed one by one, not written as a whole.

Rows of the mirror belong to an untyped library.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from kube.binding import Look, Status
from kube.ecmp import Uuids, slot_of
from kube.ovsdb import holds
from kube.owners import GATEWAY_ID, LENT, VENDOR_ID, GatewayOwner, Owner
from kube.rowdiff import Create, Delete, Plan, Update
from kube.rowindex import Index
from kube.rows import (
    BY_SOURCE,
    KINDS,
    NO_SLOT,
    AddressSet,
    Bfd,
    Found,
    HaGroup,
    Key,
    Map,
    Observation,
    Policy,
    PortGroup,
    Ref,
    RouterPort,
    Row,
    StaticRoute,
    Switch,
    SwitchPort,
    Value,
)
from kube.slots import Slot

_KINDS = {kind.TABLE: kind for kind in KINDS}
_OF_GATEWAYS = tuple(kind.TABLE for kind in (PortGroup, AddressSet, Bfd, Policy, StaticRoute))
_ONE_BY_ONE = frozenset({("Port_Group", "ports"), ("Address_Set", "addresses")})
_BY_OWNER = "owner"
_BY_KEY = "key"
_BY_PORT = "port"
_KEYS: Mapping[str, tuple[str, ...]] = {
    PortGroup.TABLE: ("name",),
    AddressSet.TABLE: ("name",),
    Bfd.TABLE: ("logical_port", "dst_ip"),
    Policy.TABLE: ("match",),
    StaticRoute.TABLE: ("ip_prefix",),
    HaGroup.TABLE: ("name",),
    RouterPort.TABLE: ("name",),
    Switch.TABLE: ("name",),
    SwitchPort.TABLE: ("name",),
    "Logical_Router": ("name",),
}
"""What a row is looked up by: its key, or as much of it as is a column."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{kind.TABLE: kind.column_names() for kind in KINDS},
    Bfd.TABLE: (*Bfd.column_names(), "status"),
    "Logical_Router": ("name", "policies", "static_routes", "ports"),
    "HA_Chassis": ("chassis_name", "priority"),
}
"""The columns that are read, by table."""


def make_indexes(idl: Any) -> None:
    """To be done while the mirror is empty."""

    def make(table: str, name: str, columns: Sequence[str], key: Callable[[Any], Key]) -> None:
        idl.tables[table].rows.indexes[name] = Index(columns, key)

    for table, columns in _KEYS.items():
        make(table, _BY_KEY, columns, partial(_columns_of, columns))
    for table in _OF_GATEWAYS:
        make(table, _BY_OWNER, ("external_ids",), _owner_of)
    make(Bfd.TABLE, _BY_PORT, ("logical_port",), partial(_columns_of, ("logical_port",)))


def _columns_of(columns: Sequence[str], row: Any) -> Key:
    return tuple([getattr(row, each) for each in columns])


def _owner_of(row: Any) -> Key:
    return _owner_in(row.external_ids)


def _owner_in(ids: Mapping[str, str]) -> Key:
    return ids.get(VENDOR_ID, ""), ids.get(GATEWAY_ID, "")


class View:
    """The rows of one mirror."""

    def __init__(self, idl: Any) -> None:
        self._idl = idl
        self._holders: dict[UUID, Any] = {}
        """Where a row that is held was last seen."""

    def fit(self, desired: Collection[Row]) -> tuple[Row, ...]:
        """Rows without the columns that this OVN does not have and that they do without."""
        return tuple(map(self._fit, desired))

    def _fit(self, row: Row) -> Row:
        lacking = row.OPTIONAL - self._idl.tables[row.TABLE].columns.keys()
        changes: dict[str, Any] = dict.fromkeys(lacking, frozenset())
        return replace(row, **changes) if lacking else row

    # Looking --------------------------------------------------------------------------------

    def observe(self, owner: Owner, desired: Collection[Row]) -> Observation:
        """What a comparison of the owner's rows with the desired ones needs."""
        rows: dict[UUID, Any] = {}
        if isinstance(owner, GatewayOwner):
            key = (owner.mark.vendor, owner.key)
            for table in _OF_GATEWAYS:
                rows |= {row.uuid: row for row in self._equal(table, _BY_OWNER, key)}
        for ref in (*owner.names(), *(row.ref for row in desired)):
            rows |= {row.uuid: row for row in self._candidates(ref)}
        all_found = tuple(found for row in rows.values() if (found := self._found(row)))
        # What a row refers to is there: only what none refers to yet has to be looked up.
        present = {ref for found in all_found for ref in found.row.refers()}
        wanted = {ref for row in desired for ref in (*row.refers(), *row.needs())}
        present.update(ref for ref in wanted - present if self._named(ref))
        return Observation(all_found, frozenset(present))

    def sessions(self, port: str) -> Iterator[Look]:
        """The BFD rows of a port."""
        for row in self._equal(Bfd.TABLE, _BY_PORT, (port,)):
            ids = row.external_ids
            status = row.status
            yield Look(
                key=(port, row.dst_ip),
                status=Status(status[0]) if status else None,
                by_policy=self._names(Policy.TABLE, "bfd_sessions", ids, row),
                by_route=self._names(StaticRoute.TABLE, "bfd", ids, row),
            )

    def slots(self, owner: GatewayOwner) -> dict[tuple[int, int], Slot]:
        """Those of a gateway's routes by source, by IP version and number."""
        return {
            (6 if ":" in route.nexthop else 4, route.slot): Slot(
                route.nexthop, lent=route.external_ids >= LENT
            )
            for _, route in self._routes((owner.mark.vendor, owner.key))
            if route.policy == BY_SOURCE and route.slot != NO_SLOT
        }

    def router(self, name: str) -> Iterator[Row]:
        """All policies, static routes and ports of a router, whoever's they are."""
        for router in self._named(Ref("Logical_Router", (name,))):
            for row in (*router.policies, *router.static_routes, *router.ports):
                found = self._found(row)
                if found is not None:
                    yield found.row

    def has_port(self, name: str) -> bool:
        """Whether a router port is there."""
        return bool(self._named(Ref(RouterPort.TABLE, (name,))))

    def has_router(self, name: str) -> bool:
        """Whether it is there."""
        return bool(self._named(Ref("Logical_Router", (name,))))

    def addresses(self, name: str) -> frozenset[str]:
        """The members of an address set; none if it is not there."""
        rows = self._named(Ref(AddressSet.TABLE, (name,)))
        return frozenset(address for row in rows for address in row.addresses)

    def groups_of(self, port: str) -> frozenset[str]:
        """The port groups that a switch port is in."""
        uuids = [row.uuid for row in self._named(Ref(SwitchPort.TABLE, (port,)))]
        groups = self._idl.tables[PortGroup.TABLE].rows.values()
        return frozenset(
            group.name for group in groups if any(holds(group, "ports", each) for each in uuids)
        )

    def _names(self, table: str, column: str, ids: Mapping[str, str], session: Any) -> bool:
        """Whether a row with the same owner names a session."""
        if column not in self._idl.tables[table].columns:
            return False
        rows = self._equal(table, _BY_OWNER, _owner_in(ids))
        return any(holds(row, column, session.uuid) for row in rows)

    def _equal(self, table: str, index: str, key: Key) -> list[Any]:
        found: list[Any] = self._idl.tables[table].rows.indexes[index].get(key)
        return found

    def _named(self, ref: Ref) -> list[Any]:
        """The row of a key that is all columns, if it is there."""
        return self._equal(ref.table, _BY_KEY, ref.key)

    def _candidates(self, ref: Ref) -> list[Any]:
        """Rows that have the key, and static routes that would share packets with it."""
        kind, columns = _KINDS[ref.table], _KEYS[ref.table]
        parts = zip(kind.KEY, ref.key, strict=True)
        return self._equal(
            ref.table, _BY_KEY, tuple(part for name, part in parts if name in columns)
        )

    def _found(self, row: Any) -> Found | None:
        """A row as a value; nothing if it is in a table that nothing holds."""
        table = row._table.name  # noqa: SLF001 - the only way to the table
        kind = _KINDS[table]
        held: dict[str, Any] = {}
        if kind.HOLDER is not None:
            holder = self._holder(row, kind)
            if holder is None:
                return None
            held = {kind.HOLDER[2]: holder.name}
        there = self._idl.tables[table].columns
        columns: dict[str, Any] = {
            name: _value(row, name, kind.REFERS.get(name))
            for name in kind.column_names()
            if name in there
        }
        found = kind(**held, **columns)
        if isinstance(found, StaticRoute):
            found = replace(found, slot=slot_of(row.uuid, found))
        return Found(row.uuid, found)

    def _holder(self, row: Any, kind: type[Row]) -> Any:
        assert kind.HOLDER is not None  # noqa: S101 - asked for by the callers
        table, column, _ = kind.HOLDER
        known = self._holders.get(row.uuid)
        holders = self._idl.tables[table].rows
        likely = [known] if known is not None and known.uuid in holders else []
        for holder in (*likely, *holders.values()):
            if holds(holder, column, row.uuid):
                self._holders[row.uuid] = holder
                return holder
        self._holders.pop(row.uuid, None)
        return None

    # Changing -------------------------------------------------------------------------------

    def write(self, txn: Any, plan: Plan) -> None:
        """Put a plan into a transaction."""
        made: dict[Ref, Any] = {}
        uuids: Uuids | None = None
        for op in plan.ops:
            match op:
                case Create(SwitchPort() as port):
                    _create_port(txn, port)
                case Create(StaticRoute() as route):
                    uuids = uuids or self._uuids(route)
                    made[route.ref] = self._create(txn, route, made, uuids.of(route))
                case Create(row):
                    made[row.ref] = self._create(txn, row, made)
                case Update(found):
                    self._update(txn, op, made)
                case Delete(found):
                    self._delete(found)

    def _uuids(self, route: StaticRoute) -> Uuids:
        """For the routes of a route's owner."""
        return Uuids(self._routes(_owner_in(dict(route.external_ids))), time.time())

    def _routes(self, owner: Key) -> Iterator[tuple[UUID, StaticRoute]]:
        """Those that are there of an owner."""
        for row in self._equal(StaticRoute.TABLE, _BY_OWNER, owner):
            if (found := self._found(row)) and isinstance(found.row, StaticRoute):
                yield found.uuid, found.row

    def _create(self, txn: Any, row: Row, made: Mapping[Ref, Any], uuid: UUID | None = None) -> Any:
        new = txn.insert(self._idl.tables[row.TABLE], new_uuid=uuid, persist_uuid=uuid is not None)
        for name, value in row.columns().items():
            if value not in (frozenset(), None):
                self._set(new, name, self._raw(txn, row, name, value, made))
        if row.holder is not None and row.HOLDER is not None:
            holder = made.get(row.holder) or self._named(row.holder)[0]
            holder.verify("name")
            holder.addvalue(row.HOLDER[1], new)
        return new

    def _update(self, txn: Any, op: Update, made: Mapping[Ref, Any]) -> None:
        row, wanted = self._row(op.found), op.found.row
        row.verify("external_ids")
        for change in op.changes:
            old: Any = change.old
            new: Any = change.new
            if self._column(wanted, change.column).type.is_map():
                # Key by key: the library's indexes do not survive that an indexed map is written.
                row.verify(change.column)
                for name, _ in old - new:
                    row.delkey(change.column, name)
                for name, value in new - old:
                    row.setkey(change.column, name, value)
            elif (wanted.TABLE, change.column) in _ONE_BY_ONE:
                for each in self._raw(txn, wanted, change.column, new - old, made):
                    row.addvalue(change.column, each)
                for each in self._raw(txn, wanted, change.column, old - new, made):
                    row.delvalue(change.column, each)
            else:
                row.verify(change.column)
                self._set(row, change.column, self._raw(txn, wanted, change.column, new, made))

    def _delete(self, found: Found) -> None:
        if isinstance(found.row, SwitchPort):
            return
        row, kind = self._row(found), type(found.row)
        row.verify("external_ids")
        if kind.HOLDER is None:
            row.delete()
        elif (holder := self._holder(row, kind)) is not None:
            holder.delvalue(kind.HOLDER[1], row)
            for name in kind.REFERS:
                # What it holds on to may go by the same plan. The server looks for references
                # before it removes what nothing holds.
                column = self._idl.tables[kind.TABLE].columns.get(name)
                if column is not None and column.type.key.ref_type == "strong":
                    setattr(row, name, [])
        # else its holder goes by the same plan, and takes it along

    def _column(self, row: Row, name: str) -> Any:
        return self._idl.tables[row.TABLE].columns[name]

    def _row(self, found: Found) -> Any:
        return self._idl.tables[found.row.TABLE].rows[found.uuid]

    def _set(self, row: Any, column: str, value: Any) -> None:
        """Raises ValueError for what the column cannot hold; the library would only log it."""
        there = self._idl.tables[row._table.name].columns  # noqa: SLF001
        if column not in there:
            raise ValueError(f"this OVN has no {row._table.name}.{column}")  # noqa: SLF001
        setattr(row, column, value)
        if column not in row._changes:  # noqa: SLF001 - see above
            raise ValueError(f"{row._table.name}.{column} cannot be {value!r}")  # noqa: SLF001

    def _raw(self, txn: Any, row: Row, column: str, value: Any, made: Mapping[Ref, Any]) -> Any:
        """A value as the library wants it: sets as lists, rows instead of their names."""
        if column == "ha_chassis" and isinstance(value, frozenset):
            return [self._member(txn, name, priority) for name, priority in sorted(value)]
        if (table := row.REFERS.get(column)) is not None:
            keys = value if isinstance(value, frozenset) else [] if value is None else [value]
            refs = (Ref(table, key if isinstance(key, tuple) else (key,)) for key in keys)
            return [made.get(ref) or self._named(ref)[0] for ref in refs]
        if isinstance(value, frozenset):
            is_map = self._column(row, column).type.is_map()
            return dict(value) if is_map else sorted(value)
        return [] if value is None else value

    def _member(self, txn: Any, chassis: str, priority: int) -> Any:
        new = txn.insert(self._idl.tables["HA_Chassis"])
        new.chassis_name, new.priority = chassis, priority
        return new


def _create_port(txn: Any, port: SwitchPort) -> None:
    """By operations of RFC 7047, as the columns are not in the mirror."""
    row = {
        "name": port.name,
        "type": "router",
        "addresses": "router",
        "options": ["map", [["router-port", port.router_port]]],
        "external_ids": ["map", [list(pair) for pair in port.external_ids]],
    }
    txn.add_op({"op": "insert", "table": port.TABLE, "row": row, "uuid-name": "port"})
    held = [["ports", "insert", ["named-uuid", "port"]]]
    ours = [["name", "==", port.switch], ["external_ids", "includes", row["external_ids"]]]
    txn.add_op({"op": "mutate", "table": Switch.TABLE, "where": ours, "mutations": held})


def _value(row: Any, column: str, refers: str | None) -> Value:
    raw = getattr(row, column)
    if isinstance(raw, dict):
        found: Map = frozenset(raw.items())
        return found
    if column == "ha_chassis":
        return frozenset((each.chassis_name, each.priority) for each in raw)
    if not isinstance(raw, list):
        plain: str | int = raw
        return plain
    items = [_name(each, refers) for each in raw] if refers else raw
    if row._table.columns[column].type.is_optional():  # noqa: SLF001
        return items[0] if items else None
    return frozenset(items)


def _name(row: Any, table: str) -> str | Key:
    """How a row that is referred to is named."""
    if table == Bfd.TABLE:
        return row.logical_port, row.dst_ip
    name: str = row.name
    return name
