"""Applies that are killed at random points. Run in a gateway's namespace:

``python -m tests.support.killed_applies SEED KILLS`` prints after how many of the kills the old
and the new ruleset stood; an assertion that fails ends it. Each apply runs in a forked child,
because starting the interpreter anew would take far longer than what is to be killed.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

from dataplane.diff import diff
from dataplane.linux import LinuxKernel
from dataplane.model import DataplaneState, NftTable
from dataplane.nftables import Nftables
from dataplane.render import render
from tests.support.dataplane import gateway_intent, policy

_MANY = tuple(ip_network(f"10.{n // 256}.{n % 256}.0/24") for n in range(100))
STATES = (
    render(gateway_intent()),
    render(gateway_intent(policies=(replace(policy("vpc", "192.168.0.0/23"), sources=_MANY),))),
    render(
        gateway_intent(
            policies=(policy("vpc", "192.168.0.0/23", "fd00::/64"), policy("new", "10.9.0.0/16"))
        )
    ),
    DataplaneState(),
)


async def _apply(desired: DataplaneState, tell: Callable[[], None]) -> bool:
    """One round, told when it begins and ends; then whether nothing is left after another."""
    kernel = await LinuxKernel.open()
    plan = diff(await kernel.observe(desired), desired)
    tell()
    await kernel.apply(plan)
    tell()
    # The kernel makes some routes of its own accord, so a first round may leave something to do.
    await kernel.apply(diff(await kernel.observe(desired), desired))
    return not diff(await kernel.observe(desired), desired)


async def _table() -> NftTable | None:
    nftables = Nftables()
    try:
        return await nftables.table()
    finally:
        nftables.close()


def _tell(writer: int) -> None:
    # Whoever does not listen any more is about to kill us.
    with contextlib.suppress(BrokenPipeError):
        os.write(writer, b".")


def _start(desired: DataplaneState) -> tuple[int, int]:
    """Fork a child that applies; returns its process id and where it tells how far it is."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        code = 0 if asyncio.run(_apply(desired, lambda: _tell(writer))) else 2
    finally:
        os._exit(code)


def _finish(desired: DataplaneState) -> float:
    """An apply that may finish and must converge; returns how long its first round took, in s."""
    pid, reader = _start(desired)
    os.read(reader, 1)
    began = time.monotonic()
    os.read(reader, 1)
    took_s = time.monotonic() - began
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"a start has not converged: {status}"
    return took_s


def _kill(desired: DataplaneState, after_s: float) -> None:
    """An apply that is killed so long after its begin."""
    pid, reader = _start(desired)
    os.read(reader, 1)
    os.close(reader)
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    """Kill and look; now and then start once more and let it finish."""
    rng, kills = random.Random(int(sys.argv[1])), int(sys.argv[2])
    longest_s = [_finish(state) for state in STATES]
    before = asyncio.run(_table())
    outcomes = {"old": 0, "new": 0}
    for killed in range(1, kills + 1):
        n = rng.choice([n for n, state in enumerate(STATES) if state.nft != before])
        _kill(STATES[n], longest_s[n] * rng.random())
        after = asyncio.run(_table())
        assert after in (before, STATES[n].nft), f"neither old nor new after {killed} kills"
        outcomes["old" if after == before else "new"] += 1
        before = after
        if killed % 20 == 0:
            _finish(STATES[n])
            before = STATES[n].nft
    print(outcomes["old"], outcomes["new"])


if __name__ == "__main__":
    main()
