"""When tracked connections begin and end, as the kernel tells it, and which there are now.

The kernel tells of every connection in one multicast message each, also to who does not read: what
finds no room in the receive buffer is lost, and the next reading says so (ENOBUFS) without saying
what it was. `tracked_now` is then the way to the truth. Messages: nfnetlink_conntrack.h of the
kernel. By default (`nf_conntrack_events` 2) it tells only of those that began while somebody
listened, and never of their bytes before they end.
"""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dataplane.connections import CT_GET, FAMILIES, SRC_NAT
from dataplane.nfnetlink import NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK, Channel
from dataplane.wire import NLM_F_DUMP, attributes

SOURCE, DESTINATION = 1, 2
"""Which addresses are translated; both may be."""

_SYSCTLS = Path("/proc/sys/net/netfilter")
_SOCKETS = Path("/proc/thread-self/net/netlink")
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_GROUP_NEW, _GROUP_DESTROY = 1, 3
_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 2
_HEADER = struct.Struct("=IHHII")
_LARGEST = 8192
_DST_NAT = 1 << 5
_ORIGINAL, _REPLY, _STATUS, _ORIGINAL_COUNTERS, _REPLY_COUNTERS, _ID, _ZONE = 1, 2, 3, 9, 10, 12, 18
_IP, _PROTO = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_PROTOCOL_AT = {4: 28, 6: 52}
_PROTOCOL_HEADER = struct.pack("=HH", 5, _NUMBER)
_ADDRESSES = {4: (1, 2), 6: (3, 4)}


class Counters(NamedTuple):
    """What has passed so far, each way."""

    original_packets: int
    original_bytes: int
    reply_packets: int
    reply_bytes: int


class Tracked(NamedTuple):
    """A connection as a message shows it; `ends` says between whom it is."""

    key: int
    """Names it for as long as it lives; see `zone` and `number`."""
    version: int
    """4 or 6."""
    protocol: int
    nat: int
    """SOURCE, DESTINATION, both or 0."""
    tuples: bytes
    """Both directions, as they came: they take a quarter of the memory."""
    counters: Counters | None
    """None where the kernel does not count, and always when it begins."""

    @property
    def zone(self) -> int:
        """The zone of connection tracking that it is in."""
        return self.key >> 32

    @property
    def number(self) -> int:
        """The kernel's number for it, which is used again after its end."""
        return self.key & 0xFFFF_FFFF


class Ends(NamedTuple):
    """Between whom packets go. Addresses are packed; ports are 0 where there are none."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


class Events:
    """The beginnings and ends in the network namespace of the thread that makes it, from then on.

    Raises OSError: EPERM without CAP_NET_ADMIN.
    """

    def __init__(self, receive_bytes: int) -> None:
        """`receive_bytes` of messages can wait to be read."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        try:
            self._socket.setblocking(False)
            # The kernel takes the number twice, for what a message takes beside its bytes.
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_bytes // 2)
            self._socket.bind((0, 0))
            for group in (_GROUP_NEW, _GROUP_DESTROY):
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For who waits for news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self, most: int) -> Iterator[tuple[bool, Tracked]]:
        """Up to so many of what has come, each with whether it is a beginning. Ends early when
        there is no more. Raises OSError: ENOBUFS when messages were lost before the next one."""
        for _ in range(most):
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            place = 0
            while place < len(data):
                size, kind, *_ = _HEADER.unpack_from(data, place)
                begin = place + _HEADER.size
                version = 4 if data[begin] == FAMILIES[4] else 6
                yield kind != _DELETE, _tracked(data[begin + 4 : place + size], version)
                place += (size + 3) & ~3

    def lost(self) -> int:
        """How many messages have found no room so far."""
        port = str(self._socket.getsockname()[0])
        for line in _SOCKETS.read_text("ascii").splitlines()[1:]:
            _, protocol, owner, *_, drops, _ = line.split()
            if (protocol, owner) == (str(NETLINK_NETFILTER), port):
                return int(drops)
        return 0


def tracked_now(channel: Channel) -> Iterator[Tracked]:
    """All connections in the table. Raises Refused."""
    for version, family in FAMILIES.items():
        for message in channel.ask(CT_GET, family, flags=NLM_F_DUMP):
            yield _tracked(message, version)


def counts(directory: Path = _SYSCTLS) -> bool:
    """Whether the kernel counts packets and bytes of connections that begin now."""
    return _setting(directory / "nf_conntrack_acct", "0") != "0"


def tells(directory: Path = _SYSCTLS) -> bool:
    """Whether the kernel tells of connections at all."""
    return _setting(directory / "nf_conntrack_events", "2") != "0"


def ends(tracked: Tracked) -> tuple[Ends, Ends]:
    """As its first packet was sent, and as that packet left after translation."""
    half = len(tracked.tuples) // 2
    original = _one_way(tracked.tuples[:half], tracked.version)
    reply = _one_way(tracked.tuples[half:], tracked.version)
    return original, Ends(*reply[2:], *reply[:2])


def _tracked(message: bytes, version: int) -> Tracked:
    found = attributes(message)
    original = found[_ORIGINAL]
    status = found[_STATUS][3]
    counters = None
    if _ORIGINAL_COUNTERS in found:
        counters = Counters(*_counts(found[_ORIGINAL_COUNTERS]), *_counts(found[_REPLY_COUNTERS]))
    return Tracked(
        key=int.from_bytes(found.get(_ZONE, b"") + found[_ID], "big"),
        version=version,
        protocol=_protocol(original, version),
        nat=(SOURCE if status & SRC_NAT else 0) | (DESTINATION if status & _DST_NAT else 0),
        tuples=original + found[_REPLY],
        counters=counters,
    )


def _protocol(value: bytes, version: int) -> int:
    # Where the kernel puts it; to take the attributes apart takes as long as all the rest.
    place = _PROTOCOL_AT[version]
    if value[place - 4 : place] == _PROTOCOL_HEADER:
        return value[place]
    return attributes(attributes(value)[_PROTO])[_NUMBER][0]


def _counts(value: bytes) -> tuple[int, int]:
    found = attributes(value)
    return int.from_bytes(found[1], "big"), int.from_bytes(found[2], "big")


def _one_way(value: bytes, version: int) -> Ends:
    found = attributes(value)
    addresses, proto = attributes(found[_IP]), attributes(found[_PROTO])
    source, destination = _ADDRESSES[version]
    return Ends(
        addresses[source],
        int.from_bytes(proto.get(_SOURCE_PORT, b""), "big"),
        addresses[destination],
        int.from_bytes(proto.get(_DESTINATION_PORT, b""), "big"),
    )


def _setting(path: Path, otherwise: str) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return otherwise
