"""What the watcher reports of its gateway: one entry of ``status.gateways[]``. Pure.

Counts change all the time, and every write is one to the cluster's database. So they go along with
the next write; of themselves they cause one only when they have moved by a tenth of what there is.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

Entry = dict[str, Any]

SILENT = "the agent does not answer"
"""The reason of an entry whose agent cannot be asked."""

_MOVED = 0.1
_MOST = 64
"""Of the items of one list."""
_LONGEST = 500
"""Of one reason, in characters."""
_COUNTS = ("conntrack", "ports")
_UNDECLARED = re.compile(r"\.status\.gateways\[[^\]]*\]\.(\w+)[^:]*: field not declared")


class Session(msgspec.Struct):
    """A BFD session, as the agent's status has it."""

    local: str
    peer: str
    state: str
    reason: str | None = None


class Path(msgspec.Struct):
    """The path of a family to the outside."""

    family: str
    state: str
    reasons: list[str] = []


class Ports(msgspec.Struct):
    """SNAT's ports with one external address."""

    address: str
    used: int
    available: int


class Status(msgspec.Struct, rename="camel"):
    """Of the agent's status (`vegd.status`) what is reported."""

    state: str
    reasons: tuple[str, ...]
    config_faults: tuple[str, ...]
    revision: int | None
    drain: dict[str, Any] | None
    sessions: tuple[Session, ...]
    paths: tuple[Path, ...]
    conntrack_entries: int | None
    conntrack_maximum: int | None
    internal_addresses: tuple[str, ...]
    external_addresses: tuple[str, ...]
    ports: tuple[Ports, ...]


class Place(NamedTuple):
    """Whose entry it is."""

    pod: str
    node: str


def entry(place: Place, status: Status | None, troubles: Iterable[str] = ()) -> Entry:
    """The entry; `status` is None while the agent does not answer, `troubles` are the watcher's."""
    found: Entry = {"pod": place.pod}
    if place.node:
        found["node"] = place.node
    if status is None:
        return found | {"state": "unknown", "reasons": _told([SILENT, *troubles])}
    found |= {
        "state": status.state,
        "reasons": _told([*status.reasons, *status.config_faults, *troubles]),
        "draining": status.drain is not None,
        "internalIPs": [*status.internal_addresses[:_MOST]],
        "externalIPs": [*status.external_addresses[:_MOST]],
        "bfd": [
            _without_none(msgspec.to_builtins(each))
            for each in sorted(status.sessions, key=lambda s: (s.local, s.peer))[:_MOST]
        ],
        "paths": [msgspec.to_builtins(each) for each in status.paths],
        "ports": [msgspec.to_builtins(each) for each in status.ports],
    }
    if status.revision is not None:
        found["revision"] = status.revision
    if status.conntrack_entries is not None and status.conntrack_maximum is not None:
        counts = {"entries": status.conntrack_entries, "maximum": status.conntrack_maximum}
        found["conntrack"] = counts
    return found


def is_news(now: Entry, written: Entry | None) -> bool:
    """Whether an entry is worth a write after what was last written."""
    if written is None:
        return True
    if _without_counts(now) != _without_counts(written):
        return True
    before = _shares(written)
    shares = _shares(now)
    return any(
        abs(shares.get(name, 0.0) - before.get(name, 0.0)) >= _MOVED
        for name in shares.keys() | before.keys()
    )


def undeclared(message: str) -> frozenset[str]:
    """The fields of an entry that an older definition does not know, from its API server's words:
    it refuses an object with them as a whole."""
    return frozenset(_UNDECLARED.findall(message))


def _without_counts(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name not in _COUNTS}


def _shares(entry: Entry) -> dict[str, float]:
    """How much of what there is is in use."""
    found = {each["address"]: each["used"] / each["available"] for each in entry.get("ports", ())}
    if entry.get("conntrack", {}).get("maximum"):
        found["conntrack"] = entry["conntrack"]["entries"] / entry["conntrack"]["maximum"]
    return found


def _told(reasons: Iterable[str]) -> list[str]:
    """Each once, and none so long that the object would become too large."""
    return [text[:_LONGEST] for text in dict.fromkeys(reasons)][:_MOST]


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
