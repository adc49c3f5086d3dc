"""Notifications that some nftables ruleset has changed, from the kernel's multicast group.

What changed is not read: whoever is told looks for himself. Messages: nfnetlink in the kernel's
include/uapi/linux/netfilter/nfnetlink.h.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NFNLGRP_NFTABLES = 7
_LARGEST = 1 << 16


async def nftables_changes() -> AsyncIterator[None]:
    """Yields at every notification; an overrun of the socket counts as one."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as channel:
        channel.setblocking(False)
        channel.bind((0, 0))
        channel.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        while True:
            with contextlib.suppress(OSError):
                # ENOBUFS: more changed than was read, which is all there is to know.
                await loop.sock_recv(channel, _LARGEST)
            yield
