"""How protocols, families and kinds of NAT are called in records, filters and metrics."""

from typing import NamedTuple

from dataplane.conntrack_events import DESTINATION, SOURCE, Tracked

FAMILIES = {4: "ipv4", 6: "ipv6"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
NAT_TYPES = {SOURCE: "snat", DESTINATION: "dnat", SOURCE | DESTINATION: "snat_dnat"}


class Kind(NamedTuple):
    """What connections are told apart by where they are only counted."""

    family: str
    protocol: str
    nat_type: str


def protocol_name(number: int) -> str:
    """`other` for all without a name of their own."""
    return _PROTOCOLS.get(number, "other")


_KINDS = {
    (version, number, nat): Kind(family, protocol_name(number), nat_type)
    for version, family in FAMILIES.items()
    for number in range(256)
    for nat, nat_type in NAT_TYPES.items()
}


def kind(tracked: Tracked) -> Kind:
    """Of a connection with NAT."""
    return _KINDS[tracked.version, tracked.protocol, tracked.nat]
