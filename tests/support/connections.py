"""Tracked connections for tests, as the kernel's messages would show them."""

from ipaddress import ip_address
from typing import NamedTuple

from dataplane.conntrack_events import DESTINATION, SOURCE, Counters, Tracked
from dataplane.wire import attribute

WITH_PORTS = {6, 17, 132}


class Way(NamedTuple):
    """One direction."""

    source: str
    source_port: int
    destination: str
    destination_port: int


def tracked(
    original: Way,
    translated: Way,
    protocol: int = 17,
    key: int = 1,
    counters: Counters | None = None,
) -> Tracked:
    """A connection; ports are left out where the protocol has none."""
    reply = Way(*translated[2:], *translated[:2])
    nat = SOURCE if original[:2] != translated[:2] else 0
    nat |= DESTINATION if original[2:] != translated[2:] else 0
    return Tracked(
        key=key,
        version=ip_address(original.source).version,
        protocol=protocol,
        nat=nat,
        tuples=_tuple(original, protocol) + _tuple(reply, protocol),
        counters=counters,
    )


def numbered(key: int, counters: Counters | None = None) -> Tracked:
    """One of many that differ by their number."""
    before = Way("192.168.1.10", 1024 + key % 60_000, "172.17.0.1", 53)
    return tracked(before, before._replace(source="172.17.0.11"), 17, key, counters)


def _tuple(way: Way, protocol: int) -> bytes:
    source, destination = ip_address(way.source), ip_address(way.destination)
    first = 1 if source.version == 4 else 3
    addresses = attribute(first, source.packed) + attribute(first + 1, destination.packed)
    proto = attribute(1, bytes([protocol]))
    if protocol in WITH_PORTS:
        proto += attribute(2, way.source_port.to_bytes(2, "big"))
        proto += attribute(3, way.destination_port.to_bytes(2, "big"))
    else:
        proto += attribute(4, b"\0\1") + attribute(5, b"\x08") + attribute(6, b"\0")
    return attribute(1, addresses, nested=True) + attribute(2, proto, nested=True)
