"""The engine as a process on a real network: sockets, signals, start and end."""

import asyncio
import contextlib
import json
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bfd.client import Client, ControlError
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import Diagnostic, State
from tests.support import netns as net
from tests.support.bfd_process import (
    EngineProcess,
    ScriptedPeer,
    all_in,
    engine_in,
    eventually,
    next_change,
    socket_in,
)

A4, B4, A6, B6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"


class Wire(NamedTuple):
    """Two namespaces and the cable between them."""

    a: str
    b: str


@pytest.fixture
def wire(netns: Callable[[str], str]) -> Wire:
    wire = Wire(netns("a"), netns("b"))
    net.veth(wire.a, "va", wire.b, "vb", [f"{A4}/24", f"{A6}/64"], [f"{B4}/24", f"{B6}/64"])
    return wire


@pytest.fixture
async def engine(wire: Wire, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    async with engine_in(wire.a, tmp_path / "a") as process:
        yield process


@pytest.fixture
async def client(engine: EngineProcess) -> AsyncIterator[Client]:
    async with Client(engine.path) as connected:
        yield connected


@pytest.fixture
def peer(wire: Wire) -> Iterator[ScriptedPeer]:
    with contextlib.closing(ScriptedPeer(wire.b, B4, A4)) as scripted:
        yield scripted


def config(local: str = A4, peer: str = B4, ms: int = 100, mult: int = 3) -> SessionConfig:
    return SessionConfig(SessionKey(local, peer), ms * 1000, ms * 1000, mult)


@pytest.mark.kernel
async def test_two_engines_come_up_over_both_families_and_notice_death(
    wire: Wire, tmp_path: Path
) -> None:
    ours = [config(), config(A6, B6)]
    theirs = [config(B4, A4), config(B6, A6)]
    async with (
        engine_in(wire.a, tmp_path / "a") as a,
        engine_in(wire.b, tmp_path / "b") as b,
        Client(a.path) as client_a,
        Client(b.path) as client_b,
    ):
        await client_b.configure(theirs, 1)
        await client_a.configure(ours, 1)
        await eventually(
            client_a,
            lambda s: (
                all_in(State.UP)(s)
                and {x.tx_interval_us for x in s.sessions} == {100_000}
                and {x.detection_time_us for x in s.sessions} == {300_000}
            ),
        )
        async with contextlib.aclosing(client_a.watch()) as watch:
            await next_change(watch, State.UP)
            killed = time.time()
            b.signal(signal.SIGKILL)
            down = await next_change(watch, State.DOWN)
        assert down.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
        assert down.last_change is not None
        # At most a detection time after the last packet, which is at most an interval old.
        assert down.last_change.at - killed > 0.19


@pytest.mark.kernel
async def test_sessions_beyond_the_usual_limit_of_open_files_send_as_well(
    wire: Wire, tmp_path: Path
) -> None:
    # The whole prefix is local on lo, so that every peer can be sent to.
    net.ip("address", "add", "10.78.0.1/16", "dev", "lo", ns=wire.b)
    peers = [f"10.78.{n // 200 + 1}.{n % 200 + 1}" for n in range(1_100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, soft), hard))
    try:
        many = EngineProcess(wire.b, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.closing(many):
        async with Client((await many.ready()).path) as client:
            await client.configure([config("10.78.0.1", peer, ms=60_000) for peer in peers], 1)
            snapshot = await eventually(
                client, lambda s: all(x.tx_packets or x.send_errors for x in s.sessions), 40
            )
            assert len(snapshot.sessions) == len(peers)
            assert not any(each.send_errors for each in snapshot.sessions)


@pytest.mark.kernel
@pytest.mark.parametrize(("own", "other"), [(B4, A4), (B6, A6)])
async def test_H1_H2_H7_what_leaves_the_engine(
    wire: Wire, client: Client, own: str, other: str
) -> None:
    with contextlib.closing(ScriptedPeer(wire.b, own, other)) as peer:
        await client.configure([config(other, own)], 1)
        first = peer.expect(lambda h: h.packet.state is State.DOWN)
        peer.bring_up()
        ports = {first.port}
        for _ in range(5):
            heard = peer.expect(lambda h: not h.packet.final)
            peer.send(State.UP)
            ports.add(heard.port)
            assert heard.ttl == 255
            assert heard.tos == 0xC0
        assert len(ports) == 1
        assert 49152 <= ports.pop() <= 65535


@pytest.mark.kernel
async def test_H1_each_session_has_a_source_port_of_its_own(wire: Wire, client: Client) -> None:
    for n in range(3, 23):
        net.ip("address", "add", f"10.77.0.{n}/24", "dev", "vb", ns=wire.b)
    await client.configure([config(peer=f"10.77.0.{n}") for n in range(3, 23)], 1)
    sink = socket_in(wire.b, socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(sink):
        sink.settimeout(3)
        sink.bind(("", 3784))
        ports = {}
        while len(ports) < 20:
            data, address = sink.recvfrom(100)
            ports[data[4:8]] = address[1]
    assert len(set(ports.values())) == 20


@pytest.mark.kernel
@pytest.mark.parametrize(("own", "other"), [(B4, A4), (B6, A6)])
async def test_H3_ttl_254_is_refused_unless_allowed(
    wire: Wire, client: Client, own: str, other: str
) -> None:
    strict = config(other, own)
    with contextlib.closing(ScriptedPeer(wire.b, own, other)) as peer:
        await client.configure([strict], 1)
        peer.expect(lambda h: h.packet.state is State.DOWN)
        peer.send(State.DOWN, ttl=254)
        snapshot = await eventually(client, lambda s: s.sessions[0].discards.get("ttl") == 1)
        assert snapshot.sessions[0].remote_discr == 0
        await client.configure([replace(strict, min_ttl=254)], 2)
        peer.send(State.DOWN, ttl=253)
        await eventually(client, lambda s: s.sessions[0].discards.get("ttl") == 2)
        peer.send(State.DOWN, ttl=254)
        await eventually(client, all_in(State.INIT))


def multihop(local: str, peer: str) -> SessionConfig:
    return SessionConfig(SessionKey(local, peer, multihop=True), 100_000, 100_000, min_ttl=250)


@pytest.mark.kernel
@pytest.mark.parametrize(("own", "other"), [(B4, A4), (B6, A6)])
async def test_I1_I3_multihop_has_its_own_port_and_is_a_session_beside_single_hop(
    wire: Wire, client: Client, own: str, other: str
) -> None:
    with (
        contextlib.closing(ScriptedPeer(wire.b, own, other, 77)) as near,
        contextlib.closing(ScriptedPeer(wire.b, own, other, 78, port=4784)) as far,
    ):
        await client.configure([config(other, own)], 1)
        near.bring_up()
        assert not far.receive(0)
        await client.configure([config(other, own), multihop(other, own)], 2)
        assert far.expect(lambda h: h.packet.state is State.DOWN).ttl == 255
        far.send(State.INIT, ttl=249)
        far.send(State.INIT, ttl=250)
        heard = far.expect(lambda h: h.packet.state is State.UP)
        assert 49152 <= heard.port <= 65535
        assert heard.packet.required_min_echo_rx_us == 0
        snapshot = await client.snapshot()
        found = {s.key.multihop: s for s in snapshot.sessions}
        assert found[True].remote_discr == 78
        assert found[True].discards == {"ttl": 1}
        # Only the kind has changed: the old session says so and goes.
        await client.configure([config(other, own)], 3)
        far.expect(lambda h: h.packet.state is State.ADMIN_DOWN)


@pytest.mark.kernel
async def test_I1_the_multihop_port_is_open_only_while_it_is_needed(
    wire: Wire, client: Client
) -> None:
    def is_taken() -> bool:
        with contextlib.closing(socket_in(wire.a, socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            try:
                probe.bind(("", 4784))
            except OSError:
                return True
        return False

    await client.configure([config()], 1)
    assert not is_taken()
    await client.configure([config(), multihop(A4, B4)], 2)
    assert is_taken()
    await client.configure([config()], 3)
    assert not is_taken()
    with contextlib.closing(socket_in(wire.a, socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("", 4784))
        with pytest.raises(ControlError, match="UDP port 4784 is in use"):
            await client.configure([multihop(A4, B4)], 4)
    assert [s.key for s in (await client.snapshot()).sessions] == [config().key]


@pytest.mark.kernel
async def test_D10_a_poll_is_answered_at_once(client: Client, peer: ScriptedPeer) -> None:
    await client.configure([config(ms=1000)], 1)
    peer.bring_up()
    peer.send(State.UP, poll=True)
    sent = time.monotonic()
    heard = peer.expect(lambda h: h.packet.final)
    assert heard.at_s - sent < 0.75, "not with the next packet that was due"


@pytest.mark.kernel
async def test_D12_silence_is_noticed_on_time(client: Client, peer: ScriptedPeer) -> None:
    await client.configure([config()], 1)
    peer.bring_up()
    sent = time.monotonic()
    heard = peer.expect(lambda h: h.packet.state is State.DOWN)
    assert heard.packet.diagnostic == Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
    assert 0.299 <= heard.at_s - sent < 1


@pytest.mark.kernel
async def test_B21_a_stall_of_the_engine_takes_no_session_down(
    engine: EngineProcess, client: Client, peer: ScriptedPeer
) -> None:
    # Our own multiplier is large, so the peer would wait; it is our judgement that is tested.
    await client.configure([config(mult=50)], 1)
    peer.bring_up()

    async def talk(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            peer.send(State.UP)
            await asyncio.sleep(0.08)

    await talk(0.3)
    before = (await eventually(client, all_in(State.UP))).sessions[0].transitions
    for _ in range(3):
        engine.signal(signal.SIGSTOP)
        await talk(0.4)
        engine.signal(signal.SIGCONT)
        await talk(0.2)
    snapshot = await client.snapshot()
    assert snapshot.sessions[0].state is State.UP
    assert snapshot.sessions[0].transitions == before
    assert snapshot.stalls >= 3


@pytest.mark.kernel
@pytest.mark.parametrize("how", ["SIGTERM", "SIGTERM twice", "SIGINT", "drain"])
async def test_N3_the_last_word_is_admin_down_and_the_status_0(
    engine: EngineProcess, client: Client, peer: ScriptedPeer, how: str
) -> None:
    await client.configure([config()], 1)
    peer.bring_up()
    peer.send(State.UP)
    start = time.monotonic()
    if how == "drain":
        await client.drain()
    else:
        engine.signal(signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
        if how == "SIGTERM twice":
            engine.signal(signal.SIGTERM)
    heard = peer.expect(lambda h: h.packet.state is not State.UP)
    assert (heard.packet.state, heard.packet.diagnostic) == (State.ADMIN_DOWN, 7)

    assert engine.wait() == 0
    assert time.monotonic() - start >= 0.3, "for the peer's detection time"
    assert not engine.path.exists()
    assert engine.stderr.count("has drained") == 1


@pytest.mark.kernel
async def test_N1_a_restarted_engine_has_its_discriminators_and_ports_again(
    wire: Wire, tmp_path: Path, peer: ScriptedPeer
) -> None:
    seen = []
    for _ in range(2):
        async with engine_in(wire.a, tmp_path / "a") as process, Client(process.path) as client:
            await client.configure([config()], 1)
            heard = peer.expect(lambda h: h.packet.state is State.DOWN)
            seen.append((heard.packet.my_discr, heard.port))
            while not (tmp_path / "a" / "bfd.journal").exists():
                await asyncio.sleep(0.01)
            process.signal(signal.SIGKILL)
            process.wait()
        while peer.receive(0) is not None:
            pass
    assert seen[0] == seen[1]
    key = tmp_path / "a" / "discriminator.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    # A writing that the kill has cut short leaves the last one.
    assert {p.name for p in key.parent.iterdir()} - {"bfd.journal.new"} == {
        *("discriminator.key", "bfd.sock", "bfd.journal")
    }


@pytest.mark.kernel
async def test_an_agent_that_dies_leaves_the_sessions_up(
    engine: EngineProcess, wire: Wire, tmp_path: Path
) -> None:
    async with (
        engine_in(wire.b, tmp_path / "b") as b,
        Client(b.path) as client_b,
    ):
        await client_b.configure([config(B4, A4)], 1)
        agent = Client(engine.path)
        await agent.connect()
        await agent.configure([config()], 1)
        await eventually(agent, all_in(State.UP))
        await agent.aclose()
        async with Client(engine.path) as other:
            for _ in range(30):
                assert (await other.snapshot()).sessions[0].state is State.UP
                await asyncio.sleep(0.01)
        assert (await client_b.snapshot()).sessions[0].transitions == 2


@pytest.mark.kernel
async def test_an_address_that_appears_later_is_waited_for(
    wire: Wire, client: Client, peer: ScriptedPeer
) -> None:
    late = "10.77.0.50"
    await client.configure([config(local=late)], 1)
    await eventually(client, lambda s: "EADDRNOTAVAIL" in s.sessions[0].send_errors)
    net.ip("address", "add", f"{late}/24", "dev", "va", ns=wire.a)
    heard = peer.expect(lambda h: h.packet.state is State.DOWN, within_s=5)
    assert heard.packet.my_discr != 0


@pytest.mark.kernel
async def test_a_peer_without_a_daemon_is_survived_and_found_later(
    wire: Wire, client: Client
) -> None:
    await client.configure([config()], 1)
    # Nobody listens yet: the kernel of the other side refuses each packet.
    await eventually(client, lambda s: s.sessions[0].tx_packets >= 2)
    with contextlib.closing(ScriptedPeer(wire.b, B4, A4)) as peer:
        peer.bring_up()
        await eventually(client, all_in(State.UP))


@pytest.mark.kernel
async def test_a_named_interface_is_kept_to(wire: Wire, client: Client) -> None:
    on_link = SessionConfig(SessionKey(A4, B4, "va"), 100_000, 100_000)
    elsewhere = SessionConfig(SessionKey(A6, B6, "lo"), 100_000, 100_000)
    missing = SessionConfig(SessionKey(A4, "10.77.0.9", "nosuch0"), 100_000, 100_000)
    with (
        contextlib.closing(ScriptedPeer(wire.b, B4, A4)) as peer,
        contextlib.closing(ScriptedPeer(wire.b, B6, A6)) as silent,
    ):
        await client.configure([on_link, elsewhere, missing], 1)
        peer.bring_up()
        assert silent.receive(0.3) is None
        await eventually(client, lambda s: any("ENODEV" in x.send_errors for x in s.sessions))


@pytest.mark.kernel
async def test_B1_garbage_and_strangers_are_counted(
    wire: Wire, client: Client, peer: ScriptedPeer
) -> None:
    await client.configure([config()], 1)
    peer.send_bytes(b"")
    peer.send_bytes(b"\x20" * 10)
    peer.send_bytes(b"\x40" + bytes(23))
    peer.send(State.UP, your_discr=12345)
    net.ip("address", "add", "10.77.0.9/24", "dev", "vb", ns=wire.b)
    stranger = socket_in(wire.b, socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(stranger):
        stranger.bind(("10.77.0.9", 50_001))
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        stranger.sendto(
            bytes.fromhex("20400318000000010000000000 0f4240000f424000000000"), (A4, 3784)
        )
    expected = {"truncated": 2, "version": 1, "unknown_discriminator": 1, "unknown_peer": 1}
    await eventually(client, lambda s: dict(s.discards) == expected)


@pytest.mark.kernel
async def test_B7_H5_answers_go_to_the_configured_address_whatever_the_source(
    wire: Wire, client: Client, peer: ScriptedPeer
) -> None:
    net.ip("address", "add", "10.77.0.9/24", "dev", "vb", ns=wire.b)
    await client.configure([config()], 1)
    peer.bring_up()
    with contextlib.closing(ScriptedPeer(wire.b, "10.77.0.9", A4)) as elsewhere:
        elsewhere.yours = peer.yours
        for _ in range(3):
            # The discriminator alone selects the session; the answer still has its one place to go.
            elsewhere.send(State.UP, poll=True)
            peer.expect(lambda h: h.packet.final)
        assert elsewhere.receive(0.1) is None


def refused(ns: str, *options: str) -> tuple[int, str]:
    done = net.run(ns, sys.executable, "-m", "bfd", *options, check=False)
    return done.returncode, done.stderr


@pytest.mark.kernel
async def test_a_port_in_use_is_one_clear_line(wire: Wire, tmp_path: Path) -> None:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        taken = socket_in(wire.a, family, socket.SOCK_DGRAM)
        with contextlib.closing(taken):
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.bind((address, 3784))
            status, text = refused(wire.a, "--runtime-dir", str(tmp_path))
        assert status == 1
        assert text.startswith("vegd bfd: UDP port 3784 is in use")
        assert text.count("\n") == 1
        assert not (tmp_path / "bfd.sock").exists()


@pytest.mark.kernel
async def test_a_second_engine_is_refused_by_control_socket_or_by_port(
    engine: EngineProcess, wire: Wire, tmp_path: Path
) -> None:
    status, text = refused(wire.a, "--runtime-dir", str(engine.directory))
    assert status == 1
    assert "another process is using it" in text
    status, text = refused(wire.a, "--runtime-dir", str(tmp_path / "other"))
    assert status == 1
    assert "UDP port 3784 is in use" in text
    async with Client(engine.path) as client:
        await client.snapshot()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--runtime-dir", "/proc/nowhere"], 1, "runtime directory /proc/nowhere"),
        (["--hold-time", "-1"], 2, "--hold-time"),
        (["--hold-time", "nan"], 2, "--hold-time"),
        (["--log-level", "loud"], 2, "'loud'"),
        (["--colour"], 2, "--colour"),
    ],
)
def test_a_bad_option_is_one_clear_line(options: list[str], status: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bfd", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_broken_key_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "bfd", "--runtime-dir", str(tmp_path), "--key-file", str(tmp_path / "key")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert "5 bytes instead of 32; remove the file" in done.stderr


def test_the_engine_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import json, sys; before = set(sys.modules); import bfd.__main__; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {name for name in loaded if name not in sys.stdlib_module_names} == {"bfd"}
