"""Netfilter's netlink, for what libnftables does slowly (it reads every element of a table to list
its counters) and what it cannot do (connection tracking). Messages: linux/netfilter/nfnetlink.h.
"""

import struct
from collections.abc import Iterator
from typing import Self

from dataplane.errors import Refused
from dataplane.wire import NLM_F_ACK, Conversation

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES = 1, 10
_GENERIC = struct.Struct("!BBH")


class Channel:
    """A socket to the netfilter subsystem of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._conversation = Conversation(NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._conversation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, kind: int, family: int, body: bytes = b"", flags: int = NLM_F_ACK
    ) -> Iterator[bytes]:
        """The attributes of each message of the answer. `kind` is the subsystem in the upper byte
        and the message in the lower. Raises Refused."""
        payload = _GENERIC.pack(family, 0, 0) + body
        try:
            for message in self._conversation.ask(kind, payload, flags):
                yield message.body[_GENERIC.size :]
        except OSError as exc:
            raise Refused("netfilter netlink", exc.errno or 0, exc.strerror or "") from exc
