"""Whole gateways and a real OVN logical router: four sessions, both families, 100 ms x 3.

One lab for the file. Each test begins with every session Up and leaves it mended.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bfd.client import Client
from bfd.fsm import Diagnostic, State
from bfd.override import Override
from bfd.recovery import NAME as JOURNAL
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from tests.support.bfd_process import eventually
from tests.support.netns import inside
from vegd.lab import events, faults, ovn_router
from vegd.lab.errors import LabError
from vegd.lab.lab import Lab, remove
from vegd.lab.ovn_programs import INSTALLED
from vegd.lab.topology import FAMILIES, Gateway, LabOptions, RouterKind

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

_MS = 100
_UP_S = 60.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two gateways behind OVN."""
    options = LabOptions(prefix=f"ovn{os.getpid()}", router=RouterKind.OVN, interval_ms=_MS)
    try:
        INSTALLED.require()
    except LabError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    made = Lab(options)
    made.create()
    try:
        made.wait_up(within_s=_UP_S)
        yield made
    finally:
        remove(options.prefix)


@pytest.fixture(autouse=True)
def every_session_up(lab: Lab) -> None:
    lab.wait_up(within_s=_UP_S)


@contextlib.asynccontextmanager
async def engines(lab: Lab) -> AsyncIterator[list[Client]]:
    """A client for the engine of each gateway."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(lab.state.runtime_dir(g.name) / "bfd.sock"))
            for g in lab.topology.gateways
        ]


@contextlib.asynccontextmanager
async def engines_again(lab: Lab, within_s: float = 20) -> AsyncIterator[list[Client]]:
    """The same while one of them is being started."""
    deadline = time.monotonic() + within_s
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                clients = await stack.enter_async_context(engines(lab))
                break
            except OSError:
                assert time.monotonic() < deadline, "no engine"
                await asyncio.sleep(0.02)
        yield clients


async def all_sessions(
    clients: list[Client], condition: Callable[[SessionSnapshot], bool], within_s: float = 20
) -> list[SessionSnapshot]:
    """The two sessions of each gateway, once all fulfil a condition."""

    def hold(snapshot: EngineSnapshot) -> bool:
        return len(snapshot.sessions) == 2 and all(map(condition, snapshot.sessions))

    snapshots = [await eventually(client, hold, within_s) for client in clients]
    return [session for snapshot in snapshots for session in snapshot.sessions]


def at_full_speed(session: SessionSnapshot) -> bool:
    return (
        session.state is State.UP
        and not session.polling
        and session.tx_interval_us == _MS * 1000
        and session.detection_time_us == 3 * _MS * 1000
    )


def rows_in(lab: Lab, gateway: Gateway, *states: str) -> Callable[[], bool]:
    """Whether OVN shows both sessions of a gateway in one of these states."""

    def look() -> bool:
        newest = events.newest(lab.state.directory)
        found = (newest.get((gateway.name, family.value)) for family in FAMILIES)
        return all(event is not None and event.state in states for event in found)

    return look


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.01)


def controller(lab: Lab) -> int:
    """The ovn-controller that works; the other one only watches over it."""
    watcher = lab.state.process("ovn-controller")
    assert watcher is not None
    path = Path(f"/proc/{watcher.pid}/task/{watcher.pid}/children")
    deadline = time.monotonic() + 20
    while not (children := path.read_text().split()):
        assert time.monotonic() < deadline, "no ovn-controller"
        time.sleep(0.05)
    return int(children[0])


async def test_H3_four_sessions_of_both_families_are_up_at_ttl_254(lab: Lab) -> None:
    async with engines(lab) as clients:
        sessions = await all_sessions(clients, at_full_speed)
        assert len({s.key for s in sessions}) == 4
        assert sum(":" in s.key.local for s in sessions) == 2
        assert all("ttl" not in s.discards for s in sessions)
    gateway = lab.topology.gateways[0]
    command = [sys.executable, "-m", "vegd", "capture", "eth0", "--json", "--count", "60"]
    done = await asyncio.to_thread(
        subprocess.run,
        inside(gateway.namespace, *command, "--min-ttl", "254"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(p["direction"], p["ttl"]) for p in seen} == {("in", 254), ("out", 255)}
    assert {":" in p["source"] for p in seen} == {True, False}
    assert {p["state"] for p in seen} == {"Up"}
    assert {p["diagnostic"] for p in seen if p["direction"] == "in"} == {0}
    assert not any("TTL" in odd or "port" in odd for p in seen for odd in p["anomalies"])


async def test_D12_a_gateway_that_is_cut_off_is_found_dead_and_found_alive_again(lab: Lab) -> None:
    gateway, other = lab.topology.gateways
    async with engines(lab) as clients:
        await all_sessions(clients, at_full_speed)
        before = {(e.gateway, e.family, e.at) for e in events.read(lab.state.directory)}
        start = time.monotonic()
        await asyncio.to_thread(faults.cut, gateway)
        try:
            await until(rows_in(lab, gateway, "Down"))
            fresh = [
                e
                for e in events.read(lab.state.directory)
                if (e.gateway, e.family, e.at) not in before
            ]
            assert {e.gateway for e in fresh} == {gateway.name}, "the other one stays"
            # Three intervals after the last packet; OVN may be late on a busy machine.
            assert all(0.15 < e.at - start < 5 for e in fresh if e.state == "Down")
            sessions = await all_sessions(clients[:1], lambda s: s.state is State.DOWN)
            assert {s.local_diag for s in sessions} == {Diagnostic.CONTROL_DETECTION_TIME_EXPIRED}
        finally:
            await asyncio.to_thread(faults.heal, gateway, lab.topology)
        await all_sessions(clients, at_full_speed)
        assert rows_in(lab, other, "Up")()


async def test_D12_an_ovn_that_falls_silent_is_noticed_and_met_again(lab: Lab) -> None:
    async with engines(lab) as clients:
        await all_sessions(clients, at_full_speed)
        pid = controller(lab)
        os.kill(pid, signal.SIGSTOP)
        try:
            sessions = await all_sessions(clients, lambda s: s.state is State.DOWN)
            for session in sessions:
                assert session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
                assert session.last_change is not None
                assert session.last_change.reason == "nothing heard for 300 ms"
        finally:
            os.kill(pid, signal.SIGCONT)
        await all_sessions(clients, at_full_speed, 40)


async def test_N1_a_restarted_ovn_controller_is_met_again_and_our_side_survives(lab: Lab) -> None:
    async with engines(lab) as clients:
        before = await all_sessions(clients, at_full_speed)
        pids = [(await client.snapshot()).pid for client in clients]
        old = controller(lab)
        # The one death after which its watcher starts it again.
        os.kill(old, signal.SIGSEGV)
        # Down is short, and not seen at the same moment by all.
        seen = {s.local_discr: s.transitions for s in before}
        await all_sessions(clients, lambda s: s.transitions > seen[s.local_discr], 20)
        await asyncio.to_thread(lab.wait_up, None, _UP_S)
        after = await all_sessions(clients, at_full_speed, 40)
        assert controller(lab) != old
        assert [(await client.snapshot()).pid for client in clients] == pids
        ours = [{s.key: s.local_discr for s in sessions} for sessions in (before, after)]
        assert ours[0] == ours[1]


async def test_E4_admin_down_takes_the_rows_down_and_its_end_brings_them_back(lab: Lab) -> None:
    gateway = lab.topology.gateways[0]
    async with engines(lab) as clients:
        sessions = await all_sessions(clients[:1], at_full_speed)
        for session in sessions:
            await clients[0].override(session.key, Override(admin_down=True))
        # OVN may wait five seconds with what it has learned from a packet.
        await until(rows_in(lab, gateway, "Down"))
        for session in sessions:
            await clients[0].override(session.key, Override())
        await all_sessions(clients, at_full_speed)


async def test_D2_D4_our_timers_are_raised_and_lowered_without_a_flap(lab: Lab) -> None:
    async with engines(lab) as clients:
        sessions = await all_sessions(clients[:1], at_full_speed)
        before = {s.key: s.transitions for s in sessions}
        # Back from a second to 100 ms OVN keeps its pending packet.
        for ms in (300, 1000, 100):
            wanted = Override(desired_min_tx_us=ms * 1000, required_min_rx_us=ms * 1000)
            for session in sessions:
                await clients[0].override(session.key, wanted)
            now = await all_sessions(
                clients[:1],
                lambda s, us=ms * 1000: (
                    s.tx_interval_us == us and s.detection_time_us == 3 * us and not s.polling
                ),
            )
        # Whatever it planned before has come by then.
        heard = {s.key: s.rx_packets for s in now}
        now = await all_sessions(clients[:1], lambda s: s.rx_packets > heard[s.key] + 10)
        assert {s.key: s.transitions for s in now} == before
        for session in sessions:
            await clients[0].override(session.key, Override())
        await all_sessions(clients, at_full_speed)


async def test_B15_timers_of_ovn_are_raised_and_lowered_without_a_flap(lab: Lab) -> None:
    async with engines(lab) as clients:
        before = await all_sessions(clients, at_full_speed)
        rows = ovn_router.nbctl(lab.state, "--bare", "--columns=_uuid", "list", "bfd").split()
        for ms in (300, 100):
            for row in rows:
                ovn_router.nbctl(lab.state, "set", "bfd", row, f"min_tx={ms}", f"min_rx={ms}")
            after = await all_sessions(
                clients,
                lambda s, us=ms * 1000: s.tx_interval_us == us and s.detection_time_us == 3 * us,
            )
        assert [s.transitions for s in after] == [s.transitions for s in before]


async def engine_killed(lab: Lab, gateway: Gateway, *, forgets: bool) -> None:
    """SIGKILL for the engine; its daemon starts another one. It may lose its key and journal."""
    directory = lab.state.runtime_dir(gateway.name)
    daemon = lab.state.process(gateway.name)
    assert daemon is not None
    async with Client(directory / "bfd.sock") as client:
        engine = (await client.snapshot()).pid
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        os.kill(engine, signal.SIGKILL)
        if forgets:
            await until(rows_in(lab, gateway, "Down"))
            for name in ("discriminator.key", JOURNAL):
                (directory / name).unlink()
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


async def test_N1_a_killed_engine_that_has_lost_its_key_is_met_by_ovn_again(lab: Lab) -> None:
    gateway = lab.topology.gateways[0]
    async with engines(lab) as clients:
        before = {s.key: s.local_discr for s in await all_sessions(clients[:1], at_full_speed)}
    await engine_killed(lab, gateway, forgets=True)
    await asyncio.to_thread(lab.wait_up, None, _UP_S)
    async with engines(lab) as clients:
        after = {s.key: s.local_discr for s in await all_sessions(clients[:1], at_full_speed, 40)}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values()), "it had a new key"


def last_change(session: SessionSnapshot) -> float:
    """When, on the wall clock."""
    assert session.last_change is not None
    return session.last_change.at


async def test_N1_N2_a_killed_engine_that_kept_its_journal_is_not_missed_by_ovn(lab: Lab) -> None:
    gateway = lab.topology.gateways[0]
    rows = ovn_router.nbctl(lab.state, "--bare", "--columns=_uuid", "list", "bfd").split()

    def multiplier(value: int) -> None:
        for row in rows:
            ovn_router.nbctl(lab.state, "set", "bfd", row, f"detect_mult={value}")

    async def override(wanted: Override) -> None:
        for session in (await clients[0].snapshot()).sessions:
            await clients[0].override(session.key, wanted)

    # Five seconds each way: time enough for a start on a machine that does other things, too.
    multiplier(10)
    try:
        async with engines(lab) as clients:
            us = 500_000
            await override(Override(desired_min_tx_us=us, required_min_rx_us=us, detect_mult=10))
            before = await all_sessions(
                clients[:1], lambda s: not s.polling and s.detection_time_us == 10 * us
            )
        await engine_killed(lab, gateway, forgets=False)
        heard = {s.key: s.rx_packets for s in before}
        async with engines_again(lab) as clients:
            after = await all_sessions(clients[:1], lambda s: s.rx_packets >= heard[s.key] + 3)
        # Had OVN gone Down, it would have said so, and that would be the last change. Its row tells
        # less: what lasts for a moment is not written.
        for name in ("key", "state", "local_discr", "transitions"):
            assert [getattr(s, name) for s in after] == [getattr(s, name) for s in before], name
        assert list(map(last_change, after)) == pytest.approx(
            list(map(last_change, before)), abs=0.1
        )
    finally:
        multiplier(3)
        async with engines_again(lab) as clients:
            await override(Override())
            await all_sessions(clients, at_full_speed, 40)
