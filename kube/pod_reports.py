"""What the gateway pods say of themselves, in ``status.gateways[]`` of their resource. Pure.

Every pod's watcher writes the entry of its own pod, of whatever version it is. So nothing of an
entry is relied upon but the pod's name: what is missing, or has another shape, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

UP = "Up"
_READY = "ready"


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """Base of the parts below."""


class Session(_Part, frozen=True):
    """One BFD session as the pod sees it."""

    local: str = ""
    peer: str = ""
    state: str = ""
    reason: str | None = None

    @property
    def is_up(self) -> bool:
        """Whether the pod says so."""
        return self.state.casefold() == UP.casefold()


class PathReport(_Part, frozen=True):
    """The way to the outside of one family, by the pod's probes."""

    family: str = ""
    state: str = ""
    reasons: tuple[str, ...] = ()


class Ports(_Part, frozen=True):
    """SNAT's ports of one external address."""

    address: str = ""
    used: int = 0
    available: int = 0


class Conntrack(_Part, frozen=True):
    """The kernel's table of connections."""

    entries: int = 0
    maximum: int = 0


class PodReport(_Part, frozen=True):
    """What one pod says. `revision` is that of the configuration its kernel has."""

    pod: str
    node: str = ""
    revision: int | None = None
    state: str = ""
    reasons: tuple[str, ...] = ()
    draining: bool = False
    internal_ips: tuple[str, ...] = msgspec.field(default=(), name="internalIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    bfd: tuple[Session, ...] = ()
    paths: tuple[PathReport, ...] = ()
    ports: tuple[Ports, ...] = ()
    conntrack: Conntrack | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it forwards and is not about to leave."""
        return self.state == _READY and not self.draining


_FIELDS = msgspec.structs.fields(PodReport)


def pod_reports(status: Mapping[str, Any]) -> dict[str, PodReport]:
    """By pod; empty where the resource has none, as those of Kube-OVN's own definition."""
    entries = status.get("gateways")
    found = (_report(each) for each in entries) if isinstance(entries, list) else ()
    return {each.pod: each for each in found if each is not None}


def _report(entry: Any) -> PodReport | None:
    if not isinstance(entry, Mapping) or not entry.get("pod"):
        return None
    try:
        return msgspec.convert(dict(_readable(entry)), PodReport)
    except msgspec.ValidationError:
        return None


def _readable(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that have the shape which is known here."""
    for each in _FIELDS:
        value = entry.get(each.encode_name)
        if value is None:
            continue
        try:
            msgspec.convert(value, each.type)
        except msgspec.ValidationError:
            continue
        yield each.encode_name, value
