"""Notifications that something of ours may have changed, from the kernel's multicast groups.

What changed is not read: whoever is told looks for himself. Changes of other nftables tables are
no news; in routing, anything may matter. An overrun of the socket counts as a change, because
nobody knows what was lost. Messages: include/uapi/linux/netfilter/nfnetlink.h of the kernel;
groups: the RTNLGRP_ names of linux/rtnetlink.h and the NFNLGRP_ names of that file.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial

from dataplane.nfnetlink import NETLINK_NETFILTER
from dataplane.ownership import NFT_TABLE
from dataplane.wire import attributes

_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
"""linux/socket.h, linux/netlink.h; the module socket knows them from Python 3.14 on, if at all."""
_LARGEST = 1 << 16
_NFNLGRP_NFTABLES = 7
_NFT_MSG_NEWGEN = 15
_TABLE_NAME = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and so on: the same in every message."""
_ROUTING = {
    "RTNLGRP_LINK": 1,
    "RTNLGRP_TC": 4,
    "RTNLGRP_IPV4_IFADDR": 5,
    "RTNLGRP_IPV4_ROUTE": 7,
    "RTNLGRP_IPV4_RULE": 8,
    "RTNLGRP_IPV6_IFADDR": 9,
    "RTNLGRP_IPV6_ROUTE": 11,
    "RTNLGRP_IPV6_RULE": 19,
    # Netconf tells of parameters such as forwarding.
    "RTNLGRP_IPV4_NETCONF": 24,
    "RTNLGRP_IPV6_NETCONF": 25,
}


class Watch:
    """Tells whether there was news in some multicast groups since the last question. It is for
    the network namespace of the thread that makes it."""

    def __init__(
        self, protocol: int, groups: Iterable[int], is_news: Callable[[bytes], bool]
    ) -> None:
        self._is_news = is_news
        self._groups = tuple(groups)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        self._set_membership(_ADD_MEMBERSHIP)

    def _set_membership(self, option: int) -> None:
        for group in self._groups:
            self._socket.setsockopt(_SOL_NETLINK, option, group)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hear nothing inside the context. Where nobody listens the kernel makes no messages."""
        self._set_membership(_DROP_MEMBERSHIP)
        try:
            yield
        finally:
            if self._socket.fileno() >= 0:  # not closed meanwhile
                self._set_membership(_ADD_MEMBERSHIP)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def touched(self) -> bool:
        """Whether there was news since the last question."""
        touched = False
        while True:
            try:
                touched = self._is_news(self._socket.recv(_LARGEST)) or touched
            except BlockingIOError:
                return touched
            except OSError:
                # ENOBUFS: more changed than was kept.
                touched = True

    async def wait(self) -> None:
        """Until there is news."""
        loop = asyncio.get_running_loop()
        is_news = False
        while not is_news:
            is_news = True
            with contextlib.suppress(OSError):
                is_news = self._is_news(await loop.sock_recv(self._socket, _LARGEST))


def _names_our_table(data: bytes) -> bool:
    place = 0
    while place + 20 <= len(data):
        size, kind = struct.unpack_from("=IH", data, place)
        if kind & 0xFF != _NFT_MSG_NEWGEN:
            name = attributes(data[place + 20 : place + size]).get(_TABLE_NAME, b"")
            if name.rstrip(b"\0") == NFT_TABLE.encode():
                return True
        place += (size + 3) & ~3
    return False


nftables_watch = partial(Watch, NETLINK_NETFILTER, [_NFNLGRP_NFTABLES], _names_our_table)
"""For our nftables table."""
routing_watch = partial(Watch, socket.NETLINK_ROUTE, _ROUTING.values(), bool)
"""For links, addresses, routes, policy rules, queueing disciplines and some parameters."""


async def changes(make: Callable[[], Watch]) -> AsyncIterator[None]:
    """Yields whenever there is news, perhaps of ourselves."""
    with contextlib.closing(make()) as watch:
        while True:
            await watch.wait()
            yield
