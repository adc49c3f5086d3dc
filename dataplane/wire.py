"""Netlink's framing: requests, the messages that answer them, attributes. One socket, one network
namespace, that of the thread that makes it. include/uapi/linux/netlink.h of the kernel.

Written here, because all of it is these few lines and the package for it, pyroute2, takes 16 MB of
memory and 20 ms for what takes 1 ms.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_DUMP = 0x100, 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
_NLM_F_DUMP_INTR = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLA_F_NESTED, _NLA_TYPE_MASK = 0x8000, 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BYTES = 1 << 18


class Message(NamedTuple):
    """Its type, and what follows the header."""

    kind: int
    body: bytes


class Conversation:
    """A socket for questions of one thread at a time; the kernel answers each before the next."""

    def __init__(self, protocol: int) -> None:
        self.interrupted = False
        """Whether what the newest dump shows has changed in the middle of it."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def set_option(self, number: int) -> None:
        """Switch on an option of the level SOL_NETLINK (netlink(7)). Raises OSError."""
        self._socket.setsockopt(270, number, 1)

    def ask(self, kind: int, body: bytes, flags: int = NLM_F_ACK) -> Iterator[Message]:
        """The messages of the answer; none where there is only the word that it is done. It is to
        be read to its end. Raises OSError with the kernel's error number."""
        self._sequence += 1
        self.interrupted = False
        size = _HEADER.size + len(body)
        header = _HEADER.pack(size, kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            place = 0
            while place < len(data):
                size, answer, found, sequence, _ = _HEADER.unpack_from(data, place)
                if sequence == self._sequence:
                    self.interrupted |= bool(found & _NLM_F_DUMP_INTR)
                    if answer in {_NLMSG_ERROR, _NLMSG_DONE}:
                        _raise_error(data, place + _HEADER.size)
                        return
                    yield Message(answer, data[place + _HEADER.size : place + size])
                place += (size + 3) & ~3


def _raise_error(data: bytes, place: int) -> None:
    """Both kinds of last messages begin with an error number, negative, or 0."""
    (number,) = struct.unpack_from("=i", data, place)
    if number < 0:
        raise OSError(-number, os.strerror(-number))


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
