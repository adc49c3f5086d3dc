"""The connections that the kernel tracks: reading the table, and removing single entries.

What stays in the table outlives the rules: a connection that was tracked before SNAT stood is never
translated afterwards, and one that was translated goes on with its old address. `dataplane.stale`
says which entries contradict the policies. Attributes: nfnetlink_conntrack.h of the kernel.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from dataplane.errors import Refused
from dataplane.model import Connection, Flow
from dataplane.nfnetlink import NFNL_SUBSYS_CTNETLINK, Channel
from dataplane.wire import NLM_F_ACK, NLM_F_DUMP, attribute, attributes

CT_GET, _CT_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 1, NFNL_SUBSYS_CTNETLINK << 8 | 2
_ORIGINAL, _REPLY, _STATUS, _ZONE = 1, 2, 3, 18
_COUNTERS = (9, 10)
_PACKETS, _BYTES = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _DESTINATION = {4: 1, 6: 3}, {4: 2, 6: 4}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
FAMILIES = {4: 2, 6: 10}
SRC_NAT = 1 << 4


def connections(channel: Channel) -> Iterator[tuple[Connection, bytes]]:
    """All, each with what names it toward the kernel."""
    for version, family in FAMILIES.items():
        for message in channel.ask(CT_GET, family, flags=NLM_F_DUMP):
            yield read(attributes(message), version)


def flows(channel: Channel, is_wanted: Callable[[Connection], bool]) -> list[Flow]:
    """The connections of which that is said, each with its counters."""
    wanted = []
    for version, family in FAMILIES.items():
        for message in channel.ask(CT_GET, family, flags=NLM_F_DUMP):
            found = attributes(message)
            connection, _ = read(found, version)
            if is_wanted(connection):
                ways = [attributes(found.get(each, b"")) for each in _COUNTERS]
                figures = [
                    _number(way.get(each, b"")) for way in ways for each in (_PACKETS, _BYTES)
                ]
                wanted.append(Flow(connection, *figures))
    return wanted


def read(found: dict[int, bytes], version: int) -> tuple[Connection, bytes]:
    """The connection in the attributes of a message, and what names it."""
    original, reply = attributes(found[_ORIGINAL]), attributes(found[_REPLY])
    addresses, proto = attributes(original[_TUPLE_IP]), attributes(original[_TUPLE_PROTO])
    kind = IPv4Address if version == 4 else IPv6Address
    names = attribute(_ORIGINAL, found[_ORIGINAL], nested=True)
    if _ZONE in found:
        names += attribute(_ZONE, found[_ZONE])
    return Connection(
        protocol=proto[_NUMBER][0],
        source=kind(addresses[_SOURCE[version]]),
        source_port=_port(proto, _SOURCE_PORT),
        destination=kind(addresses[_DESTINATION[version]]),
        destination_port=_port(proto, _DESTINATION_PORT),
        shown=kind(attributes(reply[_TUPLE_IP])[_DESTINATION[version]]),
        shown_port=_port(attributes(reply[_TUPLE_PROTO]), _DESTINATION_PORT),
        translated=bool(int.from_bytes(found[_STATUS], "big") & SRC_NAT),
    ), names


def _port(proto: dict[int, bytes], kind: int) -> int:
    """A port; 0 for a protocol without."""
    return _number(proto.get(kind, b""))


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def forget(channel: Channel, is_stale: Callable[[Connection], bool]) -> int:
    """Remove the connections of which that is said; returns how many there were."""
    stale = [
        (FAMILIES[connection.source.version], names)
        for connection, names in connections(channel)
        if is_stale(connection)
    ]
    count = 0
    for family, names in stale:
        try:
            for _ in channel.ask(_CT_DELETE, family, names, NLM_F_ACK):
                pass
        except Refused:
            # It has ended by itself meanwhile.
            continue
        count += 1
    return count
