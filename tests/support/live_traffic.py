"""Traffic through a gateway that is being changed: long flows, probes, and a watch for leaks.

Everything runs in one event loop; the sockets belong to the namespaces they were made in. The
outside answers with the source that it has seen. What is sent over UDP begins with the moment of
sending, a number, so that a packet is judged by the policies of its time.
"""

import asyncio
import contextlib
import functools
import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from tests.support.dataplane import family, inside_thread, udp

PORT = 7007
_STAMP = struct.Struct("!II")
_PATIENCE_S = 60.0
_PACKET_STATISTICS = 6
_SO_RCVBUFFORCE = 33
_TCP_INFO_TOTAL_RETRANS = 100
"""Offset of tcpi_total_retrans (linux/tcp.h)."""
VPC = [ip_network(each) for each in ("192.168.0.0/16", "fd01::/64")]


class Ends(NamedTuple):
    """A source in the VPC and a destination outside."""

    source: str
    destination: str


class Outside:
    """Answers on addresses of a namespace: over TCP first with the source that it sees, then as an
    echo; over UDP with what has come and the source."""

    def __init__(self, ns: str, addresses: list[str]) -> None:
        self.heard: set[int] = set()
        """Serial numbers of the datagrams that have come."""
        self._ns = ns
        self._addresses = addresses
        self._sockets: list[socket.socket] = []

    def serve(self) -> None:
        """Answer from now on."""
        for address in self._addresses:
            version = family(ip_address(address).version)
            made = functools.partial(socket.create_server, (address, PORT), family=version)
            self._attend(inside_thread(self._ns, made), self._accept)
            datagrams = udp(self._ns, address, PORT)
            datagrams.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            self._attend(datagrams, self._answer)

    def close(self) -> None:
        """Close every socket."""
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def _attend(self, channel: socket.socket, work: Callable[[socket.socket], None]) -> None:
        channel.setblocking(False)
        self._sockets.append(channel)
        asyncio.get_running_loop().add_reader(channel, work, channel)

    def _accept(self, listener: socket.socket) -> None:
        connection, (address, *_) = listener.accept()
        connection.send(f"{address}\n".encode())
        self._attend(connection, _echo)

    def _answer(self, datagrams: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, seen = datagrams.recvfrom(100)
                self.heard.add(_STAMP.unpack(data[: _STAMP.size])[1])
                datagrams.sendto(data + seen[0].encode(), seen)


def _echo(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        data = connection.recv(100)
        if data:
            connection.send(data)
            return
    asyncio.get_running_loop().remove_reader(connection)


class Flow:
    """A long TCP connection that says something now and then."""

    def __init__(self, ns: str, ends: Ends, rng: random.Random) -> None:
        self.ends = ends
        self.shown = ""
        """The source that the outside has seen."""
        self.rounds = 0
        self._rng = rng
        version = family(ip_address(ends.source).version)
        self._socket = inside_thread(ns, lambda: socket.socket(version, socket.SOCK_STREAM))
        self._socket.setblocking(False)

    async def begin(self) -> None:
        """Connect; the first round."""
        self._socket.bind((self.ends.source, 0))
        async with asyncio.timeout(_PATIENCE_S):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(self._socket, (self.ends.destination, PORT))
            self.shown = (await loop.sock_recv(self._socket, 100)).decode().strip()
            await self._round()

    async def talk(self, end: asyncio.Event) -> None:
        """Until the end, and once more then."""
        while not end.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rng.uniform(0.5, 1.5)):
                    await end.wait()
            async with asyncio.timeout(_PATIENCE_S):
                await self._round()

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        said = self.rounds.to_bytes(8, "big")
        await loop.sock_sendall(self._socket, said)
        heard = b""
        while heard != said:
            more = await loop.sock_recv(self._socket, 8)
            heard += more
            assert more, f"{self.ends} was ended by the other side"
            assert said.startswith(heard), (said, heard)
        self.rounds += 1

    def retransmitted(self) -> int:
        """Segments that we have sent again."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("=I", info, _TCP_INFO_TOTAL_RETRANS)[0])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class Datagrams:
    """Sends datagrams from the VPC, each with the moment of sending and a serial number."""

    def __init__(self, ns: str, moment: Callable[[], int]) -> None:
        self._ns = ns
        self._moment = moment
        self._serials = itertools.count()
        self._sockets: dict[str, socket.socket] = {}

    def send(self, ends: Ends, channel: socket.socket) -> int:
        """Send one; returns its serial number."""
        serial = next(self._serials)
        data = _STAMP.pack(self._moment(), serial)
        channel.sendto(data, (ends.destination, PORT))
        return serial

    def stray(self, ends: Ends) -> None:
        """Send one from a port that stays the same for each source; nobody waits for an answer."""
        if ends.source not in self._sockets:
            self._sockets[ends.source] = self.channel(ends.source)
        channel = self._sockets[ends.source]
        with contextlib.suppress(BlockingIOError):
            while True:
                channel.recv(200)
        self.send(ends, channel)

    def channel(self, source: str) -> socket.socket:
        """A socket with a port of its own."""
        made = udp(self._ns, source)
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Close the sockets of the strays."""
        for each in self._sockets.values():
            each.close()

    async def ask(self, ends: Ends, channel: socket.socket, within_s: float) -> str:
        """The source that the destination sees. TimeoutError without an answer in time."""
        loop = asyncio.get_running_loop()
        serial = self.send(ends, channel)
        async with asyncio.timeout(within_s):
            while True:
                data = await loop.sock_recv(channel, 200)
                if _STAMP.unpack(data[: _STAMP.size])[1] == serial:
                    return data[_STAMP.size :].decode()


def dropped_by_the_machine() -> int:
    """Packets that the kernel has dropped for reasons that all namespaces of the machine share: its
    queues were full (softnet_stat), or its table of neighbours was."""
    queues = Path("/proc/net/softnet_stat").read_text().splitlines()
    dropped = sum(int(line.split()[1], 16) for line in queues)
    for table in ("arp_cache", "ndisc_cache"):
        names, *processors = Path("/proc/net/stat", table).read_text().splitlines()
        place = names.split().index("table_fulls")
        dropped += sum(int(line.split()[place], 16) for line in processors)
    return dropped


class Seen(NamedTuple):
    """A packet with a source of the VPC, seen outside."""

    source: str
    destination: str
    moment: int | None
    """When it was sent, if it says so."""


class Watch:
    """A capture on the outside that keeps what shows an address of the VPC."""

    def __init__(self, ns: str, interface: str) -> None:
        self.packets = 0
        self.seen: set[Seen] = set()

        def make() -> socket.socket:
            channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
            channel.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
            channel.bind((interface, 0x0003))
            channel.setblocking(False)
            return channel

        self._channel = inside_thread(ns, make)

    def close(self) -> None:
        """End the capture."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()

    def follow(self) -> None:
        """Read whenever there is something."""
        asyncio.get_running_loop().add_reader(self._channel, self.read)

    def read(self) -> None:
        """Take what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, protocol, kind, *_) = self._channel.recvfrom(256)
                if kind != socket.PACKET_OUTGOING and protocol in (0x0800, 0x86DD):
                    self.packets += 1
                    self.seen.update(_of_the_vpc(data, protocol))

    def dropped(self) -> int:
        """Packets that the kernel could not keep for us since the last question (packet(7))."""
        statistics = self._channel.getsockopt(263, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", statistics)[1])


def _of_the_vpc(data: bytes, protocol: int) -> Iterator[Seen]:
    """The packet, if its source is one of the VPC."""
    if protocol == 0x0800:
        source, destination, kind = data[12:16], data[16:20], data[9]
        payload = data[4 * (data[0] & 15) + 8 :]
    else:
        source, destination, kind = data[8:24], data[24:40], data[6]
        payload = data[48:]
    sender = ip_address(source)
    if any(sender in each for each in VPC if each.version == sender.version):
        stamped = kind == socket.IPPROTO_UDP and len(payload) >= _STAMP.size
        moment = _STAMP.unpack(payload[: _STAMP.size])[0] if stamped else None
        yield Seen(str(sender), str(ip_address(destination)), moment)
