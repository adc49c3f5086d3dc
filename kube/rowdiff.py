"""From the rows that are there and the rows that are wanted to a plan. Pure.

Only rows with the owner's mark are changed or removed. A wanted row whose key is taken by a row of
somebody else is left to that one and told as a conflict; so are the policies that name it, because
they would then speak of somebody else's addresses. What refers to a row that is not there waits for
it and is told as missing. Two of our rows with the same key are one too many.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from kube.owners import Owner
from kube.rows import (
    AddressSet,
    Found,
    Key,
    Map,
    Observation,
    PortGroup,
    Ref,
    Row,
    StaticRoute,
    Value,
)


@dataclass(frozen=True, slots=True)
class Create:
    """Add a row to its table, and to the row that holds it."""

    row: Row

    def __str__(self) -> str:
        values = ", ".join(
            f"{name}={printed(value)}"
            for name, value in self.row.columns().items()
            if value not in (frozenset(), None, "") and name not in self.row.KEY
        )
        return f"+ {_named(self.row.ref)}  {values}"


@dataclass(frozen=True, slots=True)
class Change:
    """One column's value before and after."""

    column: str
    old: Value
    new: Value

    def __str__(self) -> str:
        if isinstance(self.old, frozenset) and isinstance(self.new, frozenset):
            gone = [f"-{each}" for each in sorted(map(_item, self.old - self.new))]
            come = [f"+{each}" for each in sorted(map(_item, self.new - self.old))]
            return f"{self.column}: {' '.join(gone + come)}"
        return f"{self.column}: {printed(self.old)} -> {printed(self.new)}"


@dataclass(frozen=True, slots=True)
class Update:
    """Give columns of a row another value."""

    found: Found
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return f"~ {_named(self.found.row.ref)}  {'; '.join(map(str, self.changes))}"


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a row."""

    found: Found

    def __str__(self) -> str:
        return f"- {_named(self.found.row.ref)}"


Op = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, all or nothing. Empty when everything is as wanted."""

    ops: tuple[Op, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ops)

    def __str__(self) -> str:
        return "\n".join(map(str, self.ops)) or "nothing to change"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row of somebody else stands where one of ours should be, or shares what ours is for."""

    wanted: Ref
    ids: Map
    """The other row's `external_ids`."""

    def __str__(self) -> str:
        whose = ", ".join(f"{name}={value}" for name, value in sorted(self.ids)) or "nobody's mark"
        return f"{_named(self.wanted)} belongs to someone else ({whose}); it is left alone"


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that ours refers to is not there."""

    wanted: Ref
    by: Ref

    def __str__(self) -> str:
        return f"{_named(self.by)} waits for {_named(self.wanted)}, which is not there"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The plan, and what it leaves out."""

    plan: Plan
    conflicts: tuple[Conflict, ...] = ()
    missing: tuple[Missing, ...] = ()


def diff(observed: Observation, desired: Collection[Row], owner: Owner) -> Outcome:
    """What makes the owner's rows the desired ones; to be applied in one transaction."""
    wanted, conflicts = _without_conflicts(observed.found, desired, owner)
    wanted, missing = _without_missing(wanted, observed)
    ours: dict[Ref, Found] = {}
    spare: list[Found] = []
    for found in sorted(observed.found, key=lambda each: (_named(each.row.ref), each.uuid)):
        if owner.owns(found.row):
            is_first = ours.setdefault(found.row.ref, found) is found
            spare.extend([] if is_first else [found])
    ops: list[Op] = [Delete(found) for found in spare]
    ops += (Delete(found) for ref, found in ours.items() if ref not in wanted)
    for ref, row in wanted.items():
        ops.extend(_converge(ours.get(ref), row))
    return Outcome(Plan(tuple(ops)), tuple(conflicts), tuple(missing))


def _converge(found: Found | None, row: Row) -> Iterator[Op]:
    if found is None:
        yield Create(row)
    elif found.row.holder != row.holder:
        yield from (Delete(found), Create(row))
    else:
        there = found.row.columns()
        changes = tuple(
            Change(name, there[name], value)
            for name, value in row.columns().items()
            if value != there[name] and name not in row.KEPT
        )
        if changes:
            yield Update(found, changes)


def _without_conflicts(
    found: Iterable[Found], desired: Collection[Row], owner: Owner
) -> tuple[dict[Ref, Row], list[Conflict]]:
    """Without the rows whose key is taken, and without the policies that name such a row."""
    others = [each.row for each in found if not owner.owns(each.row)]
    shared = {_share(row): row for row in others if isinstance(row, StaticRoute)}
    # Each owner has slots of its own.
    foreign = {row.ref: row for row in others if not isinstance(row, StaticRoute)}
    conflicts, taken = [], set()
    for row in desired:
        other = foreign.get(row.ref)
        if other is not None and isinstance(row, AddressSet | PortGroup):
            taken |= {row.name, f"{row.name}_ip4", f"{row.name}_ip6"}
        if isinstance(row, StaticRoute):
            other = shared.get(_share(row))
        if other is not None:
            conflicts.append(Conflict(row.ref, other.external_ids))
    wanted = {row.ref: row for row in desired if row.ref not in foreign and not row.sets() & taken}
    return wanted, conflicts


def _share(route: StaticRoute) -> Key:
    """Routes that agree in this share the packets, whoever has made them."""
    return (route.router, route.route_table, route.policy, route.ip_prefix)


def _without_missing(
    wanted: dict[Ref, Row], observed: Observation
) -> tuple[dict[Ref, Row], list[Missing]]:
    """Without the rows that lack what they need, and without the references that lead nowhere."""
    there = observed.present | wanted.keys() | {each.row.ref for each in observed.found}
    missing, possible = [], {}
    for ref, row in wanted.items():
        lacking = [each for each in row.needs() if each not in there]
        missing += [Missing(each, ref) for each in lacking]
        if not lacking:
            possible[ref] = row
    left_out = wanted.keys() - possible.keys()
    there -= left_out
    for ref, row in possible.items():
        lacking = sorted({each for each in row.refers() if each not in there})
        # What one of the left out waits for has been said.
        missing += [Missing(each, ref) for each in lacking if each not in left_out]
        if lacking:
            possible[ref] = _without_references(row, {each.key for each in lacking})
    return possible, missing


def _without_references(row: Row, lacking: set[Key]) -> Row:
    changes: dict[str, Value] = {}
    for column in row.REFERS:
        value = getattr(row, column)
        if isinstance(value, frozenset):
            kept = (
                each
                for each in value
                if (each if isinstance(each, tuple) else (each,)) not in lacking
            )
            changes[column] = frozenset(kept)
        elif (value if isinstance(value, tuple) else (value,)) in lacking:
            changes[column] = None
    return replace(row, **changes)  # type: ignore[arg-type]


def _named(ref: Ref) -> str:
    return " ".join([ref.table, *(str(part) for part in ref.key if part != "")])


def printed(value: Value) -> str:
    """A column's value for people, sets in order."""
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(_item, value))) + "}"
    return _item(value)


def _item(value: object) -> str:
    return "=".join(map(str, value)) if isinstance(value, tuple) else str(value)
