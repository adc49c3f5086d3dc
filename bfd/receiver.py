"""One receiving socket, and what the kernel says about each packet that comes in it."""

import socket
from struct import Struct

from bfd.packet import RxMeta

IP_PKTINFO = 8
_PKTINFO_4 = Struct("=i4s4s")
_PKTINFO_6 = Struct("=16sI")
_KNOWN_ADDRESSES = 1024


class Receiver:
    """A receiving socket of one family and one kind of sessions."""

    __slots__ = (
        "emptied_us",
        "heard_until_us",
        "info_kind",
        "is_ipv6",
        "multihop",
        "names",
        "overflows",
        "patient",
        "sock",
        "ttl_kind",
    )

    def __init__(
        self, sock: socket.socket, now_us: int, *, multihop: bool, patient: bool = False
    ) -> None:
        self.sock = sock
        self.multihop = multihop
        self.patient = patient
        """Only packets of sessions that are Up come here, and nothing urgent is in them."""
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.ttl_kind = socket.IPV6_HOPLIMIT if self.is_ipv6 else socket.IP_TTL
        self.info_kind = socket.IPV6_PKTINFO if self.is_ipv6 else IP_PKTINFO
        self.emptied_us = now_us
        self.heard_until_us = now_us
        self.names: dict[bytes, str] = {}
        self.overflows = 0
        """Packets that found no room in the buffer, as of the last packet that was read."""

    def to_json(self) -> list[int]:
        """What is known of the socket, for `from_json` in another process of this boot."""
        return [
            *(self.multihop, self.patient, self.emptied_us, self.heard_until_us, self.overflows)
        ]

    @classmethod
    def from_json(cls, document: list[int], sock: socket.socket) -> "Receiver":
        """A socket that another process has had. Raises ValueError."""
        multihop, patient, emptied_us, heard_until_us, overflows = document
        receiver = cls(sock, emptied_us, multihop=bool(multihop), patient=bool(patient))
        receiver.heard_until_us = heard_until_us
        receiver.overflows = overflows
        return receiver

    @property
    def label(self) -> str:
        """The name used in counters: ``ipv4``, ``ipv6_multihop``."""
        return ("ipv6" if self.is_ipv6 else "ipv4") + ("_multihop" if self.multihop else "")

    def fileno(self) -> int:
        """For the event loop."""
        return self.sock.fileno()

    def meta(
        self, ancillary: list[tuple[int, int, bytes]], peer: str, ttl: int, at_us: int
    ) -> RxMeta:
        """Put together what the kernel said about one packet."""
        ifindex = 0
        local = b""
        for _, kind, value in ancillary:
            if kind != self.info_kind:
                continue
            if self.is_ipv6:
                local, ifindex = _PKTINFO_6.unpack(value)
            else:
                ifindex, _, local = _PKTINFO_4.unpack(value)
        if self.is_ipv6:
            peer = peer.partition("%")[0]
        return RxMeta(self._name(local), peer, ttl, ifindex, at_us, self.multihop)

    def _name(self, address: bytes) -> str:
        name = self.names.get(address)
        if name is None:
            if len(self.names) >= _KNOWN_ADDRESSES:
                self.names.clear()
            name = socket.inet_ntop(self.sock.family, address) if address else ""
            self.names[address] = name
        return name
