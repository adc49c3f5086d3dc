"""``vegd bfd handover``: an engine is exchanged while its sessions are Up (checklist N1)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bfd import shared_marks
from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.client import Client, ControlError
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.override import Override
from bfd.recovery import NAME
from bfd.unsolicited import Invitation
from tests.support import netns as net
from tests.support.bfd_process import (
    Capture,
    EngineProcess,
    ScriptedPeer,
    all_in,
    engine_in,
    eventually,
)
from tests.support.daemon import Site, alive, build
from tests.support.daemon import eventually as happens
from tests.support.pair import OURS, THEIRS, Pair, connected, ends, sessions

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

WITNESS = ("10.99.0.3", "fd99::3")


@pytest.fixture
def pair(netns: Callable[[str], str]) -> Iterator[Pair]:
    with connected(netns) as made:
        yield made


async def came_up(client: Client, count: int = 3) -> None:
    """Every session is Up and has received so many packets more."""
    heard = [each.rx_packets + count for each in (await client.snapshot()).sessions]
    await eventually(
        client,
        lambda s: (
            all_in(State.UP)(s)
            and all(x.rx_packets > n for x, n in zip(s.sessions, heard, strict=True))
        ),
    )


async def test_N1_no_session_goes_down_at_100_ms_times_3(
    pair: Pair, netns: Callable[[str], str], tmp_path: Path
) -> None:
    # A second pair of engines is left alone. A machine on which their sessions go down, too, has
    # stood still, and that round proves nothing.
    other, far = netns("w1"), netns("w2")
    net.veth(
        *(other, "wa", far, "wb"),
        addresses_a=[f"{OURS[0]}/24", f"{OURS[1]}/64"],
        addresses_b=[f"{WITNESS[0]}/24", f"{WITNESS[1]}/64"],
    )
    async with (
        engine_in(pair.theirs, tmp_path / "peer") as their_engine,
        Client(their_engine.path) as peer,
        engine_in(other, tmp_path / "w1") as left_alone,
        Client(left_alone.path) as witness,
        engine_in(far, tmp_path / "w2") as far_engine,
        Client(far_engine.path) as far_witness,
        engine_in(pair.ours, tmp_path / "a") as engine,
    ):
        await peer.configure(sessions(100, THEIRS, OURS), 1)
        await witness.configure(sessions(100, OURS, WITNESS), 1)
        await far_witness.configure(sessions(100, WITNESS, OURS), 1)
        async with Client(engine.path) as agent:
            await agent.configure(sessions(100, OURS, THEIRS), 1)
            await came_up(agent)
        await came_up(witness)
        for _ in range(10):
            before = await transitions(peer), await transitions(witness)
            status, output = await engine.hand_over()
            assert status == 0, output
            await came_up(peer, 10)
            if await transitions(witness) == before[1]:
                assert await transitions(peer) == before[0]
                break
        else:
            pytest.fail("this machine stands still too often for 100 ms times 3")


async def transitions(client: Client) -> list[int]:
    """How often each session changed its state."""
    return [each.transitions for each in (await client.snapshot()).sessions]


async def test_N1_everything_goes_on_with_the_successor(pair: Pair, tmp_path: Path) -> None:
    key = SessionKey(OURS[0], THEIRS[0])
    async with (
        engine_in(pair.theirs, tmp_path / "peer") as their_engine,
        Client(their_engine.path) as peer,
        engine_in(pair.ours, tmp_path / "a") as engine,
    ):
        await peer.configure(sessions(500, THEIRS, OURS), 1)
        async with Client(engine.path) as agent:
            await agent.configure(sessions(500, OURS, THEIRS), 7)
            await came_up(agent)
            await agent.override(key, Override(min_ttl=254))
            history = await agent.history()
            earlier = await agent.snapshot()
        before = pair.packets()
        for _ in range(3):
            status, output = await engine.hand_over()
            assert status == 0, output
        assert engine.wait() == 0
        async with Client(engine.path) as agent:
            await came_up(agent)
            now = await agent.snapshot()
            assert await agent.history() == history
        after = pair.packets()
    assert now.pid != earlier.pid
    assert now.generation == 7
    assert {each.packet.state for each in after} == {State.UP}
    assert ends(before) == ends(after)
    assert {each.key: each.override for each in now.sessions}[key] == Override(min_ttl=254)
    for old, new in zip(earlier.sessions, now.sessions, strict=True):
        assert (old.local_discr, old.transitions) == (new.local_discr, new.transitions)
        assert new.tx_packets > old.tx_packets


async def test_N1_every_kind_of_session_goes_on(pair: Pair, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    key = AuthKey(1, AuthType.METICULOUS_KEYED_SHA1, str(secret))
    guest = "10.99.0.4"
    net.ip("address", "add", f"{guest}/24", "dev", "vp", ns=pair.theirs)
    ours_ll, theirs_ll = "fe80::a", "fe80::b"
    net.ip("address", "add", f"{ours_ll}/64", "dev", "ve", "nodad", ns=pair.ours)
    net.ip("address", "add", f"{theirs_ll}/64", "dev", "vp", "nodad", ns=pair.theirs)
    ways = [
        (SessionKey(OURS[0], THEIRS[0]), SessionKey(THEIRS[0], OURS[0]), AuthConfig((key,), 1)),
        (
            SessionKey(OURS[0], THEIRS[0], multihop=True),
            SessionKey(THEIRS[0], OURS[0], multihop=True),
            None,
        ),
        (SessionKey(ours_ll, theirs_ll, "ve"), SessionKey(theirs_ll, ours_ll, "vp"), None),
    ]
    ours = [SessionConfig(near, 500_000, 500_000, 3, auth=auth) for near, _, auth in ways]
    theirs = [SessionConfig(far, 500_000, 500_000, 3, auth=auth) for _, far, auth in ways]
    theirs.append(SessionConfig(SessionKey(guest, OURS[0]), 500_000, 500_000, 3))
    invitation = Invitation("ve", ("10.99.0.0/24",), 1, 500_000, 500_000, 3)
    async with (
        engine_in(pair.theirs, tmp_path / "peer") as their_engine,
        Client(their_engine.path) as peer,
        engine_in(pair.ours, tmp_path / "a") as engine,
    ):
        async with Client(engine.path) as agent:
            await agent.configure(ours, 1, [invitation])
            await peer.configure(theirs, 1)
            await eventually(agent, lambda s: len(s.sessions) == 4 and all_in(State.UP)(s))
            earlier = (await agent.snapshot()).sessions
        await came_up(peer)
        before = await transitions(peer)
        for _ in range(2):
            status, output = await engine.hand_over()
            assert status == 0, output
            await came_up(peer, 4)
        assert await transitions(peer) == before
        async with Client(engine.path) as agent:
            now = (await agent.snapshot()).sessions
    assert {each.key for each in now} == {each.key for each in earlier}
    assert {each.auth_in_use for each in now} == {False, True}
    assert not any(each.discards for each in now)


class Up(NamedTuple):
    """A session that is Up."""

    peer: ScriptedPeer
    engine: EngineProcess
    agent: Client


@contextlib.asynccontextmanager
async def up(
    pair: Pair, tmp_path: Path, multiplier: int = 3, enter: Callable[..., list[str]] = net.inside
) -> AsyncIterator[Up]:
    """An engine with one session, to a peer that waits long for it and is patient itself."""
    config = SessionConfig(SessionKey(OURS[0], THEIRS[0]), 500_000, 500_000, multiplier)
    with contextlib.closing(ScriptedPeer(pair.theirs, THEIRS[0], OURS[0], detect_mult=255)) as peer:
        async with (
            engine_in(pair.ours, tmp_path / "a", enter=enter) as engine,
            Client(engine.path) as agent,
        ):
            await agent.configure([config], 7)
            peer.bring_up()
            await eventually(agent, all_in(State.UP))
            yield Up(peer, engine, agent)


async def test_a_successor_that_does_not_start_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    async with up(pair, tmp_path) as (_, engine, agent):
        (engine.directory / "discriminator.key").write_bytes(b"short")
        status, output = await engine.hand_over()
        assert status == 1
        assert output == "vegd bfd handover: the new engine has ended; the log says why\n"
        assert "remove the file" in engine.stderr
        pair.packets()
        sent = (await agent.snapshot()).sessions[0].tx_packets
        await eventually(agent, lambda s: s.sessions[0].tx_packets > sent + 2)
        # A connection of before is still there, and a new one is answered.
        async with Client(engine.path) as another:
            assert all_in(State.UP)(await another.snapshot())
    assert {each.packet.state for each in pair.packets()} == {State.UP}


def with_successor(tmp_path: Path, change: str) -> Callable[..., list[str]]:
    """For `engine_in`: an engine whose successors have a changed `Predecessor`, called P."""
    # Python loads this in every process of the engine; only a successor has that option.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys, time\n"
        "if '--successor-of' in sys.orig_argv:\n"
        "    from bfd.handover import Predecessor as P\n"
        f"    {change}\n"
    )

    def enter(ns: str, *command: str) -> list[str]:
        return net.inside(ns, "env", f"PYTHONPATH={tmp_path}", *command)

    return enter


_FAULTS = {
    "dies when it is ready": "P.take = lambda self: "
    "(self._send(b'ready'), os.kill(os.getpid(), signal.SIGKILL))",
    "dies when it has everything": "P.confirm = lambda self: os.kill(os.getpid(), signal.SIGKILL)",
    "stands still then": "P.confirm = lambda self: os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("fault", _FAULTS)
async def test_the_old_engine_goes_on_when_its_successor(
    fault: str, pair: Pair, tmp_path: Path
) -> None:
    enter = with_successor(tmp_path, _FAULTS[fault])
    async with up(pair, tmp_path, enter=enter) as (peer, engine, agent):
        pair.packets()
        status, output = await engine.hand_over()
        assert status == 1
        assert output.startswith("vegd bfd handover: the new engine ")
        sent = (await agent.snapshot()).sessions[0].tx_packets
        await eventually(agent, lambda s: s.sessions[0].tx_packets > sent + 2)
        # What arrives is read by the old engine, and a killed one finds its marks again.
        heard = (await agent.snapshot()).sessions[0].rx_packets
        peer.send(State.UP)
        await eventually(agent, lambda s: s.sessions[0].rx_packets > heard)
        engine.signal(signal.SIGKILL)
        engine.wait()
        marks = json.loads((engine.directory / NAME).read_text().partition("\n")[0])["marks"]
        assert shared_marks.read(engine.directory, marks) is not None
        async with engine_in(pair.ours, tmp_path / "a") as second, Client(second.path) as any_:
            assert all_in(State.UP)(await any_.snapshot())
    assert {each.packet.state for each in pair.packets()} == {State.UP}


def slow_successor(tmp_path: Path) -> tuple[Callable[..., list[str]], Path]:
    """For `engine_in`: successors are not ready before a file is there, which is the second."""
    gate = tmp_path / "gate"
    wait = f"[time.sleep(0.02) for _ in iter(lambda: os.path.exists({str(gate)!r}), True)]"
    change = f"go = P.history; P.history = lambda self: ({wait}, go(self))[1]"
    return with_successor(tmp_path, change), gate


async def test_an_engine_that_is_told_to_end_meanwhile_is_not_handed_over(
    pair: Pair, tmp_path: Path
) -> None:
    enter, gate = slow_successor(tmp_path)
    # The peer is told for 25 s, so the engine is still there when its successor is ready.
    async with up(pair, tmp_path, multiplier=50, enter=enter) as (peer, engine, agent):
        asked = asyncio.create_task(engine.hand_over())
        await has_said(engine, "a new engine is started")
        engine.signal(signal.SIGTERM)
        await eventually(agent, lambda s: s.draining)
        gate.touch()
        status, output = await asked
        assert (status, "the engine is draining" in output) == (1, True), output
        # It goes on telling the peer, and nobody else has taken over.
        sent = (await agent.snapshot()).sessions[0].tx_packets
        await eventually(agent, lambda s: s.sessions[0].tx_packets > sent)
        peer.expect(lambda heard: heard.packet.state is State.ADMIN_DOWN)


async def test_what_is_asked_meanwhile_is_refused_and_not_lost_in_the_old_engine(
    pair: Pair, tmp_path: Path
) -> None:
    enter, gate = slow_successor(tmp_path)
    async with up(pair, tmp_path, enter=enter) as (_, engine, agent):
        asked = asyncio.create_task(engine.hand_over())
        await has_said(engine, "a new engine is started")
        # A set that would remove the session waits for its turn, which comes too late.
        late = asyncio.create_task(agent.configure([], 8))
        async with Client(engine.path) as other:
            assert all_in(State.UP)(await other.snapshot())
        gate.touch()
        assert (await asked)[0] == 0
        with pytest.raises((ControlError, OSError), match=r"handed over|closed"):
            await late
        async with Client(engine.path) as successor:
            now = await successor.snapshot()
            assert (now.generation, all_in(State.UP)(now)) == (7, True)
    assert {each.packet.state for each in pair.packets()} <= {State.DOWN, State.UP}


async def has_said(engine: EngineProcess, text: str) -> None:
    """Wait for a line of its log."""
    async with asyncio.timeout(30):
        while text not in engine.stderr:
            await asyncio.sleep(0.01)


async def test_a_draining_engine_is_not_handed_over(pair: Pair, tmp_path: Path) -> None:
    async with up(pair, tmp_path, multiplier=50) as (_, engine, agent):
        await agent.drain()
        status, output = await engine.hand_over()
    assert (status, "the engine is draining" in output) == (1, True), output


async def test_without_an_engine_the_command_says_where_it_looked(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vegd", "bfd", "handover", "--runtime-dir", str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 3
    assert f"no BFD engine answers at {tmp_path}/bfd.sock".encode() in error


async def test_systemd_is_told_of_the_start_and_of_the_successor(
    pair: Pair, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)

        def enter(ns: str, *command: str) -> list[str]:
            return net.inside(ns, "env", f"NOTIFY_SOCKET={tmp_path}/notify", *command)

        async with engine_in(pair.ours, tmp_path / "a", enter=enter) as engine:
            assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
            status, output = await engine.hand_over()
            assert status == 0, output
            told = {await asyncio.to_thread(manager.recv, 100) for _ in range(2)}
            assert told == {b"READY=1", f"MAINPID={output.split()[-1]}".encode()}


# With an agent -----------------------------------------------------------------------------------

PEERS = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}
SLOW = {
    "minTX": 500,
    "minRX": 500,
    "peers": [{"address": "10.255.255.255"}, {"address": "fdff::1"}],
}


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    built.write(bfd=SLOW)
    built.router_engine(PEERS, interval_ms=500)
    yield built
    built.close()


def engine_of(site: Site) -> int:
    """The process of the gateway's engine."""

    async def ask() -> int:
        async with Client(site.runtime_dir / "bfd.sock") as client:
            return client.pid

    return asyncio.run(ask())


def is_up(site: Site) -> bool:
    return {each["state"] for each in site.sessions()} == {State.UP}


def hand_over(site: Site) -> None:
    done = site.vegd("bfd", "handover", "--runtime-dir", str(site.runtime_dir))
    assert done.returncode == 0, done.stderr


def test_the_agent_looks_after_the_successor_as_after_its_own_engine(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        first = engine_of(site)
        hand_over(site)
        second = engine_of(site)
        happens(lambda: "handed over to another process" in daemon.log.read_text(), "it is noticed")
        assert second != first
        assert daemon.wait_for("ready")
        assert site.metric("vegd_bfd_engine_restarts_total") == 0
        os.kill(second, signal.SIGKILL)
        happens(lambda: is_up(site) and engine_of(site) != second, "another engine")
        assert site.metric("vegd_bfd_engine_restarts_total") == 1
        hand_over(site)
        third = engine_of(site)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ends() == 0
        # It waits for the engine's own drain, whoever has started that.
        happens(lambda: not alive(third), "the engine has ended")
    assert not (site.runtime_dir / "bfd.sock").exists()


def test_the_peer_sees_nothing_of_an_agent_killed_stopped_for_a_minute_and_upgraded(
    site: Site,
) -> None:
    with contextlib.closing(Capture(site.router, "gw")) as capture:
        with site.daemon() as daemon:
            daemon.wait_for("ready")
            # One session is enough for that.
            happens(lambda: is_up(site), "all Up")
            engine = engine_of(site)
            capture.packets()
            daemon.kill()
        with site.daemon() as daemon:
            daemon.wait_for("ready")
            happens(lambda: is_up(site), "all Up")
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(AssertionError):
                    happens(lambda: not is_up(site), "a session goes down", within_s=60)
            finally:
                daemon.process.send_signal(signal.SIGCONT)
            daemon.wait_for("ready")
            assert engine_of(site) == engine
            hand_over(site)
            # The other half of an upgrade: the old agent is killed, the new one comes.
            daemon.kill()
        with site.daemon() as daemon:
            daemon.wait_for("ready")
            assert engine_of(site) != engine
            happens(lambda: is_up(site), "all Up")
            packets = [each for each in capture.packets() if each.source in PEERS.values()]
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.ends() == 0
    assert len(packets) > 2 * 60
    assert {each.packet.state for each in packets} == {State.UP}
