"""Engine and agent are killed, stopped and exchanged; the peer must not see it (checklist N1, N2).

What the peer sees is taken from a capture on its side of the cable.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bfd.client import Client
from bfd.fsm import Diagnostic, State
from bfd.recovery import NAME
from tests.support.bfd_process import (
    EngineProcess,
    ScriptedPeer,
    all_in,
    engine_in,
    eventually,
)
from tests.support.pair import OURS, THEIRS, Pair, connected, ends, sessions

pytestmark = pytest.mark.system


@pytest.fixture
def pair(netns: Callable[[str], str]) -> Iterator[Pair]:
    with connected(netns) as made:
        yield made


async def kill(engine: EngineProcess) -> None:
    """SIGKILL, once the journal says that its sessions are Up."""
    journal = engine.directory / NAME
    async with asyncio.timeout(10):
        while not journal.exists() or b'"memory":{"state":3' not in journal.read_bytes():
            await asyncio.sleep(0.002)
    engine.signal(signal.SIGKILL)
    engine.wait()


async def test_N1_N2_a_killed_engine_that_is_back_in_time_is_not_missed(
    pair: Pair, tmp_path: Path
) -> None:
    # 500 ms times three: time enough for a start on a machine that does other things, too.
    async with engine_in(pair.theirs, tmp_path / "peer") as peer, Client(peer.path) as other:
        await other.configure(sessions(500, THEIRS, OURS), 1)
        async with engine_in(pair.ours, tmp_path / "a") as first, Client(first.path) as agent:
            await agent.configure(sessions(500, OURS, THEIRS), 7)
            await eventually(agent, lambda s: all(x.rx_packets > 6 for x in s.sessions), 20)
            transitions = [x.transitions for x in (await other.snapshot()).sessions]
            before = pair.packets()
            await kill(first)
            # Nobody tells the second one about the sessions.
            async with engine_in(pair.ours, tmp_path / "a") as second, Client(second.path) as any_:
                snapshot = await eventually(
                    any_, lambda s: all(x.rx_packets > 3 for x in s.sessions)
                )
                assert all_in(State.UP)(snapshot)
                assert snapshot.generation == 7
                assert "resumed 2 sessions, 2 of them Up" in second.stderr
        assert [x.transitions for x in (await other.snapshot()).sessions] == transitions
    after = pair.packets()
    assert {each.packet.state for each in after} == {State.UP}
    assert ends(after) == ends(before)


async def test_N2_a_resumed_session_of_a_silent_peer_goes_down_when_it_would_have(
    pair: Pair, tmp_path: Path
) -> None:
    config = sessions(1000, OURS, THEIRS)[0]
    with contextlib.closing(ScriptedPeer(pair.theirs, THEIRS[0], OURS[0])) as peer:
        async with engine_in(pair.ours, tmp_path / "a") as first, Client(first.path) as agent:
            await agent.configure([config], 1)
            peer.bring_up()
            await eventually(agent, all_in(State.UP))
            await asyncio.sleep(0.5)
            # The detection time of 3 s begins with this packet, of which no journal knows.
            peer.send(State.UP)
            last = time.time()
            await eventually(agent, lambda s: s.sessions[0].rx_packets >= 3)
            await kill(first)
        pair.packets()
        async with engine_in(pair.ours, tmp_path / "a") as second, Client(second.path) as any_:
            snapshot = await eventually(any_, all_in(State.DOWN))
            (down,) = snapshot.sessions
            assert down.last_change is not None
            assert down.last_change.old is State.UP
            assert down.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
            assert 2.99 < down.last_change.at - last < 4
    states = [each.packet.state for each in pair.packets()]
    assert states[0] is State.UP
    assert states[-1] is State.DOWN


async def test_N2_an_engine_that_comes_back_too_late_starts_down_as_the_same_session(
    pair: Pair, tmp_path: Path
) -> None:
    config = sessions(100, OURS, THEIRS)[0]
    with contextlib.closing(ScriptedPeer(pair.theirs, THEIRS[0], OURS[0])) as peer:
        async with engine_in(pair.ours, tmp_path / "a") as first, Client(first.path) as agent:
            await agent.configure([config], 1)
            peer.bring_up()
            await eventually(agent, all_in(State.UP))
            await kill(first)
        before = pair.packets()
        await asyncio.sleep(0.3)
        async with engine_in(pair.ours, tmp_path / "a") as second, Client(second.path) as any_:
            await eventually(any_, all_in(State.DOWN))
            peer.expect(lambda h: h.packet.state is State.DOWN)
            first_packet = pair.packets()[0]
            assert first_packet.packet.state is State.DOWN
            assert first_packet.packet.your_discr == 0
            assert ends([first_packet]) == ends(before)
            # The peer has not noticed anything, and never forgets our discriminator (OVN may not).
            for state in (State.DOWN, State.INIT, State.UP):
                peer.send(state)
                await asyncio.sleep(0.05)
            await eventually(any_, all_in(State.UP))


async def test_N3_a_drained_engine_leaves_nothing_to_resume(pair: Pair, tmp_path: Path) -> None:
    with contextlib.closing(ScriptedPeer(pair.theirs, THEIRS[0], OURS[0])) as peer:
        async with engine_in(pair.ours, tmp_path / "a") as first, Client(first.path) as agent:
            await agent.configure([sessions(500, OURS, THEIRS)[0]], 1)
            peer.bring_up()
            await eventually(agent, all_in(State.UP))
            await agent.drain()
            peer.expect(lambda h: h.packet.state is State.ADMIN_DOWN)
            # Even if it is killed in the middle of it.
            deadline = time.monotonic() + 5
            while (tmp_path / "a" / "bfd.journal").exists():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)
            first.signal(signal.SIGKILL)
            first.wait()
        async with engine_in(pair.ours, tmp_path / "a") as second, Client(second.path) as any_:
            assert (await any_.snapshot()).sessions == ()
            second.signal(signal.SIGTERM)
            assert second.wait() == 0
    assert {each.name for each in (tmp_path / "a").iterdir()} == {"discriminator.key"}


async def test_a_torn_journal_is_refused_in_one_line_and_the_engine_starts(
    pair: Pair, tmp_path: Path
) -> None:
    journal = tmp_path / "a" / "bfd.journal"
    async with engine_in(pair.ours, tmp_path / "a") as first, Client(first.path) as agent:
        await agent.configure(sessions(100, OURS, THEIRS), 1)
        await eventually(agent, lambda s: all(x.tx_packets for x in s.sessions))
        first.signal(signal.SIGKILL)
        first.wait()
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) // 2])
    engine = EngineProcess(pair.ours, tmp_path / "a")
    try:
        await engine.ready()
        async with Client(engine.path) as client:
            assert (await client.snapshot()).sessions == ()
        engine.signal(signal.SIGTERM)
        assert engine.wait() == 0
        (line,) = [line for line in engine.stderr.splitlines() if "refused" in line]
        assert "it is damaged" in line
        assert "bfd.journal" in line
    finally:
        engine.close()
