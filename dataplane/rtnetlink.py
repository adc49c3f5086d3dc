"""Links, addresses, routes, rules, shapers and neighbours as netlink messages: dumps become values,
wishes become requests. linux/rtnetlink.h, if_link.h, if_addr.h, fib_rules.h, pkt_sched.h,
neighbour.h of the kernel; rtnetlink(7).
"""

import contextlib
import errno
import socket
import struct
import sys
from ipaddress import ip_address
from typing import NamedTuple

from dataplane.model import IPAddress
from dataplane.wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    Conversation,
    Message,
    attribute,
    attributes,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTCLASS, RTM_GETTCLASS = 40, 42

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_NETLINK_GET_STRICT_CHK = 12
_TRIES = 5

LINK = struct.Struct("=BxHiII")
"""Family, hardware type, index, flags, which flags to change."""
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_LINKINFO, IFLA_IFALIAS, _IFLA_EXT_MASK = 18, 20, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_MACVLAN_MODE = 1, 2, 1
_RTEXT_FILTER_SKIP_STATS = 8

ADDRESS = struct.Struct("=BBBBi")
"""Family, prefix length, flags, scope, index of the interface."""
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 1, 2, 6, 8, 11

ROUTE = struct.Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, protocol, scope, type, flags; of a rule
(struct fib_rule_hdr) the type is its action, and protocol and scope mean nothing."""
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL = 2, 3, 6, 15, 21

TRAFFIC = struct.Struct("=BxxxiIII")
"""Family, index of the interface, handle, parent, info."""
TCA_KIND, TCA_OPTIONS = 1, 2

NEIGHBOUR = struct.Struct("=BxxxiHBB")
"""Family, index of the interface, state, flags, type."""
NDA_DST, _NDA_IFINDEX = 1, 8


class Found(NamedTuple):
    """One object of a dump: the fields of its header, and its attributes by type."""

    fields: tuple[int, ...]
    attributes: dict[int, bytes]

    def text(self, kind: int) -> str:
        """The value of a textual attribute; empty if it is missing."""
        return text(self.attributes.get(kind, b""))

    def number(self, kind: int) -> int | None:
        """The value of a numeric attribute; None if it is missing."""
        value = self.attributes.get(kind)
        return None if value is None else int.from_bytes(value, sys.byteorder)

    def address(self, kind: int) -> IPAddress | None:
        """The value of an attribute that is an IP address; None if it is missing."""
        value = self.attributes.get(kind)
        return None if value is None else ip_address(value)


class Routing:
    """A conversation with the routing part of the kernel. Every method raises OSError with the
    kernel's error number."""

    def __init__(self) -> None:
        self._conversation = Conversation(socket.NETLINK_ROUTE)
        # From Linux 4.20 on a dump can be of one table, or of one interface.
        with contextlib.suppress(OSError):
            self._conversation.set_option(_NETLINK_GET_STRICT_CHK)

    def close(self) -> None:
        """Close the socket."""
        self._conversation.close()

    def links(self) -> list[Found]:
        """All interfaces."""
        body = LINK.pack(0, 0, 0, 0, 0) + number(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        return self._dump(RTM_GETLINK, body, LINK)

    def addresses(self) -> list[Found]:
        """All addresses of interfaces."""
        return self._dump(RTM_GETADDR, ADDRESS.pack(0, 0, 0, 0, 0), ADDRESS)

    def routes(self, version: int, table: int) -> list[Found]:
        """The routes of a family in a table; none where there is no such table."""
        body = ROUTE.pack(FAMILIES[version], *[0] * 8) + number(RTA_TABLE, table)
        try:
            found = self._dump(RTM_GETROUTE, body, ROUTE)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                return []
            raise
        return [each for each in found if each.number(RTA_TABLE) == table]

    def rules(self, version: int) -> list[Found]:
        """The policy rules of a family."""
        return self._dump(RTM_GETRULE, ROUTE.pack(FAMILIES[version], *[0] * 8), ROUTE)

    def disciplines(self) -> list[Found]:
        """All queueing disciplines."""
        return self._dump(RTM_GETQDISC, TRAFFIC.pack(0, 0, 0, 0, 0), TRAFFIC)

    def classes(self, index: int) -> list[Found]:
        """The classes of an interface."""
        return self._dump(RTM_GETTCLASS, TRAFFIC.pack(0, index, 0, 0, 0), TRAFFIC)

    def neighbours(self, version: int, index: int) -> list[Found]:
        """The neighbours of a family on an interface, and perhaps on others."""
        body = NEIGHBOUR.pack(FAMILIES[version], 0, 0, 0, 0) + number(_NDA_IFINDEX, index)
        return self._dump(RTM_GETNEIGH, body, NEIGHBOUR)

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Have something done."""
        for _ in self._conversation.ask(kind, body, NLM_F_ACK | flags):
            pass

    def _dump(self, kind: int, body: bytes, header: struct.Struct) -> list[Found]:
        """What changes all the time is shown as it was seen."""
        found: list[Found] = []
        for _ in range(_TRIES):
            answer = self._conversation.ask(kind, body, NLM_F_DUMP)
            found = [_found(message, header) for message in answer]
            if not self._conversation.interrupted:
                break
        return found


def _found(message: Message, header: struct.Struct) -> Found:
    return Found(header.unpack_from(message.body), attributes(message.body[header.size :]))


def nested(data: bytes, kind: int) -> dict[int, bytes]:
    """The attributes in one attribute of several; none if it is missing."""
    return attributes(attributes(data).get(kind, b""))


def text(value: bytes) -> str:
    """The value of a textual attribute."""
    return value.rstrip(b"\0").decode(errors="replace")


def named(kind: int, value: str) -> bytes:
    """A textual attribute."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int, size: int = 4) -> bytes:
    """A numeric attribute of so many bytes."""
    return attribute(kind, value.to_bytes(size, sys.byteorder))


def group(kind: int, *members: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(kind, b"".join(members), nested=True)
