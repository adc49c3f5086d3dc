"""Faults that other BFD daemons have shown, and that this one must not.

docs/testing.md lists each fault with the tests that stand against it; those without a better place
are here.
"""

import contextlib
import random
import re
import resource
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, RxMeta, encode
from bfd.receiver import Receiver
from bfd.session import Session
from tests.support import netns as net
from tests.support.bfd import FAST, KEY, PEER_DISCR, Link
from tests.support.bfd_auth import a_key, authenticated, signed
from tests.support.bfd_process import EngineProcess, ScriptedPeer, all_in, engine_in, eventually

ROOT = Path(__file__).parents[2]
NOW_US = 10**9
FD_SETSIZE = 1024


def test_every_fault_that_the_documentation_lists_names_tests_that_exist() -> None:
    text = (ROOT / "docs/testing.md").read_text()
    table = text.partition("## Faults of others")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 19
    for row in rows:
        named = re.findall(r"`(\w+/\w+)::(\w+)`", row)
        assert named, f"no test against: {row}"
        for module, function in named:
            assert f"def {function}(" in (ROOT / "tests" / f"{module}.py").read_text()


# In virtual time --------------------------------------------------------------------------------


def up(config: SessionConfig) -> tuple[Engine, Session]:
    """An engine with a session that is Up; packets come in on eth0."""
    engine = Engine(Discriminators(b"k" * 32), random.Random(1).random, lambda _index: "eth0")
    session = engine.put(config, NOW_US).session
    for number, state in enumerate((State.DOWN, State.INIT, State.UP)):
        packet = ControlPacket(state, PEER_DISCR, session.local_discr, 100_000, 100_000)
        wire = signed(packet, config.auth.keys[0], number) if config.auth else encode(packet)
        engine.receive(wire, RxMeta(KEY.local, KEY.peer, 255, 2, NOW_US), NOW_US)
    assert session.state is State.UP
    return engine, session


@pytest.mark.parametrize(
    ("config", "arrival"),
    [
        pytest.param(FAST, {"ttl": 254}, id="from beyond a router"),
        pytest.param(FAST, {"peer": "192.0.2.9"}, id="from another address"),
        pytest.param(FAST, {"local": "192.0.2.9"}, id="to another address"),
        pytest.param(FAST, {"multihop": True}, id="on the other port"),
        pytest.param(
            replace(FAST, key=KEY._replace(interface="eth1")), {}, id="on another interface"
        ),
        pytest.param(authenticated(a_key()), {}, id="without the key"),
    ],
)
def test_B9_H3_a_forged_down_without_a_discriminator_takes_no_session_down(
    config: SessionConfig, arrival: dict[str, str | int | bool]
) -> None:
    engine, session = up(config)
    forged = encode(ControlPacket(State.DOWN, 666))
    meta = RxMeta(KEY.local, KEY.peer, 255, 2, NOW_US)._replace(**arrival)  # type: ignore[arg-type]
    engine.receive(forged, meta, NOW_US)
    assert session.state is State.UP
    assert session.remote_discr == PEER_DISCR


def test_B9_a_peer_that_starts_again_on_the_same_link_is_believed() -> None:
    # RFC 5880 §6.8.6 has it so, and only authentication tells it from a forgery.
    engine, session = up(FAST)
    meta = RxMeta(KEY.local, KEY.peer, 255, 2, NOW_US)
    engine.receive(encode(ControlPacket(State.DOWN, 666)), meta, NOW_US)
    assert session.state is State.DOWN


@pytest.mark.parametrize("cut", [False, True])
def test_no_wake_up_is_for_nothing(cut: bool) -> None:
    link = Link(2)
    link.run(3_000_000)
    if cut:
        link.weather["A"].loss = link.weather["B"].loss = 1.0
    link.run(3_000_000)
    before, sent = link.steps, len(link.a.sent) + len(link.b.sent)
    link.run(30_000_000)
    packets = len(link.a.sent) + len(link.b.sent) - sent
    # Each packet leaves, and arrives unless it is lost; one deadline may have moved meanwhile.
    assert packets >= (60 if cut else 600)
    assert link.steps - before <= packets * (1 if cut else 3)


@pytest.mark.parametrize("step_s", [-86_400, -1, 1, 86_400])
def test_B21_a_step_of_the_wall_clock_moves_no_arrival_out_of_what_is_possible(step_s: int) -> None:
    wall_us = 1_700_000_000 * 1_000_000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        receiver = Receiver(sock, NOW_US, multihop=False)
        stamp = struct.pack("=qq", wall_us // 1_000_000, 0)
        # Between the stamp and its reading the wall clock was set.
        offset_us = NOW_US - (wall_us + step_s * 1_000_000)
        meta = receiver.meta([(1, 64, stamp)], KEY.peer, offset_us, NOW_US + 5_000)
        assert NOW_US <= meta.at_us <= NOW_US + 5_000


# As a process -----------------------------------------------------------------------------------

OURS, THEIRS = "10.76.0.1", "10.76.0.2"
CONFIG = SessionConfig(SessionKey(OURS, THEIRS), 100_000, 100_000, 20)


class Stage(NamedTuple):
    """A running engine, and the namespace of its peer."""

    engine: EngineProcess
    client: Client
    theirs: str


@pytest.fixture
async def stage(netns: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Stage]:
    ours, theirs = netns("a"), netns("b")
    net.veth(ours, "va", theirs, "vb", [f"{OURS}/24"], [f"{THEIRS}/24"])
    # Where packets vanish.
    net.ip("route", "add", "10.70.0.0/16", "via", THEIRS, ns=ours)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As most systems begin.
    resource.setrlimit(resource.RLIMIT_NOFILE, (FD_SETSIZE, limits[1]))
    try:
        async with engine_in(ours, tmp_path / "a") as engine, Client(engine.path) as client:
            yield Stage(engine, client, theirs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def peer(stage: Stage) -> Iterator[ScriptedPeer]:
    with contextlib.closing(ScriptedPeer(stage.theirs, THEIRS, OURS)) as scripted:
        yield scripted


def meet(peer: ScriptedPeer) -> None:
    """Bring the session up, from a peer that need not be heard again for 25 s."""
    peer.expect(lambda h: h.packet.state is State.DOWN)
    peer.send(State.INIT, detect_mult=255)
    peer.expect(lambda h: h.packet.state is State.UP)


@pytest.mark.kernel
async def test_B10_a_packet_with_the_authentication_bit_ends_nothing(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await stage.client.configure([CONFIG], 1)
    meet(peer)
    signed_up = ControlPacket(State.UP, peer.discr, peer.yours, 100_000, 100_000)
    for section in (b"\x01\x04\x01x", b"\x05\x1c\x01\x00" + bytes(24), b"\xff\x04\x00\x00"):
        peer.send_bytes(encode(signed_up._replace(auth=section)))
    peer.send_bytes(bytes([0x20, 0xC4, 3, 24]) + bytes(20))
    await eventually(stage.client, lambda s: s.sessions[0].discards.get("auth_unexpected") == 3)
    peer.send(State.UP, poll=True, detect_mult=255)
    peer.expect(lambda h: h.packet.final)
    assert all_in(State.UP)(await stage.client.snapshot())


@pytest.mark.kernel
async def test_state_changes_are_logged_without_asking_for_more(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await stage.client.configure([CONFIG], 1)
    meet(peer)
    peer.send(State.ADMIN_DOWN)
    await eventually(stage.client, all_in(State.DOWN))
    stage.engine.signal(signal.SIGTERM)
    stage.engine.wait()
    for change in ("DOWN -> UP (the peer says Init", "UP -> DOWN (the peer says AdminDown"):
        assert change in stage.engine.stderr


@pytest.mark.kernel
async def test_sessions_and_operators_past_a_thousand_descriptors_are_served(
    stage: Stage, peer: ScriptedPeer
) -> None:
    far = [SessionKey(OURS, f"10.70.{n // 250}.{n % 250 + 1}") for n in range(FD_SETSIZE + 20)]
    configs = [replace(CONFIG, key=key) for key in far]
    await stage.client.configure(configs, 1)
    await eventually(stage.client, lambda s: all(x.tx_packets for x in s.sessions))
    await stage.client.configure([*configs, CONFIG], 2)
    meet(peer)
    open_now = Path(f"/proc/{stage.engine.process.pid}/fd").iterdir()
    assert max(int(each.name) for each in open_now) > FD_SETSIZE
    async with Client(stage.engine.path) as late:
        snapshot = await eventually(
            late, lambda s: any(x.key == CONFIG.key and x.state is State.UP for x in s.sessions)
        )
    assert not any(x.send_errors for x in snapshot.sessions)
