"""UDP for single-hop and multihop sessions: RFC 5881 §4 and §5, RFC 5883 §5 as socket options.

Receiving sockets per address family on port 3784, told by the kernel for each packet where it
came from and went to, its TTL, its interface and when it arrived; the same on port 4784, but only
while there are multihop sessions. Two sockets share each port (`bfd.steering`): one for the packets
of steady sessions, which can wait until the engine is awake anyway, and one for all others.
One connected socket per session for sending, with a source port of its own. Arrival times come on
the wall clock and are moved to the monotonic one. Sending never fails for the caller: what the
kernel refuses is reported by name and tried again with the next packet, as an address or an
interface may still appear.

A receiver that was not emptied says so by `heard_until_us`: the time up to which every packet that
arrived has been read. Silence after that time proves nothing yet.
"""

import errno
import select
import socket
import time
from collections.abc import Callable
from struct import Struct

from bfd import steering
from bfd.config import SessionKey
from bfd.packet import RxMeta
from bfd.receiver import IP_PKTINFO, Receiver

PORT = 3784
"""Single hop (RFC 5881 §4)."""
MULTIHOP_PORT = 4784
"""RFC 5883 §5."""
SOURCE_PORTS = range(49152, 65536)
BATCH = 256
"""Packets read from one socket at a time, so that a flood cannot hold back the timers."""

_BUFFER = 512
_ANCILLARY = 256
_RECEIVE_BUFFER_BYTES = 4 << 20
_CS6 = 48 << 2
_PRIORITY = 6
_TTL = 255

# Not in the socket module of every Python that we run on. SO_TIMESTAMPNS_NEW has 64-bit times on
# every architecture (Linux 5.1).
_SO_TIMESTAMPNS = 64
_SO_RCVBUFFORCE = 33
_SO_RXQ_OVFL = 40
_IP_RECVTTL = 12

_INT = Struct("=I")
_TIMESTAMP = Struct("=qq")

# After these the socket is beyond help, but a new one may do: the address or the interface that
# it was bound to has gone, perhaps to come back. A socket that is bound to an interface by its
# index, which is another when it returns, finds the network unreachable.
_REOPEN = frozenset(
    {errno.EINVAL, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
)
_PORT_TRIES = 128

Repeats = Callable[..., bool]
"""`bfd.engine.Engine.repeats`"""
Deliver = Callable[[bytes, RxMeta], None]


class TransportError(Exception):
    """The receiving sockets cannot be opened; the message says what to do."""


class UdpTransport:
    """The sockets of one engine. `clock` is the monotonic clock in microseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._senders: dict[int, socket.socket] = {}
        self._ports: dict[int, int] = {}
        self._arrivals = select.epoll()
        self.receivers: tuple[Receiver, ...] = ()

    def open(self) -> None:
        """Open the receiving sockets for single hop. Raises TransportError."""
        self._add(self._open_receivers(multihop=False))

    def open_multihop(self) -> None:
        """Open those for multihop, too. Raises TransportError."""
        self._add(self._open_receivers(multihop=True))

    def _add(self, opened: tuple[Receiver, ...]) -> None:
        self.receivers += opened
        for receiver in opened:
            self._arrivals.register(receiver, select.EPOLLIN)

    def adopt(self, receivers: tuple[Receiver, ...]) -> None:
        """Go on with the receiving sockets of an engine that hands over, by our own steering."""
        self._add(receivers)
        for receiver in receivers:
            if receiver.patient:
                steering.steer(receiver.sock)

    def close_senders(self) -> None:
        """Close what is sent from; each is opened again, with its port, by the next packet."""
        for discr in tuple(self._senders):
            self._close_sender(discr)

    def close_multihop(self) -> None:
        """Close them again."""
        for receiver in self.receivers:
            if receiver.multihop:
                self._arrivals.unregister(receiver)
                receiver.sock.close()
        self.receivers = tuple(each for each in self.receivers if not each.multihop)

    def _open_receivers(self, *, multihop: bool) -> tuple[Receiver, ...]:
        """A patient one and an urgent one for each family that the machine has."""
        port = MULTIHOP_PORT if multihop else PORT
        now_us = self._clock()
        opened: list[Receiver] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                sock = _receiving_socket(family, port)
            except OSError as exc:
                if exc.errno == errno.EAFNOSUPPORT or (
                    family == socket.AF_INET6 and exc.errno == errno.EADDRNOTAVAIL
                ):
                    continue
                for receiver in opened:
                    receiver.sock.close()
                raise TransportError(_why_not_open(exc, port)) from exc
            urgent = _urgent_socket(sock, family, port)
            opened.append(Receiver(sock, now_us, multihop=multihop, patient=urgent is not None))
            if urgent is not None:
                opened.append(Receiver(urgent, now_us, multihop=multihop))
        return tuple(opened)

    def close(self) -> None:
        """Close every socket."""
        self._arrivals.close()
        for receiver in self.receivers:
            receiver.sock.close()
        self.receivers = ()
        for discr in tuple(self._senders):
            self.forget(discr)

    def readable(self, now_us: int) -> list[Receiver]:
        """The receivers in which something waits, the patient one of a port before the urgent one.

        One system call tells; of the others is noted that everything has been read by `now_us`.
        """
        waiting = {fd for fd, _ in self._arrivals.poll(0)}
        readable = []
        for receiver in self.receivers:
            if receiver.fileno() in waiting:
                readable.append(receiver)
            else:
                receiver.emptied_us = receiver.heard_until_us = now_us
        return readable

    def drain(self, receiver: Receiver, now_us: int, repeats: Repeats, deliver: Deliver) -> None:
        """Hand over what waits in a receiver, at most `BATCH` packets, oldest first.

        What `repeats` takes is done; the rest goes to `deliver`.
        """
        recvmsg = receiver.sock.recvmsg
        ttl_kind = receiver.ttl_kind
        multihop = receiver.multihop
        emptied_us = receiver.emptied_us
        at_us = receiver.heard_until_us
        offset_us = self._clock() - time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
        for _ in range(BATCH):
            try:
                data, ancillary, _, address = recvmsg(_BUFFER, _ANCILLARY)
            except BlockingIOError:
                # Everything that had arrived by `now_us` has been read; later packets may wait.
                receiver.emptied_us = receiver.heard_until_us = now_us
                return
            except OSError:
                # An error reported for an earlier packet; it has been taken off the socket.
                continue
            at_us = now_us
            ttl = 0
            for _, kind, value in ancillary:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESTAMP.unpack(value)
                    at_us = seconds * 1_000_000 + nanoseconds // 1000 + offset_us
                elif kind == ttl_kind:
                    (ttl,) = _INT.unpack(value)
                elif kind == _SO_RXQ_OVFL:
                    # Comes only with packets that arrived after a loss.
                    (receiver.overflows,) = _INT.unpack(value)
            # A step of the wall clock must not move an arrival out of what is possible: after the
            # socket was last seen empty, and not in the future.
            if at_us > now_us:
                at_us = now_us
            elif at_us < emptied_us:
                at_us = emptied_us
            if not repeats(data, ttl, at_us, multihop):
                deliver(data, receiver.meta(ancillary, address[0], ttl, at_us))
        receiver.heard_until_us = max(receiver.heard_until_us, at_us)

    def count_overflows(self) -> int:
        """Packets that found no room in any receive buffer."""
        return sum(receiver.overflows for receiver in self.receivers)

    def heard_until_us(self) -> int:
        """Up to when everything that has arrived was read, on every socket."""
        return min(receiver.heard_until_us for receiver in self.receivers)

    def send(self, key: SessionKey, discr: int, wire: bytes) -> str | None:
        """Send one packet of a session; the name of the error if the kernel refuses."""
        sender = self._senders.get(discr)
        try:
            if sender is None:
                sender = self._open_sender(key, discr)
            try:
                sender.send(wire)
            except ConnectionRefusedError:
                # This reports an earlier packet that nobody received; this one was not sent yet.
                sender.send(wire)
        except OSError as exc:
            if exc.errno in _REOPEN:
                self._close_sender(discr)
            return errno.errorcode.get(exc.errno or 0, str(exc.errno))
        return None

    def forget(self, discr: int) -> None:
        """Close the sender of a session that has ended, and free its port."""
        self._close_sender(discr)
        self._ports.pop(discr, None)

    def port_of(self, discr: int) -> int:
        """The source port of a session; 0 when it has never sent."""
        return self._ports.get(discr, 0)

    def keep_port(self, discr: int, port: int) -> None:
        """Let a session send from the port that it had before a restart."""
        if port in SOURCE_PORTS and port not in self._ports.values():
            self._ports[discr] = port

    def _close_sender(self, discr: int) -> None:
        sender = self._senders.pop(discr, None)
        if sender is not None:
            sender.close()

    def _open_sender(self, key: SessionKey, discr: int) -> socket.socket:
        is_ipv6 = ":" in key.local
        sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            _prepare_sender(sock, key, is_ipv6=is_ipv6)
            self._bind(sock, key, discr)
            port = MULTIHOP_PORT if key.multihop else PORT
            sock.connect(_address(key.peer, port, key.interface))
        except OSError:
            sock.close()
            raise
        self._senders[discr] = sock
        return sock

    def _bind(self, sock: socket.socket, key: SessionKey, discr: int) -> None:
        # RFC 5881 §4: one source port for the life of the session, unique here if possible. The
        # discriminator chooses it, so that it is the same again after a restart.
        before = self._ports.pop(discr, 0)
        taken = set(self._ports.values())
        for offset in range(-1, _PORT_TRIES):
            port = before if offset < 0 else SOURCE_PORTS[(discr + offset) % len(SOURCE_PORTS)]
            if not port or port in taken:
                continue
            try:
                sock.bind(_address(key.local, port, key.interface))
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    continue
                self.keep_port(discr, before)
                raise
            self._ports[discr] = port
            return
        raise OSError(errno.EADDRINUSE, "no free source port")


def _address(host: str, port: int, interface: str) -> tuple[str, int] | tuple[str, int, int, int]:
    if ":" not in host:
        return (host, port)
    zone = socket.if_nametoindex(interface) if interface and host.startswith("fe80:") else 0
    return (host, port, 0, zone)


def _prepare_sender(sock: socket.socket, key: SessionKey, *, is_ipv6: bool) -> None:
    sock.setblocking(False)
    if is_ipv6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CS6)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CS6)
    # After the type of service, which sets a priority of its own.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY)
    # Nobody reads here: peers answer to the well-known port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    if key.interface:
        name = key.interface.encode() + b"\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)


def _urgent_socket(first: socket.socket, family: int, port: int) -> socket.socket | None:
    """A second socket on the port of `first`, for all that cannot wait; None if impossible."""
    sock = None
    try:
        # Only now, so that opening `first` has failed if anybody else had the port.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock = _receiving_socket(family, port, shared=True)
        steering.steer(sock)
    except OSError:
        # An old or a reduced kernel: the first socket takes everything, as it comes.
        if sock is not None:
            sock.close()
        return None
    return sock


def _receiving_socket(family: int, port: int, *, shared: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        # Room for what arrives during a stall, so that it can be read before it is judged.
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def _why_not_open(exc: OSError, port: int) -> str:
    if exc.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port} is in use in this network namespace; "
            "stop the other BFD daemon, or start this one in another namespace"
        )
    return f"UDP port {port} cannot be opened: {exc.strerror}"
