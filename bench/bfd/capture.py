"""Packets with the kernel's time stamps, and what follows from them.

A packet socket on the daemon's side of the link sees both directions. The kernel stamps and keeps
the packets; they are read when the measurement is over, so that looking costs nothing in between.
"""

import itertools
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_BUFFER_BYTES = 512 << 20
_PORT = 3784
_BFD = struct.Struct("!BBBBIIIII")
_DOWN, _UP = 1, 3
_FINAL = 0x10
_EXPIRED = 1


class Packet(NamedTuple):
    """A BFD packet on the daemon's link."""

    at_ns: int
    """Nanoseconds of the wall clock."""
    sent: bool
    """By the daemon."""
    pair: tuple[bytes, bytes]
    """The daemon's address and the peer's."""
    state: int
    diagnostic: int
    final: bool
    mult: int
    desired_us: int
    required_us: int


class Capture:
    """To be made inside the namespace (`Namespace.call`)."""

    def __init__(self, interface: str) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.setblocking(False)
        self._sock.bind((interface, 0))

    def wait_for(self, condition: "Wanted", within_s: float) -> Packet | None:
        """Read until a packet fulfils the condition."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            select.select([self._sock], [], [], left_s)
            for packet in self.read():
                if condition(packet):
                    return packet
        return None

    def read(self) -> Iterator[Packet]:
        """What was captured so far. Raises RuntimeError if the kernel had to drop something."""
        while True:
            try:
                frame, ancillary, _, address = self._sock.recvmsg(128, 64)
            except BlockingIOError:
                break
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            packet = _parse(
                frame, seconds * 10**9 + nanoseconds, sent=address[2] == _PACKET_OUTGOING
            )
            if packet is not None:
                yield packet
        statistics = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        if struct.unpack("II", statistics)[1]:
            raise RuntimeError("the capture has lost packets")

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class Wanted:
    """A condition on packets: by whom, in which state, since when."""

    def __init__(self, *, sent: bool, state: int | None = None, since_ns: int = 0) -> None:
        self._sent, self._state, self._since_ns = sent, state, since_ns

    def __call__(self, packet: Packet) -> bool:
        """Whether a packet fulfils it."""
        return (
            packet.sent is self._sent
            and packet.at_ns >= self._since_ns
            and self._state in {None, packet.state}
        )


def _parse(frame: bytes, at_ns: int, *, sent: bool) -> Packet | None:
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP or len(frame) < 66:
        return None
    source, target = frame[26:30], frame[30:34]
    if int.from_bytes(frame[36:38], "big") != _PORT:
        return None
    first, flags, mult, _, _, _, desired_us, required_us, _ = _BFD.unpack_from(frame, 42)
    return Packet(
        *(at_ns, sent, (source, target) if sent else (target, source)),
        *(flags >> 6, first & 31, bool(flags & _FINAL), mult, desired_us, required_us),
    )


def by_session(packets: Iterable[Packet]) -> list[list[Packet]]:
    """The packets of each session, in the order of time."""
    sessions: dict[tuple[bytes, bytes], list[Packet]] = {}
    for packet in packets:
        sessions.setdefault(packet.pair, []).append(packet)
    return [sorted(found, key=lambda p: p.at_ns) for found in sessions.values()]


def detections_ms(packets: Iterable[Packet]) -> list[float]:
    """By how much each silence of the peer was announced later than the detection time (ms).

    From the arrival of the peer's last packet to the departure of the daemon's first Down.
    """
    found = []
    for session in by_session(packets):
        heard: Packet | None = None
        said: Packet | None = None
        for packet in session:
            if not packet.sent:
                heard = packet
                continue
            if (
                heard is not None
                and said is not None
                and (said.state, packet.state) == (_UP, _DOWN)
                and packet.diagnostic == _EXPIRED
            ):
                nominal_us = heard.mult * max(said.required_us, heard.desired_us)
                found.append((packet.at_ns - heard.at_ns) / 1e6 - nominal_us / 1e3)
            said = packet
    return found


def gaps_ms(packets: Iterable[Packet]) -> list[float]:
    """The distances between a daemon's periodic packets while Up, session by session (ms)."""
    found = []
    for session in by_session(packets):
        times = [p.at_ns for p in session if p.sent and p.state == _UP and not p.final]
        found += [(b - a) / 1e6 for a, b in itertools.pairwise(times)]
    return found


def share(values: Sequence[float], low: float, high: float) -> float:
    """The percentage of values in low < x < high."""
    return 100 * sum(low < value < high for value in values) / len(values) if values else 0.0
