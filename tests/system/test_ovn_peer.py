"""The engine against each peculiarity of OVN's end, played by `tests.support.ovn_peer`.

Real OVN is met in `test_ovn.py`; here each fault happens on demand. A session that falls is only
held against the engine if the peer itself was not late.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import Diagnostic, State
from tests.support import netns as net
from tests.support.bfd_process import EngineProcess, all_in, engine_in, eventually
from tests.support.ovn_peer import OvnPeer

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

OURS, THEIRS = ("10.79.0.1", "fd79::1"), ("10.79.0.2", "fd79::2")
CONFIG = SessionConfig(SessionKey(OURS[0], THEIRS[0]), 100_000, 100_000, 3, min_ttl=254)
_LATE_S = 0.05


class Lab(NamedTuple):
    ours: str
    theirs: str
    directory: Path


@pytest.fixture
def lab(netns: Callable[[str], str], tmp_path: Path) -> Lab:
    made = Lab(netns("engine"), netns("ovn"), tmp_path / "engine")
    net.veth(
        *(made.ours, "ve", made.theirs, "vo"),
        addresses_a=[f"{OURS[0]}/24", f"{OURS[1]}/64"],
        addresses_b=[f"{THEIRS[0]}/24", f"{THEIRS[1]}/64"],
    )
    return made


class Meeting(NamedTuple):
    peer: OvnPeer
    client: Client
    engine: EngineProcess


@contextlib.asynccontextmanager
async def meeting(
    lab: Lab, config: SessionConfig = CONFIG, **quirks: object
) -> AsyncIterator[Meeting]:
    """An engine and an OVN that have just been started."""
    async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
        with contextlib.closing(ovn(lab, config, **quirks)) as peer:
            await client.configure([config], 1)
            yield Meeting(peer, client, engine)


def ovn(lab: Lab, config: SessionConfig = CONFIG, **quirks: object) -> OvnPeer:
    return OvnPeer(lab.theirs, config.key.peer, config.key.local, **quirks)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.01)


async def both_up(meeting: Meeting) -> None:
    await eventually(meeting.client, all_in(State.UP), 20)
    await until(lambda: meeting.peer.state is State.UP)


async def stays_up(meeting: Meeting, for_s: float) -> None:
    """No change for a while, in a stretch of time in which the peer itself was punctual."""
    for _ in range(8):
        await both_up(meeting)
        before = (await meeting.client.snapshot()).sessions[0].transitions
        meeting.peer.late_s = 0.0
        await asyncio.sleep(for_s)
        after = (await meeting.client.snapshot()).sessions[0]
        if (after.state, after.transitions) == (State.UP, before):
            return
        assert meeting.peer.late_s > _LATE_S, f"a flap: {after.last_change}"
    pytest.fail("the machine is too busy for this test: the peer was late again and again")


@pytest.mark.parametrize("family", [0, 1])
async def test_H3_ovn_ttl_254_is_accepted_when_configured(lab: Lab, family: int) -> None:
    config = replace(CONFIG, key=SessionKey(OURS[family], THEIRS[family]))
    async with meeting(lab, config) as m:
        await both_up(m)
        await m.client.configure([replace(config, min_ttl=255)], 2)
        snapshot = await eventually(m.client, all_in(State.DOWN))
        assert snapshot.sessions[0].discards["ttl"] > 0


async def test_E1_ovn_that_lost_its_timers_is_woken_by_an_active_engine(lab: Lab) -> None:
    async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
        with contextlib.closing(ovn(lab)) as peer:
            await asyncio.sleep(0)
            await until(lambda: peer.sent > 0)
            peer.poke()
            await client.configure([replace(CONFIG, passive=True)], 1)
            sent = peer.sent
            await asyncio.sleep(1.5)
            assert peer.sent == sent, "it sleeps, and a passive engine lets it"
            await client.configure([CONFIG], 2)
            await stays_up(Meeting(peer, client, engine), 1.5)


async def test_B9_ovn_ignores_a_zero_discriminator_and_is_met_by_its_own_packets(lab: Lab) -> None:
    async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        await eventually(client, lambda s: s.sessions[0].tx_packets >= 1)
        with contextlib.closing(ovn(lab)) as peer:
            await both_up(Meeting(peer, client, engine))
            assert peer.heard
            assert all(p.your_discr == peer.discr for p in peer.heard)


async def test_E6_ovn_takes_init_for_usable_and_gets_neither_before_we_can_forward(
    lab: Lab,
) -> None:
    closed = replace(CONFIG, enabled=False, disabled_diag=Diagnostic.PATH_DOWN)
    async with meeting(lab, closed) as m:
        await until(lambda: len(m.peer.heard) >= 2)
        assert {p.state for p in m.peer.heard} == {State.ADMIN_DOWN}
        assert not {"init", "up"} & set(m.peer.statuses)
        assert not m.peer.usable
        await m.client.configure([CONFIG], 2)
        await both_up(m)
        assert m.peer.usable


async def test_D19_ovn_keeps_a_pending_second_so_required_min_rx_never_changes_with_state(
    lab: Lab,
) -> None:
    async with meeting(lab) as m:
        await stays_up(m, 2)
        assert {p.required_min_rx_us for p in m.peer.heard} == {100_000}


async def test_D4_ovn_keeps_a_pending_second_when_it_may_send_faster_and_nothing_flaps(
    lab: Lab,
) -> None:
    slow = replace(CONFIG, required_min_rx_us=1_000_000)
    async with meeting(lab, slow) as m:
        await both_up(m)
        await eventually(m.client, lambda s: s.sessions[0].detection_time_us == 3_000_000)
        before = (await m.client.snapshot()).sessions[0].transitions
        m.peer.late_s = 0.0
        await m.client.configure([CONFIG], 2)
        snapshot = await eventually(m.client, lambda s: not s.sessions[0].polling)
        await asyncio.sleep(1.5)
        snapshot = await m.client.snapshot()
        assert snapshot.sessions[0].transitions == before or m.peer.late_s > _LATE_S
        assert snapshot.sessions[0].detection_time_us == 300_000


async def test_D20_ovn_cuts_to_milliseconds_and_never_gets_less_than_one(lab: Lab) -> None:
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        replace(CONFIG, required_min_rx_us=500)
    async with meeting(lab, replace(CONFIG, required_min_rx_us=1_000)) as m:
        await both_up(m)
        assert m.peer.interval_s == 0.1, "0 would be: sends nothing any more"


async def test_D1_ovn_has_no_slow_start_and_we_keep_ours(lab: Lab) -> None:
    async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
        with contextlib.closing(ovn(lab, loses_timers=False)) as peer:
            await client.configure([CONFIG], 1)
            await both_up(Meeting(peer, client, engine))
            not_up = [p for p in peer.heard if p.state is not State.UP]
            assert not_up
            assert all(p.desired_min_tx_us == 1_000_000 for p in not_up)


async def test_N3_ovn_shows_admin_down_late_and_still_shows_it(lab: Lab) -> None:
    async with meeting(lab, status_delay_s=1.5) as m:
        await until(lambda: m.peer.statuses[-1] == "up")
        await m.client.drain()
        assert await asyncio.to_thread(m.engine.wait) == 0
        assert m.peer.state is State.DOWN, "its session knows at once"
        assert m.peer.timeouts == 0
        await until(lambda: m.peer.statuses[-1] == "down", 10)


async def test_N1_ovn_with_a_stale_discriminator_finds_the_restarted_engine(lab: Lab) -> None:
    async with meeting(lab) as m:
        await both_up(m)
        ours = m.peer.your_discr
        m.engine.process.kill()
        await asyncio.to_thread(m.engine.wait)
        await until(lambda: m.peer.timeouts == 1 or (m.peer.poke() or False))
        assert (m.peer.state, m.peer.your_discr) == (State.DOWN, ours)
        async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
            await client.configure([CONFIG], 1)
            snapshot = await eventually(client, all_in(State.UP), 20)
            assert snapshot.sessions[0].local_discr == ours
            assert snapshot.discards.get("unknown_discriminator", 0) == 0


async def test_B7_a_stale_discriminator_that_is_not_ours_is_refused_and_counted(lab: Lab) -> None:
    async with engine_in(lab.ours, lab.directory) as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        with contextlib.closing(ovn(lab, loses_timers=False)) as peer:
            peer.your_discr = 0xDEAD
            snapshot = await eventually(
                client, lambda s: s.discards.get("unknown_discriminator", 0) >= 3
            )
            assert snapshot.sessions[0].state is State.DOWN


async def test_D11_gaps_of_ovn_up_to_185_percent_are_no_silence(lab: Lab) -> None:
    async with meeting(lab, longest_gap=1.85) as m:
        await stays_up(m, 3)


async def test_B15_timers_of_ovn_change_without_a_poll(lab: Lab) -> None:
    async with meeting(lab) as m:
        await both_up(m)
        before = (await m.client.snapshot()).sessions[0].transitions
        m.peer.late_s = 0.0
        # Down by half at most: OVN judges our silence by its new interval, before it tells us.
        for ms in (400, 200, 50, 200):
            m.peer.min_tx_ms = m.peer.min_rx_ms = ms
            faster_us = max(ms, 100) * 1000
            snapshot = await eventually(
                m.client,
                lambda s, us=faster_us: (
                    s.sessions[0].detection_time_us == 3 * us and s.sessions[0].tx_interval_us == us
                ),
            )
        assert snapshot.sessions[0].transitions == before or m.peer.late_s > _LATE_S


async def test_B17_a_moved_chassis_restarts_from_down_and_is_met_again(lab: Lab) -> None:
    async with meeting(lab) as m:
        await both_up(m)
        remote = (await m.client.snapshot()).sessions[0].remote_discr
        m.peer.move_chassis()
        await until(lambda: m.peer.state is not State.UP)
        await both_up(m)
        session = (await m.client.snapshot()).sessions[0]
        assert session.remote_discr == remote, "the same discriminator"
        await stays_up(m, 1)


async def test_B14_ovn_answers_polls_and_never_polls(lab: Lab) -> None:
    async with meeting(lab) as m:
        await both_up(m)
        snapshot = await eventually(
            m.client,
            lambda s: not s.sessions[0].polling and s.sessions[0].tx_interval_us == 100_000,
        )
        assert snapshot.sessions[0].remote_diag is Diagnostic.NO_DIAGNOSTIC
        assert any(p.poll for p in m.peer.heard)
        assert not any(p.final for p in m.peer.heard)
