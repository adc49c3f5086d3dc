"""Netfilter's netlink: requests, and the messages that answer them. One socket, one namespace.

For what libnftables does slowly (it reads every element of a table to list its counters) and what
it cannot do (connection tracking). Messages: include/uapi/linux/netlink.h and
linux/netfilter/nfnetlink.h of the kernel.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

from dataplane.errors import Refused

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES = 1, 10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLA_F_NESTED, _NLA_TYPE_MASK = 0x8000, 0x3FFF
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")
_BODY = _HEADER.size + _GENERIC.size
_RECEIVE_BYTES = 1 << 18


class Channel:
    """A socket to the netfilter subsystem of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, kind: int, family: int, body: bytes = b"", flags: int = NLM_F_ACK
    ) -> Iterator[bytes]:
        """The attributes of each message of the answer. `kind` is the subsystem in the upper byte
        and the message in the lower. Raises Refused."""
        self._sequence += 1
        payload = _GENERIC.pack(family, 0, 0) + body
        self._socket.send(
            _HEADER.pack(
                _HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, self._sequence, 0
            )
            + payload
        )
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError as exc:
                raise Refused("netfilter netlink", exc.errno or 0) from exc
            place = 0
            while place < len(data):
                size, answer, _, sequence, _ = _HEADER.unpack_from(data, place)
                if sequence == self._sequence:
                    if answer == _NLMSG_DONE:
                        return
                    if answer == _NLMSG_ERROR:
                        (number,) = struct.unpack_from("=i", data, place + _HEADER.size)
                        if number:
                            raise Refused("netfilter netlink", -number, os.strerror(-number))
                        return
                    yield data[place + _BODY : place + size]
                place += (size + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a message or a nested attribute, by type; the last of each."""
    found = {}
    place, end = 0, len(data)
    while place + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, place)
        found[kind & _NLA_TYPE_MASK] = data[place + 4 : place + size]
        place += (size + 3) & ~3
    return found


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """One attribute, padded."""
    size = _ATTRIBUTE.size + len(value)
    kind |= _NLA_F_NESTED if nested else 0
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)
