"""The engine as a process in a network namespace, and a peer that speaks packet by packet."""

import asyncio
import atexit
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, Self

from bfd.client import Client
from bfd.fsm import State
from bfd.packet import ControlPacket, decode, encode
from bfd.shared_marks import file_of
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from tests.support.netns import fd_path, inside

_CLONE_NEWNET = 0x40000000
_IP_RECVTTL = 12
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 64
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_PORT = (3784).to_bytes(2, "big")


def socket_in(ns: str, family: int, kind: int) -> socket.socket:
    """A socket that lives in a namespace, for this process to use."""
    made: list[socket.socket] = []

    def make() -> None:
        descriptor = os.open(fd_path(ns), os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(family, kind))
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class EngineProcess:
    """``python -m bfd`` in a namespace, its files in a directory.

    `enter` gives the command that runs another one in a namespace, and becomes it.
    """

    def __init__(
        self, ns: str, directory: Path, *options: str, enter: Callable[..., list[str]] = inside
    ) -> None:
        self.directory = directory
        self.path = directory / "bfd.sock"
        command = (sys.executable, "-m", "bfd", "--runtime-dir", str(directory), *options)
        self.process = subprocess.Popen(
            enter(ns, *command), stderr=subprocess.PIPE, text=True, bufsize=1
        )
        self.stderr = ""
        self._successor: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr += line

    def signal(self, number: int) -> None:
        """Send a signal to the engine."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 10) -> int:
        """The exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(5)
        return status

    async def hand_over(self) -> tuple[int, str]:
        """Exit status and output of ``vegd bfd handover``; the successor is killed in the end."""
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bfd", "handover", "--runtime-dir", str(self.directory)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asked.communicate()
        if asked.returncode == 0:
            self._successor = int(output.split()[-1])
        assert asked.returncode is not None
        return asked.returncode, output.decode()

    def close(self) -> None:
        """Kill it, or who has taken over, if it still runs."""
        if self._successor is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._successor, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        if self.directory.exists():
            # A killed engine leaves its marks for a successor; those of tests go in the end.
            atexit.register(file_of(self.directory).unlink, missing_ok=True)

    async def ready(self) -> Self:
        """Wait until the control socket answers."""
        async with asyncio.timeout(30):
            while True:
                assert self.process.poll() is None, self.stderr
                with contextlib.suppress(OSError):
                    async with Client(self.path):
                        return self
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def engine_in(
    ns: str, directory: Path, *options: str, enter: Callable[..., list[str]] = inside
) -> AsyncIterator[EngineProcess]:
    """An engine that is ready, killed in the end."""
    directory.mkdir(exist_ok=True)
    engine = EngineProcess(ns, directory, *options, enter=enter)
    try:
        yield await engine.ready()
    finally:
        engine.close()


async def eventually(
    client: Client, condition: Callable[[EngineSnapshot], bool], within_s: float = 20
) -> EngineSnapshot:
    """The first snapshot that fulfils the condition."""
    deadline = time.monotonic() + within_s
    while True:
        snapshot = await client.snapshot()
        if condition(snapshot):
            return snapshot
        assert time.monotonic() < deadline, f"not within {within_s} s: {snapshot.sessions}"[:4000]
        await asyncio.sleep(0.01)


def all_in(state: State) -> Callable[[EngineSnapshot], bool]:
    """Whether there are sessions, and all are in a state."""
    return lambda s: bool(s.sessions) and all(x.state is state for x in s.sessions)


async def next_change(
    watch: AsyncIterator[SessionSnapshot], state: State, within_s: float = 10
) -> SessionSnapshot:
    """Read changes until one shows the state."""
    async with asyncio.timeout(within_s):
        async for snapshot in watch:
            if snapshot.state is state:
                return snapshot
    raise AssertionError("the engine has gone")


class Captured(NamedTuple):
    """A BFD packet as it was on the wire."""

    at_s: float
    """When, on the wall clock."""
    source: str
    port: int
    packet: ControlPacket


class Capture:
    """Everything that an interface of a namespace receives on the BFD port, from now on."""

    def __init__(self, ns: str, interface: str) -> None:
        self._socket = socket_in(ns, socket.AF_PACKET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def packets(self) -> list[Captured]:
        """What came since the last time of asking."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, address = self._socket.recvmsg(2048, 256)
                if address[2] == _PACKET_OUTGOING:
                    continue
                seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                is_v6 = data[0] >> 4 == 6
                protocol = data[6] if is_v6 else data[9]
                udp = data[40:] if is_v6 else data[(data[0] & 15) * 4 :]
                if protocol != socket.IPPROTO_UDP or udp[2:4] != _PORT:
                    continue
                packet = decode(udp[8:])
                assert isinstance(packet, ControlPacket), udp.hex()
                source = (
                    socket.inet_ntop(socket.AF_INET6, data[8:24])
                    if is_v6
                    else socket.inet_ntop(socket.AF_INET, data[12:16])
                )
                port = int.from_bytes(udp[:2], "big")
                found.append(Captured(seconds + nanoseconds / 1e9, source, port, packet))
        return found


class Heard(NamedTuple):
    """A packet that the scripted peer has received."""

    packet: ControlPacket
    ttl: int
    port: int
    tos: int
    at_s: float


class ScriptedPeer:
    """The other end, one packet at a time, from address `own` to address `other` in a namespace.

    `port` is that of the kind of the session. Link-local addresses have their zone. A larger
    `detect_mult` has the engine wait longer for the next packet, where silence is not the point.
    """

    def __init__(
        self,
        ns: str,
        own: str,
        other: str,
        discr: int = 77,
        *,
        port: int = 3784,
        detect_mult: int = 3,
    ) -> None:
        self.discr = discr
        self.detect_mult = detect_mult
        self.yours = 0
        self._v6 = ":" in own
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        self._in = socket_in(ns, family, socket.SOCK_DGRAM)
        self._in.bind((own, port))
        if self._v6:
            self._in.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self._in.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            self._in.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            self._in.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self._out = socket_in(ns, family, socket.SOCK_DGRAM)
        self._out.bind((own, 50_000 + discr % 1000))
        self._out.connect((other, port))

    def close(self) -> None:
        """Close the sockets."""
        self._in.close()
        self._out.close()

    def send(self, state: State, ttl: int = 255, **fields: int) -> None:
        """Send a packet; 100 ms times `detect_mult` unless told otherwise."""
        packet = ControlPacket(
            state, self.discr, self.yours, 100_000, 100_000, detect_mult=self.detect_mult
        )
        self.send_bytes(encode(packet._replace(**fields)), ttl)

    def send_bytes(self, data: bytes, ttl: int = 255) -> None:
        """Send anything."""
        if self._v6:
            self._out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            self._out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        self._out.send(data)

    def receive(self, within_s: float = 2.0) -> Heard | None:
        """The next packet, or None; its discriminator is used from then on."""
        if not select.select([self._in], [], [], within_s)[0]:
            return None
        data, ancillary, _, address = self._in.recvmsg(512, 256)
        packet = decode(data)
        assert isinstance(packet, ControlPacket), data.hex()
        self.yours = packet.my_discr
        ttl = tos = 0
        for level, kind, value in ancillary:
            number = struct.unpack("@i", value)[0] if len(value) == 4 else value[0]
            if (level, kind) in {
                (socket.IPPROTO_IP, socket.IP_TTL),
                (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
            }:
                ttl = number
            else:
                tos = number
        return Heard(packet, ttl, address[1], tos, time.monotonic())

    def expect(self, condition: Callable[[Heard], bool], within_s: float = 15.0) -> Heard:
        """The first packet that fulfils the condition."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            heard = self.receive(left)
            if heard is not None and condition(heard):
                return heard
        raise AssertionError(f"no such packet within {within_s} s")

    def bring_up(self) -> None:
        """Answer until the engine says Up."""
        self.expect(lambda h: h.packet.state is State.DOWN)
        self.send(State.INIT)
        self.expect(lambda h: h.packet.state is State.UP)
        self.send(State.UP)
