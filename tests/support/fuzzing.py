"""What a fuzzer may put in: packets for an engine, and lines for its control socket.

Both take any bytes and raise only when the engine is at fault. Hypothesis calls them in the tests,
atheris in `make fuzz`.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from bfd.actions import Transmit
from bfd.auth import AuthType
from bfd.config import SessionKey
from bfd.control import _Connection
from bfd.discriminators import Discriminators
from bfd.driver import Driver
from bfd.engine import Effect, Engine
from bfd.hold import HoldTime
from bfd.packet import ControlPacket, RxMeta, decode
from bfd.protocol import ProtocolError, dump
from bfd.realtime import Scheduling
from bfd.views import ProcessViews
from bfd.vitals import VitalsReader
from tests.support.bfd import FAST
from tests.support.bfd_auth import a_key, authenticated
from tests.support.bfd_fakes import START, FakeClock, FakeReceiver, FakeTransport, FakeWaiter

KINDS = [None, *AuthType]
_TTLS = (255, 254, 0)


def _engine() -> Engine:
    engine = Engine(Discriminators(bytes(32)), lambda: 0.5, lambda _index: "eth0")
    for number, kind in enumerate(KINDS):
        config = FAST if kind is None else authenticated(a_key(kind=kind))
        engine.put(replace(config, key=SessionKey("192.0.2.1", f"192.0.2.{10 + number}")), START)
    return engine


def _pieces(data: bytes) -> Iterator[bytes]:
    """Each piece follows a byte that holds its length."""
    while data:
        yield data[1 : 1 + data[0]]
        data = data[1 + data[0] :]


def packet_input(data: bytes) -> None:
    """Datagrams to an engine with a session for each type of authentication.

    Of each piece, the first byte chooses the session, the second the TTL and the third how much
    time has passed; the rest is the datagram. Where the first byte is odd, Your Discriminator is
    made that of the session, which nobody could guess.
    """
    engine, now_us = _engine(), START
    sessions = engine.sessions()
    for piece in _pieces(data):
        if len(piece) < 3:
            continue
        session = sessions[piece[0] // 2 % len(sessions)]
        now_us += piece[2] * 4_000
        wire = bytearray(piece[3:])
        if piece[0] % 2 and len(wire) >= 12:
            wire[8:12] = session.local_discr.to_bytes(4, "big")
        ttl = _TTLS[piece[1] % len(_TTLS)]
        meta = RxMeta(session.key.peer, session.key.local, ttl, 2, now_us)
        told = sum(engine.discards) + sum(sum(s.discards) for s in sessions)
        heard = sum(s.rx_packets for s in sessions)
        effect = engine.receive(bytes(wire), meta, now_us)
        done = sum(engine.discards) + sum(sum(s.discards) for s in sessions)
        done += sum(s.rx_packets for s in sessions)
        assert done > told + heard, "a packet is neither counted nor refused"
        _check(effect)
        for late in engine.expire(now_us, now_us):
            _check(late)


def _check(effect: Effect | None) -> None:
    for action in effect.actions if effect else ():
        if isinstance(action, Transmit):
            packet = decode(action.wire)
            assert isinstance(packet, ControlPacket), "what we send must be acceptable"
            assert not (packet.poll and packet.final)


def control_input(data: bytes) -> None:
    """Lines of a client that has said hello: each is answered or refused in words."""
    asyncio.run(_converse(data))


async def _converse(data: bytes) -> None:
    clock = FakeClock()
    engine = Engine(Discriminators(bytes(32)), lambda: 0.5, lambda _index: "eth0")
    driver: Driver[FakeReceiver] = Driver(
        engine, FakeTransport(clock), FakeWaiter(clock), clock, lambda: None
    )
    views = ProcessViews(driver, clock, Scheduling(), VitalsReader())

    async def disable_all() -> None:
        pass

    connection = _Connection(driver, views, 30, HoldTime(0, disable_all, lambda: None))
    await connection._handle(b'{"op": "hello", "version": 1}\n')
    for line in data.split(b"\n"):
        try:
            dump({"ok": True} | await connection._handle(line + b"\n"))
        except ProtocolError as exc:
            if not str(exc):
                raise AssertionError("a refusal without words") from exc
