"""One flow record: a line of JSON with the fields of Kube-OVN's schema v1, in their order."""

import socket
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from dataplane.conntrack_events import DESTINATION, SOURCE, Ends, Tracked, ends
from vegd.observer.words import FAMILIES, protocol_name

_NAMES = {
    SOURCE: ("snat",),
    DESTINATION: ("dnat",),
    SOURCE | DESTINATION: ("dnat", "snat"),
}
_AF = {4: socket.AF_INET, 16: socket.AF_INET6}
_encode = msgspec.json.Encoder().encode


class Identity(NamedTuple):
    """Whose connections they are: in every record, and in every metric."""

    namespace: str = ""
    name: str = ""
    pod: str = ""
    node: str = ""


def line(event: str, tracked: Tracked, identity: Identity, at: float) -> bytes:
    """The record of an event (`start` or `end`) at a time, in seconds since 1970."""
    original, translated = ends(tracked)
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    record: dict[str, Any] = {
        "schemaVersion": "v1",
        "timestamp": moment.replace("+00:00", "Z"),
        "event": event,
        "conntrackID": tracked.number,
        "zone": tracked.zone,
        **identity._asdict(),
        "addressFamily": FAMILIES[tracked.version],
        "protocol": protocol_name(tracked.protocol),
        "protocolNumber": tracked.protocol,
        "natType": _NAMES[tracked.nat],
        "original": _ends(original),
        "translated": _ends(translated),
    }
    if tracked.counters is not None:
        packets, octets, reply_packets, reply_octets = tracked.counters
        record["counters"] = {
            "originalPackets": packets,
            "originalBytes": octets,
            "replyPackets": reply_packets,
            "replyBytes": reply_octets,
        }
    return _encode(record) + b"\n"


def _ends(each: Ends) -> dict[str, str | int]:
    """A port that is 0, as those of ICMP are, is left out."""
    found: dict[str, str | int] = {"sourceIP": _text(each.source)}
    if each.source_port:
        found["sourcePort"] = each.source_port
    found["destinationIP"] = _text(each.destination)
    if each.destination_port:
        found["destinationPort"] = each.destination_port
    return found


def _text(address: bytes) -> str:
    return socket.inet_ntop(_AF[len(address)], address)
