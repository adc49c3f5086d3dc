"""What was seen of one BFD packet, and how it is told: as a line and as JSON.

The packet itself is read by `bfd.packet.decode`, the engine's own eyes. Of an authentication
section only type, key ID and sequence number are told; a simple password (RFC 5880 §4.2) travels in
clear, so `masked` hides it before a packet is kept anywhere.
"""

import time
from typing import Any, NamedTuple

from bfd.packet import HEADER_LENGTH, ControlPacket, Discard, decode
from vegd.words import state_name

SINGLE_HOP_PORT = 3784
MULTIHOP_PORT = 4784
PORTS = (SINGLE_HOP_PORT, MULTIHOP_PORT)

_AUTH_NAMES = ("reserved", "simple", "md5", "meticulous-md5", "sha1", "meticulous-sha1")
_SIMPLE = 1
_AUTH_HEADER = 3
_SEQUENCED = 8


class Seen(NamedTuple):
    """A datagram to a BFD port, and what the link layer knew about it."""

    at: float
    """Seconds since the epoch."""
    direction: str
    """in, out, or - when a file does not tell."""
    interface: str
    source: str
    source_port: int
    destination: str
    port: int
    ttl: int
    """TTL or hop limit."""
    data: bytes

    @property
    def packet(self) -> ControlPacket | Discard:
        """As the engine would read it."""
        return decode(self.data)


def auth_to_json(section: bytes) -> dict[str, Any] | None:
    """Type, key ID and sequence number of an authentication section (§4.2 to §4.4); no secrets."""
    if not section:
        return None
    number = section[0]
    told: dict[str, Any] = {
        "type": _AUTH_NAMES[number] if number < len(_AUTH_NAMES) else f"type-{number}"
    }
    if len(section) >= _AUTH_HEADER:
        told["key_id"] = section[2]
    if number > _SIMPLE and len(section) >= _SEQUENCED:
        told["sequence"] = int.from_bytes(section[4:8], "big")
    return told


def masked(data: bytes) -> bytes:
    """The datagram with asterisks in place of a simple password."""
    packet = decode(data)
    if isinstance(packet, Discard) or packet.auth[:1] != bytes([_SIMPLE]):
        return data
    start, end = HEADER_LENGTH + _AUTH_HEADER, HEADER_LENGTH + len(packet.auth)
    return data[:start] + b"*" * (end - start) + data[end:]


def to_json(seen: Seen, anomalies: tuple[str, ...]) -> dict[str, Any]:
    """One packet for ``--json``; timers in microseconds, as on the wire."""
    packet = seen.packet
    told: dict[str, Any] = {
        "time": round(seen.at, 6),
        "direction": seen.direction,
        "interface": seen.interface,
        "source": seen.source,
        "source_port": seen.source_port,
        "destination": seen.destination,
        "port": seen.port,
        "ttl": seen.ttl,
    }
    if isinstance(packet, Discard):
        told["discard"] = packet.label
    else:
        told |= packet._asdict() | {
            "state": state_name(packet.state),
            "auth": auth_to_json(packet.auth),
        }
    return told | {"anomalies": list(anomalies)}


def to_line(seen: Seen, anomalies: tuple[str, ...]) -> str:
    """One packet for people; timers in milliseconds."""
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at)) + f"{seen.at % 1:.6f}"[1:]
    words = [clock, seen.direction]
    if seen.interface:
        words.append(seen.interface)
    words += [seen.source, ">", seen.destination, f"ttl {seen.ttl}"]
    if seen.port != SINGLE_HOP_PORT:
        words.append(f"port {seen.port}")
    packet = seen.packet
    words.append("unreadable" if isinstance(packet, Discard) else _told(packet))
    if anomalies:
        words.append(f"! {'; '.join(anomalies)}")
    return " ".join(words)


def _told(packet: ControlPacket) -> str:
    flags = "".join(
        letter if is_set else "-"
        for letter, is_set in zip(
            "PFCAD",
            (
                packet.poll,
                packet.final,
                packet.control_plane_independent,
                bool(packet.auth),
                packet.demand,
            ),
            strict=True,
        )
    )
    text = (
        f"{state_name(packet.state)} diag {packet.diagnostic} {flags}"
        f" my {packet.my_discr:#010x} your {packet.your_discr:#010x}"
        f" tx {packet.desired_min_tx_us / 1000:g} rx {packet.required_min_rx_us / 1000:g}"
        f" echo {packet.required_min_echo_rx_us / 1000:g} mult {packet.detect_mult}"
    )
    auth = auth_to_json(packet.auth)
    if auth is None:
        return text
    return f"{text} auth " + " ".join(
        [auth["type"]]
        + [f"key {auth[name]}" for name in ("key_id",) if name in auth]
        + [f"seq {auth[name]}" for name in ("sequence",) if name in auth]
    )
