"""What is measured of one controller in a world of many gateways."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.controller.world import World, cpu_s, rss_mb
from kube.client import Client
from kube.northbound import Northbound
from kube.objects import PODS
from tests.support.controller import ControllerProcess
from vegd.lab.cluster.control_plane import free_ports

_QUIET_S = 2.0
_ASK_S = 0.5
"""How often it is asked how far it is: a page of metrics of 1,000 gateways costs it some 15 ms."""
_ROUNDS = 'vegd_controller_rounds_total{queue="gateways"}'
_DEPTH = 'vegd_controller_queue_depth{queue="gateways"}'

Samples = dict[str, list[float]]


@contextlib.contextmanager
def _controller(world: World, directory: Path, name: str) -> Iterator[ControllerProcess]:
    process = ControllerProcess(
        directory,
        world.plane,
        world.server.remote,
        free_ports(1)[0],
        "--no-leader-elect",
        "--bfd-binding=policies",
        "--no-bfd-ports",
        "--log-level=warning",
        name=name,
    )
    try:
        yield process
    finally:
        process.stop()


def _until_converged(process: ControllerProcess, gateways: int) -> float:
    """When the last of the rounds ended: every gateway had one, none waits, and for a while there
    was none."""
    last, since = -1.0, time.monotonic()
    while True:
        code, page = process.page("/metrics")
        values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line and line[0] != "#")
        now, rounds = time.monotonic(), float(values.get(_ROUNDS, 0)) if code == 200 else 0
        if rounds != last:
            last, since = rounds, now
        elif rounds >= gateways and float(values[_DEPTH]) == 0 and now - since > _QUIET_S:
            return since
        time.sleep(_ASK_S)


def restarts(world: World, directory: Path) -> Samples:
    """From the start of the process until all is as it should be: when everything is to be made,
    and when nothing is."""
    samples: Samples = {}
    for name in ("first", "again"):
        commits = world.server.commits()
        begun = time.monotonic()
        with _controller(world, directory, name) as process:
            samples[f"{name}_s"] = [_until_converged(process, world.gateways) - begun]
            samples[f"{name}_cpu"] = [cpu_s(process.process.pid)]
            samples["rss"] = [rss_mb(process.process.pid)]
        if name == "again":
            samples["again_commits"] = [world.server.commits() - commits]
    return samples


def pod_changes(world: World, directory: Path, changes: int) -> Samples:
    """From the answer to a change of a pod until OVN's row follows, one after the other."""
    with _controller(world, directory, "changes") as process:
        _until_converged(process, world.gateways)
        before_s = cpu_s(process.process.pid)
        samples = asyncio.run(_change_pods(world, changes))
        used_s = cpu_s(process.process.pid) - before_s
        return {"change_ms": samples, "change_cpu": [1000 * used_s / len(samples)]}


async def _change_pods(world: World, changes: int) -> list[float]:
    heard: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def listen(northbound: Northbound) -> None:
        async for changed in northbound.changes():
            for _, key in changed.gateways:
                heard[key].set()

    found = []
    async with (
        await Client.connect(world.plane.kubeconfig) as client,
        await Northbound.connect(world.server.remote) as northbound,
    ):
        listening = asyncio.ensure_future(listen(northbound))
        await asyncio.sleep(1)
        for number in range(changes):
            space = f"ns{number * 7 % world.gateways}"
            event = heard[f"{space}/gw"]
            for router in ("elsewhere", ""):
                # The pod leaves the gateway's router, and comes back.
                home = f"vpc{number * 7 % world.gateways // 100}"
                event.clear()
                metadata = {
                    "namespace": space,
                    "name": "p0",
                    "annotations": {"ovn.kubernetes.io/logical_router": router or home},
                }
                begun = time.monotonic()
                await client.apply(PODS, {"metadata": metadata}, manager="bench-change")
                async with asyncio.timeout(60):
                    await event.wait()
                found.append(1000 * (time.monotonic() - begun))
        listening.cancel()
    return found
