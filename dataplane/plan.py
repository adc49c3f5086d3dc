"""A plan is a value: it can be printed, compared, counted and refused before it is carried out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from dataplane.errors import DataplaneError
from dataplane.model import Address, Link, NftTable, Route, Rule, Shaper, Sysctl
from dataplane.ownership import map_name


@dataclass(frozen=True, slots=True)
class NftChange:
    """From one version of our table to another; None is "no table". One transaction."""

    before: NftTable | None
    after: NftTable | None

    def __str__(self) -> str:
        return "nft table inet vegd"


Object = Link | Address | Route | Rule | Sysctl | Shaper | NftChange

_KINDS: dict[type, str] = {
    Link: "link",
    Address: "address",
    Route: "route",
    Rule: "rule",
    Sysctl: "sysctl",
    Shaper: "shaper",
    NftChange: "nft",
}
_SIGNS = {"add": "+", "change": "~", "remove": "-"}


class Part(NamedTuple):
    """What an operation does to one thing that a person could name."""

    action: str
    kind: str
    """As `Op.kind`, but of the nftables table each part has its own: nft_table, nft_chain, …"""
    text: str

    def __str__(self) -> str:
        return f"{_SIGNS[self.action]} {self.text}"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation on one object: `action` is add, change or remove."""

    action: str
    object: Object

    @property
    def kind(self) -> str:
        """The kind of object: link, address, route, rule, sysctl, shaper or nft."""
        return _KINDS[type(self.object)]

    @property
    def removes(self) -> bool:
        """Whether it only takes something away that is not wished any more."""
        return self.action == "remove"

    def parts(self) -> list[Part]:
        """What it consists of; a change of the nftables table names each part of it."""
        if isinstance(self.object, NftChange):
            return [
                Part(action, f"nft_{part.partition(' ')[0]}", f"nft {part}")
                for action, part in _parts(self.object)
            ]
        return [Part(self.action, self.kind, str(self.object))]

    def lines(self) -> list[str]:
        """How it is printed, a line per part."""
        return [str(part) for part in self.parts()]

    def __str__(self) -> str:
        return f"{_SIGNS[self.action]} {self.object}"


def _parts(change: NftChange) -> list[tuple[str, str]]:
    before, after = change.before, change.after
    parts: list[tuple[str, str]] = []
    if before is None:
        parts.append(("add", "table inet vegd"))
    if after is None:
        return [("remove", "table inet vegd")]
    old = _named(before) if before else {}
    new = _named(after)
    for name, value in sorted(new.items()):
        if name not in old:
            parts.append(("add", name))
        elif old[name] != value:
            parts.append(("change", name))
    parts += [("remove", name) for name in sorted(old.keys() - new.keys())]
    for length, removed, added in (before or NftTable()).sources.difference(after.sources):
        counts = [f"{sign}{len(each)}" for sign, each in (("+", added), ("-", removed)) if each]
        parts.append(("change", f"map {map_name(*length)} ({' '.join(counts)})"))
    return parts


def _named(table: NftTable) -> dict[str, object]:
    named: dict[str, object] = {f"counter {name}": None for name in table.counters}
    named |= {f"set {each.name}": each for each in table.sets}
    named |= {f"chain {chain.name}": chain for chain in table.chains}
    return named | {f"{kind} {name}": None for kind, name in table.strangers}


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in the order in which they are to be carried out."""

    ops: tuple[Op, ...] = ()
    empty: ClassVar["Plan"]

    def __bool__(self) -> bool:
        return bool(self.ops)

    def lines(self) -> list[str]:
        """One line per change, ``+`` added, ``~`` changed, ``-`` removed."""
        return [line for op in self.ops for line in op.lines()]

    def to_json(self) -> list[dict[str, Any]]:
        """The same for programs."""
        return [
            {"action": op.action, "kind": op.kind, "lines": op.lines(), "object": str(op.object)}
            for op in self.ops
        ]


Plan.empty = Plan()


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What came of a plan."""

    applied: tuple[Op, ...]
    failed: tuple[tuple[Op, DataplaneError], ...]

    @property
    def ok(self) -> bool:
        """Whether all of it was done."""
        return not self.failed

    @property
    def fixed(self) -> frozenset[str]:
        """The kernel parameters that this process may not write and never will."""
        return frozenset(
            op.object.path
            for op, error in self.failed
            if isinstance(op.object, Sysctl) and error.is_final
        )

    @staticmethod
    def of(outcomes: Iterable[tuple[Op, DataplaneError | None]]) -> "ApplyReport":
        """The report of operations with their errors, None for those that were done."""
        done: list[Op] = []
        failed: list[tuple[Op, DataplaneError]] = []
        for op, error in outcomes:
            if error is None:
                done.append(op)
            else:
                failed.append((op, error))
        return ApplyReport(tuple(done), tuple(failed))
