"""Sessions between the engine and the BFD daemons of the distribution, over both families.

Whatever the roles: the session comes up, stays up through changes of timers, is found dead when
the peer is killed, and ends with an AdminDown that the peer hears when the engine drains.
"""

import asyncio
import contextlib
import os
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
from tests.support.peers import Frr, Peer, start_peer, why_missing

pytestmark = pytest.mark.system

OURS, THEIRS = ("10.88.0.1", "fd88::1"), ("10.88.0.2", "fd88::2")
MS = 200
CONFIGS = [
    SessionConfig(SessionKey(own, other), MS * 1000, MS * 1000, 3)
    for own, other in zip(OURS, THEIRS, strict=True)
]
# With one router between. BIRD sends multihop with the host's usual TTL of 64.
TTL_ACROSS = {"frr": 254, "bird": 63}


class Meeting(NamedTuple):
    """An engine and a peer that are Up over both families."""

    client: Client
    peer: Peer
    transitions: dict[SessionKey, int]
    """Of our sessions, when they were Up for the first time."""
    engine: EngineProcess
    ours: str
    theirs: str


def across_a_router(ours: str, router: str, theirs: str) -> None:
    """The two addresses of each family with one router between them."""
    for ns, name, hosts, number in ((ours, "ve", OURS, 1), (theirs, "vp", THEIRS, 2)):
        mine, gateways = (f"{hosts[0]}/32", f"{hosts[1]}/128"), (f"10.89.{number}.1", "fe80::1")
        link = (f"10.89.{number}.2/24", f"fe80::{number + 1}/64")
        net.veth(
            *(router, f"r{number}", ns, name),
            addresses_a=[f"{gateways[0]}/24", f"{gateways[1]}/64"],
            addresses_b=[*link, *mine],
        )
        net.ip("route", "add", "default", "via", gateways[0], ns=ns)
        net.ip("route", "add", "default", "via", gateways[1], "dev", name, ns=ns)
        net.ip("route", "add", mine[0], "via", f"10.89.{number}.2", ns=router)
        via = ("via", f"fe80::{number + 1}", "dev", f"r{number}")
        net.ip("-6", "route", "add", mine[1], *via, ns=router)
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        net.run(router, "sysctl", "-qw", f"{name}=1")


@contextlib.asynccontextmanager
async def meeting(
    kind: str,
    netns: Callable[[str], str],
    directory: Path,
    *,
    we_wait: bool = False,
    peer_waits: bool = False,
    multihop: bool = False,
) -> AsyncIterator[Meeting]:
    reason = why_missing(kind)
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    ours, theirs = netns("engine"), netns(kind)
    if multihop:
        across_a_router(ours, netns("router"), theirs)
    else:
        net.veth(
            *(ours, "ve", theirs, "vp"),
            addresses_a=[f"{OURS[0]}/24", f"{OURS[1]}/64"],
            addresses_b=[f"{THEIRS[0]}/24", f"{THEIRS[1]}/64"],
        )
    pairs = dict(zip(THEIRS, OURS, strict=True))
    async with engine_in(ours, directory / "engine") as engine, Client(engine.path) as client:
        configs = [replace(c, passive=we_wait) for c in CONFIGS]
        if multihop:
            ttl = TTL_ACROSS[kind]
            configs = [replace(c, key=c.key._replace(multihop=True), min_ttl=ttl) for c in configs]
        await client.configure(configs, 1)
        peer = start_peer(
            *(kind, theirs, directory / "peer", pairs, MS), passive=peer_waits, multihop=multihop
        )
        try:
            snapshot = await eventually(client, all_in(State.UP), 20)
            transitions = {s.key: s.transitions for s in snapshot.sessions}
            yield Meeting(client, peer, transitions, engine, ours, theirs)
        finally:
            peer.close()


async def peer_sees(peer: Peer, state: str, within_s: float) -> float:
    """Wait until the peer sees both sessions in a state; how long that took, in seconds."""
    start = time.monotonic()
    while True:
        views = await asyncio.to_thread(peer.views)
        took = time.monotonic() - start
        if set(views) == set(OURS) and all(v.state == state for v in views.values()):
            return took
        assert took < within_s, views
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["frr", "bird"])
@pytest.mark.parametrize("roles", ["both active", "peer passive", "engine passive"])
async def test_a_session_comes_up_and_stays_up(
    kind: str, roles: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(
        kind,
        netns,
        tmp_path,
        we_wait=roles == "engine passive",
        peer_waits=roles == "peer passive",
    ) as (client, peer, transitions, *_):
        await peer_sees(peer, "up", 5)
        snapshot = await eventually(
            client,
            lambda s: all(
                x.tx_interval_us == MS * 1000
                and x.detection_time_us == 3 * MS * 1000
                and not x.polling
                and x.rx_packets >= 12
                for x in s.sessions
            ),
        )
        assert {s.key: s.transitions for s in snapshot.sessions} == transitions
        assert all(s.state is State.UP for s in snapshot.sessions)
        assert all(not s.discards and not s.send_errors for s in snapshot.sessions)


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_D2_timers_change_while_up_without_a_flap(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, transitions, *_):
        for generation, (tx_ms, rx_ms) in enumerate([(500, 500), (100, 100), (100, 1000)], 2):
            configs = [
                replace(c, desired_min_tx_us=tx_ms * 1000, required_min_rx_us=rx_ms * 1000)
                for c in CONFIGS
            ]
            await client.configure(configs, generation)
            tx_us, detection_us = max(tx_ms, MS) * 1000, 3 * max(rx_ms, MS) * 1000
            snapshot = await eventually(
                client,
                lambda s, tx_us=tx_us, detection_us=detection_us: all(
                    x.tx_interval_us == tx_us
                    and x.detection_time_us == detection_us
                    and not x.polling
                    for x in s.sessions
                ),
            )
            assert {s.key: s.transitions for s in snapshot.sessions} == transitions
        await peer_sees(peer, "up", 5)


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_D12_a_killed_peer_is_found_dead_in_time(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, *_):
        await eventually(client, lambda s: all(x.detection_time_us == 600_000 for x in s.sessions))
        await eventually(client, lambda s: all(x.rx_packets >= 8 for x in s.sessions))
        killed = time.time()
        peer.process.kill()
        snapshot = await eventually(client, all_in(State.DOWN), 3)
        for session in snapshot.sessions:
            assert session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
            assert session.remote_discr == 0
            assert session.last_change is not None
            # A detection time after the last packet, which was at most an interval old.
            assert 0.35 < session.last_change.at - killed < 0.75


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_N3_a_drain_is_heard_by_the_peer_and_is_no_timeout(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, *_):
        await eventually(client, lambda s: all(x.tx_interval_us == MS * 1000 for x in s.sessions))
        await peer_sees(peer, "up", 5)
        await client.drain()
        # The peer's detection time is 600 ms, and it starts at our last packet.
        assert await peer_sees(peer, "down", 5) < 0.4
        views = await asyncio.to_thread(peer.views)
        assert {view.told_admin_down for view in views.values()} <= {True, None}


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_B14_B19_timers_of_the_peer_change_while_up_without_a_flap(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, transitions, *_):
        await eventually(client, lambda s: all(x.tx_interval_us == MS * 1000 for x in s.sessions))
        for ms in (500, 100, 300):
            await asyncio.to_thread(peer.set_timers, ms)
            us = max(ms, MS) * 1000
            snapshot = await eventually(
                client,
                lambda s, us=us: all(
                    x.tx_interval_us == us and x.detection_time_us == 3 * us for x in s.sessions
                ),
            )
            assert {s.key: s.transitions for s in snapshot.sessions} == transitions
        await peer_sees(peer, "up", 5)


async def test_B17_admin_down_of_frr_takes_us_down_at_once_and_its_end_brings_us_back(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting("frr", netns, tmp_path) as (client, peer, *_):
        assert isinstance(peer, Frr)
        await asyncio.to_thread(peer.shut_down, down=True)
        snapshot = await eventually(client, all_in(State.DOWN))
        for session in snapshot.sessions:
            assert session.local_diag is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
            assert session.remote_state is State.ADMIN_DOWN, "FRR gives no diagnostic with it"
        await asyncio.to_thread(peer.shut_down, down=False)
        await eventually(client, all_in(State.UP), 20)


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_E4_our_admin_down_is_seen_by_the_peer_at_once_and_so_is_its_end(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, *_):
        await eventually(client, lambda s: all(x.tx_interval_us == MS * 1000 for x in s.sessions))
        await peer_sees(peer, "up", 5)
        await client.configure([replace(c, enabled=False) for c in CONFIGS], 2)
        views = {}
        async with asyncio.timeout(10):
            while not views or any(v.state == "up" for v in views.values()):
                views = dict(await asyncio.to_thread(peer.views))
        assert {view.told_admin_down for view in views.values()} <= {True, None}
        await client.configure(CONFIGS, 3)
        await eventually(client, all_in(State.UP), 20)
        await peer_sees(peer, "up", 10)


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_D12_N1_either_side_may_die_and_be_started_again(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path) as (client, peer, _, engine, ours, theirs):
        await eventually(client, lambda s: all(x.tx_interval_us == MS * 1000 for x in s.sessions))
        await peer_sees(peer, "up", 5)
        before = {s.key: s.local_discr for s in (await client.snapshot()).sessions}
        engine.process.kill()
        await asyncio.to_thread(engine.wait)
        # Its detection time is 600 ms.
        assert await peer_sees(peer, "down", 5) < 2
        async with engine_in(ours, engine.directory) as again, Client(again.path) as successor:
            await successor.configure(CONFIGS, 1)
            snapshot = await eventually(successor, all_in(State.UP), 20)
            assert {s.key: s.local_discr for s in snapshot.sessions} == before
            await peer_sees(peer, "up", 5)
            peer.close()
            await eventually(successor, all_in(State.DOWN))
            pairs = dict(zip(THEIRS, OURS, strict=True))
            other = start_peer(kind, theirs, tmp_path / "other", pairs, MS)
            with contextlib.closing(other):
                await eventually(successor, all_in(State.UP), 20)


@pytest.mark.parametrize("kind", ["frr", "bird"])
async def test_I1_I4_multihop_across_a_router_comes_up_and_a_killed_peer_is_found_dead(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    async with meeting(kind, netns, tmp_path, multihop=True) as (client, peer, *_):
        await peer_sees(peer, "up", 5)
        await eventually(client, lambda s: all(x.detection_time_us == 600_000 for x in s.sessions))
        snapshot = await eventually(client, lambda s: all(x.rx_packets >= 8 for x in s.sessions))
        assert all(not s.discards for s in snapshot.sessions)
        peer.process.kill()
        snapshot = await eventually(client, all_in(State.DOWN), 5)
        assert {s.local_diag for s in snapshot.sessions} == {
            Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
        }
