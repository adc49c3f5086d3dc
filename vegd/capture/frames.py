"""Frames from interfaces and files, by scapy; the only module that knows it.

On an interface a filter in the kernel lets through what goes to a BFD port, so that a busy gateway
is not copied into this process. It looks at the network layer wherever that begins, and leaves
frames with a VLAN tag in them to `seen_in`, which looks at everything anyway.
"""

import ctypes
import errno
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scapy.arch.linux import L2ListenSocket
from scapy.error import Scapy_Exception
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import PcapReader, PcapWriter

from vegd.capture.packets import MULTIHOP_PORT, PORTS, SINGLE_HOP_PORT, Seen, masked
from vegd.errors import VegdError

_SO_ATTACH_FILTER = 26
_NETWORK = 0xFFF00000
"""SKF_NET_OFF of linux/filter.h: offsets from here count from the network header."""
_PROTOCOL = 0xFFFFF000
"""SKF_AD_OFF + SKF_AD_PROTOCOL: the type of the frame."""
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AFTER_HEADER, _LOAD_HEADER_LENGTH = 0x48, 0xB1
_IF_EQUAL, _IF_ANY, _RETURN = 0x15, 0x45, 0x06
_UDP = 17
_UDP_HEADER = 8
_ETHERNET = 1
"""The link type in pcap files."""

_FILTER: tuple[tuple[str, int, int, str, str], ...] = (
    # label, operation, operand, where to go when true and when false; "" is the next line
    ("", _LOAD_WORD, _PROTOCOL, "", ""),
    ("", _IF_EQUAL, 0x8100, "accept", ""),
    ("", _IF_EQUAL, 0x88A8, "accept", ""),
    ("", _IF_EQUAL, 0x86DD, "ipv6", ""),
    ("", _IF_EQUAL, 0x0800, "", "refuse"),
    ("", _LOAD_BYTE, _NETWORK + 9, "", ""),
    ("", _IF_EQUAL, _UDP, "", "refuse"),
    ("", _LOAD_HALF, _NETWORK + 6, "", ""),
    ("", _IF_ANY, 0x1FFF, "refuse", ""),  # a later fragment has no UDP header
    ("", _LOAD_HEADER_LENGTH, _NETWORK, "", ""),
    ("", _LOAD_HALF_AFTER_HEADER, _NETWORK + 2, "", ""),
    ("", _IF_EQUAL, SINGLE_HOP_PORT, "accept", ""),
    ("", _IF_EQUAL, MULTIHOP_PORT, "accept", "refuse"),
    ("ipv6", _LOAD_BYTE, _NETWORK + 6, "", ""),
    ("", _IF_EQUAL, _UDP, "", "refuse"),
    ("", _LOAD_HALF, _NETWORK + 42, "", ""),
    ("", _IF_EQUAL, SINGLE_HOP_PORT, "accept", ""),
    ("", _IF_EQUAL, MULTIHOP_PORT, "accept", "refuse"),
    ("accept", _RETURN, 0xFFFF, "", ""),
    ("refuse", _RETURN, 0, "", ""),
)


def _assembled() -> bytes:
    places = {label: index for index, (label, *_) in enumerate(_FILTER) if label}
    return b"".join(
        struct.pack(
            "=HBBI",
            operation,
            *(places[target] - index - 1 if target else 0 for target in (true, false)),
            operand,
        )
        for index, (_, operation, operand, true, false) in enumerate(_FILTER)
    )


class Tap(L2ListenSocket):
    """What an interface receives and sends, to BFD ports. Raises VegdError."""

    def __init__(self, interface: str) -> None:
        self.name = interface
        try:
            super().__init__(iface=interface, promisc=False, nofilter=1)
            code = ctypes.create_string_buffer(_assembled())
            program = struct.pack("@HP", len(_FILTER), ctypes.addressof(code))
            self.ins.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except OSError as exc:
            raise VegdError(_why_not(interface, exc)) from exc

    def next(self) -> tuple[Packet, str, float]:
        """The next frame, its direction, and when the kernel saw it."""
        try:
            data, address, at = self._recv_raw(self.ins, 65_535)
        except OSError as exc:
            raise VegdError(_why_not(self.name, exc)) from exc
        direction = "out" if address[2] == socket.PACKET_OUTGOING else "in"
        return self.LL(data), direction, time.time() if at is None else at


def _why_not(interface: str, exc: OSError) -> str:
    if exc.errno in {errno.EPERM, errno.EACCES}:
        return (
            "capturing needs the capability CAP_NET_RAW; run it as root, "
            "or add NET_RAW to the capabilities of the container"
        )
    if exc.errno == errno.ENETDOWN:
        return f"interface {interface!r} is down; 'ip link set {interface} up' starts it"
    return f"interface {interface!r} cannot be captured: {exc.strerror or exc}"


class Source:
    """Frames from interfaces, as they come. Use it with ``with``."""

    def __init__(self, interfaces: Sequence[str]) -> None:
        self._taps: list[Tap] = []
        for name in interfaces:
            self._taps.append(Tap(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for tap in self._taps:
            tap.close()

    def frames(self) -> Iterator[tuple[Packet, Seen]]:
        """BFD packets and the frames around them, without end."""
        while True:
            ready, _, _ = select.select(self._taps, [], [])
            for tap in ready:
                frame, direction, at = tap.next()
                seen = seen_in(frame, at, direction, tap.name)
                if seen is not None:
                    yield frame, seen


def interfaces(wanted: str | None) -> list[str]:
    """The interface of that name, or every one that is there. Raises VegdError."""
    there = [name for _, name in socket.if_nameindex()]
    if wanted is None:
        return there
    if wanted not in there:
        raise VegdError(
            f"there is no interface {wanted!r} in this network namespace; "
            f"there are {', '.join(there)}"
        )
    return [wanted]


def frames_of(path: Path) -> Iterator[tuple[Packet, Seen]]:
    """The BFD packets of a capture file (pcap or pcapng). Raises VegdError."""
    try:
        reader = PcapReader(str(path))
    except OSError as exc:
        raise VegdError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (Scapy_Exception, struct.error, EOFError) as exc:
        raise VegdError(f"{path} is not a capture file: {exc}") from exc
    with reader:
        for frame in reader:
            seen = seen_in(frame, float(frame.time), "-", "")
            if seen is not None:
                yield frame, seen


def seen_in(frame: Packet, at: float, direction: str, interface: str) -> Seen | None:
    """The BFD packet in a frame, whatever VLAN tags are around it; None if it holds none."""
    network = frame.getlayer(IP) or frame.getlayer(IPv6)
    udp = network.getlayer(UDP) if network is not None else None
    # An ICMP error carries a UDP header too, but of a class of its own.
    if network is None or udp is None or type(udp) is not UDP or udp.dport not in PORTS:
        return None
    data: bytes = udp.original[_UDP_HEADER : udp.len]
    ttl = network.ttl if isinstance(network, IP) else network.hlim
    return Seen(at, direction, interface, network.src, udp.sport, network.dst, udp.dport, ttl, data)


class Writer:
    """Writes frames to a pcap file, each at once, simple passwords masked. Raises VegdError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: Any = PcapWriter(str(path), linktype=_ETHERNET, sync=True)
            self._file.write_header(None)
        except OSError as exc:
            raise VegdError(f"{path} cannot be written: {exc.strerror or exc}") from exc

    def write(self, frame: Packet, seen: Seen) -> None:
        """Add one frame; one without an Ethernet header gets an empty one."""
        whole = frame if isinstance(frame, Ether) else Ether(src="0" * 12, dst="0" * 12) / frame
        raw = bytes(frame.original if whole is frame else whole)
        hidden = masked(seen.data)
        if hidden != seen.data:
            raw = hidden.join(raw.rsplit(seen.data, 1))
        try:
            self._file.write_packet(raw, sec=int(seen.at), usec=round(seen.at % 1 * 1_000_000))
        except OSError as exc:
            raise VegdError(f"{self._path} cannot be written: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
