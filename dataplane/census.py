"""How many ports SNAT has in use: one pass over the tracked connections, counted as they come.

Two connections may show the same port as long as they lead to different places, so a range of ports
runs out for one destination at a time (its address, protocol and port): then the kernel cannot
insert another connection there, while all others go on. So beside the ports in use it is counted
how many connections lead to each destination.

A table of 100,000 is read in some tenths of a second; reading each message whole takes three
times as long. Where the fields stand in the messages for protocols with ports is therefore computed
once, and each is first compared with that layout; any other is read whole.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import nlargest
from ipaddress import ip_address
from operator import itemgetter

from dataplane.connections import CT_GET, FAMILIES, SRC_NAT, read
from dataplane.nfnetlink import Channel
from dataplane.portuse import WITH_PORTS, Census, Destination, PortUse
from dataplane.wire import NLM_F_DUMP, attribute, attributes

_BUSIEST = 10
_ADDRESS_BYTES = {4: 4, 6: 16}


def take(channel: Channel) -> Census:
    """Count all tracked connections of the network namespace of the channel."""
    tally = _Tally()
    for version, family in FAMILIES.items():
        tally.count(channel.ask(CT_GET, family, flags=NLM_F_DUMP), version)
    return tally.census()


class _Tally:
    def __init__(self) -> None:
        self._connections = 0
        self._translated = 0
        self._leading: Counter[tuple[bytes, bytes]] = Counter()
        """Connections by external address with protocol, and by destination address with port."""
        self._shown: set[bytes] = set()
        """External address with protocol and port."""

    def count(self, messages: Iterable[bytes], version: int) -> None:
        is_usual, fields = _layout(version)
        leading, shown = self._leading, self._shown
        for message in messages:
            found = fields(message) if is_usual(message) else _read(message, version)
            status, protocol, address, port, destination, destination_port = found
            self._connections += 1
            if not status[-1] & SRC_NAT:
                continue
            self._translated += 1
            if protocol[0] in WITH_PORTS:
                ours = address + protocol
                leading[ours, destination + destination_port] += 1
                shown.add(ours + port)

    def census(self) -> Census:
        connections: Counter[bytes] = Counter()
        places: dict[bytes, list[tuple[int, bytes]]] = {}
        for (ours, place), count in self._leading.items():
            connections[ours] += count
            places.setdefault(ours, []).append((count, place))
        ports = Counter(each[:-2] for each in self._shown)
        uses = tuple(
            PortUse(
                address=ip_address(ours[:-1]),
                protocol=WITH_PORTS[ours[-1]],
                connections=count,
                ports=ports[ours],
                busiest=tuple(
                    Destination(ip_address(place[:-2]), int.from_bytes(place[-2:], "big"), number)
                    for number, place in nlargest(_BUSIEST, places[ours])
                ),
            )
            for ours, count in connections.most_common()
        )
        return Census(self._connections, self._translated, uses)


_Fields = Callable[[bytes], tuple[bytes, ...]]


def _layout(version: int) -> tuple[Callable[[bytes], bool], _Fields]:
    """Whether a message begins with two tuples with ports and the status, and what stands there:
    status, protocol, shown address and port, destination address and port."""
    zeros, ones = (_usual(version, value) for value in (b"\0", b"\xff"))
    end, expected = len(zeros), int.from_bytes(zeros, "big")
    mask = expected ^ int.from_bytes(ones, "big") ^ (1 << 8 * end) - 1
    size = _ADDRESS_BYTES[version]
    reply = (end - 8) // 2
    protocol, address = 24 + 2 * size, 16 + size
    port = protocol + 16

    def is_usual(message: bytes) -> bool:
        return int.from_bytes(message[:end], "big") & mask == expected

    return is_usual, itemgetter(
        slice(end - 4, end),
        slice(protocol, protocol + 1),
        slice(reply + address, reply + address + size),
        slice(reply + port, reply + port + 2),
        slice(address, address + size),
        slice(port, port + 2),
    )


def _usual(version: int, value: bytes) -> bytes:
    """How a message begins for a protocol with ports, with the same byte for all that varies."""
    first = 1 if version == 4 else 3
    address = value * _ADDRESS_BYTES[version]
    ip = attribute(first, address) + attribute(first + 1, address)
    proto = attribute(1, value) + attribute(2, value * 2) + attribute(3, value * 2)
    ends = attribute(1, ip, nested=True) + attribute(2, proto, nested=True)
    two = attribute(1, ends, nested=True) + attribute(2, ends, nested=True)
    return two + attribute(3, value * 4)


def _read(message: bytes, version: int) -> tuple[bytes, ...]:
    """The same fields of a message of any layout."""
    found, _ = read(attributes(message), version)
    return (
        bytes([SRC_NAT if found.translated else 0]),
        bytes([found.protocol]),
        found.shown.packed,
        found.shown_port.to_bytes(2, "big"),
        found.destination.packed,
        found.destination_port.to_bytes(2, "big"),
    )
