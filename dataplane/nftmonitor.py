"""Notifications that our nftables table has changed, from the kernel's multicast group.

What changed is not read: whoever is told looks for himself. Changes of other tables are no news. An
overrun of the socket counts as a change, because nobody knows what was lost. Messages: nfnetlink in
the kernel's include/uapi/linux/netfilter/nfnetlink.h.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

from dataplane.nfnetlink import NETLINK_NETFILTER, attributes
from dataplane.ownership import NFT_TABLE

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NFNLGRP_NFTABLES = 7
_LARGEST = 1 << 16
_NFT_MSG_NEWGEN = 15
_TABLE_NAME = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and so on: the same in every message."""


class Watch:
    """Tells whether our table was touched since the last question."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def touched(self) -> bool:
        """Whether something of our table has changed since the last question."""
        touched = False
        while True:
            try:
                touched = _is_ours(self._socket.recv(_LARGEST)) or touched
            except BlockingIOError:
                return touched
            except OSError:
                # ENOBUFS: more changed than was kept.
                touched = True

    async def wait(self) -> None:
        """Until something of our table has changed."""
        loop = asyncio.get_running_loop()
        is_ours = False
        while not is_ours:
            is_ours = True
            with contextlib.suppress(OSError):
                is_ours = _is_ours(await loop.sock_recv(self._socket, _LARGEST))


async def nftables_changes() -> AsyncIterator[None]:
    """Yields whenever our table has changed, perhaps by ourselves."""
    with contextlib.closing(Watch()) as watch:
        while True:
            await watch.wait()
            yield


def _is_ours(data: bytes) -> bool:
    place = 0
    while place + 20 <= len(data):
        size, kind = struct.unpack_from("=IH", data, place)
        if kind & 0xFF != _NFT_MSG_NEWGEN:
            name = attributes(data[place + 20 : place + size]).get(_TABLE_NAME, b"")
            if name.rstrip(b"\0") == NFT_TABLE.encode():
                return True
        place += (size + 3) & ~3
    return False
