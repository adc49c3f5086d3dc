"""A real CPU quota that somebody else in the group uses up: the engine knows, and so does why."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.support.cgroups import NoGroups, cpu_group
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.snapshot import EngineSnapshot
from tests.support import netns as net
from tests.support.bfd_process import ScriptedPeer, all_in, engine_in, eventually
from tests.support.command import run_within

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

A, B = "10.78.0.1", "10.78.0.2"
QUOTA = 0.1

_ENTER = """
echo $$ >"$1" || exit
namespace=$2
shift 2
exec nsenter --net="$namespace" setpriv --bounding-set=-sys_nice --inh-caps=-sys_nice "$@"
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """The file of a small CPU control group that a process number is written to."""
    with contextlib.ExitStack() as stack:
        try:
            procs = stack.enter_context(cpu_group(QUOTA, 1024))
        except NoGroups as exc:
            pytest.skip(str(exc))
        yield procs


@contextlib.contextmanager
def busy(group: Path, processes: int) -> Iterator[None]:
    """Processes in the group that never sleep."""
    enter = 'echo $$ >"$1"; while :; do :; done'
    started = [subprocess.Popen(["sh", "-c", enter, "sh", str(group)]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


async def test_a_used_up_cpu_quota_is_seen_and_why_names_it(
    netns: Callable[[str], str], group: Path, tmp_path: Path
) -> None:
    near, far = netns("a"), netns("b")
    net.veth(near, "va", far, "vb", [f"{A}/24"], [f"{B}/24"])

    def enter(ns: str, *command: str) -> list[str]:
        # Not by ``ip netns exec``, which hides the control groups; and without the right to real
        # time, which no quota of ours would slow down.
        return ["sh", "-c", _ENTER, "sh", str(group), str(net.fd_path(ns)), *command]

    # Half of the period of the quota: were it as long, a packet at its start would be due again at
    # the start of the next, and hardly late. The peer is heard often enough.
    config = SessionConfig(SessionKey(A, B), 50_000, 50_000, 1)
    with contextlib.closing(ScriptedPeer(far, B, A, detect_mult=255)) as peer:

        def is_starved(now: EngineSnapshot) -> bool:
            peer.send(State.UP, required_min_rx_us=50_000)
            return now.stalls > calm.stalls and (now.vitals.throttled_periods or 0) > until

        async with (
            engine_in(near, tmp_path / "a", enter=enter) as engine,
            Client(engine.path) as client,
        ):
            await client.configure([config], 1)
            peer.bring_up()
            calm = await eventually(client, all_in(State.UP))
            assert calm.cpu_limit == QUOTA
            assert calm.scheduling == "normal"
            assert calm.vitals.throttled_periods is not None
            until = calm.vitals.throttled_periods + 5
            with busy(group, 2):
                starved = await eventually(client, is_starved, within_s=60)
                peer.send(State.DOWN, diagnostic=1)
                await eventually(client, lambda s: s.sessions[0].state is not State.UP, 40)
            assert calm.vitals.throttled_us is not None
            assert starved.vitals.throttled_us is not None
            assert starved.vitals.throttled_us - calm.vitals.throttled_us > 100_000
            arguments = ("why", "--json", "--runtime-dir", str(engine.directory))
            printed, status = await asyncio.to_thread(run_within, arguments, {})
    assert status == 1
    (told,) = json.loads(printed)
    down = told["last_down"]
    assert down["cause"] == "we were starved"
    assert "its CPU quota was used up" in down["verdict"]
    assert down["advice"] == ["raise or remove the CPU limit of the engine's cgroup"]
    assert any("quota was used up in" in fact for fact in down["facts"]), down["facts"]
