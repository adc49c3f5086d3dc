"""The main container of a gateway pod under its limits: its start, its memory, what it bears."""

import asyncio
import contextlib
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from bench.support.cgroups import Group, Memory, group
from bench.support.processes import busy
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from tests.support.bfd_process import socket_in
from tests.support.container import SUPERVISOR, Containers
from tests.support.daemon import Site
from tests.support.netns import NamespaceFactory, ip_batch, run
from tests.support.pod import GATEWAYS_INSIDE, POD_INSIDE, build, environment

_MIB = 1 << 20
_BETWEEN_S = 0.3
_FAMILIES = (4, 6)
_INTERVAL_MS, _MULTIPLIER = 1000, 3
"""What Kube-OVN gives where nothing else is asked for."""

Samples = dict[str, list[float]]


class Limits(NamedTuple):
    """Of the container, as Kubernetes writes them."""

    name: str
    cpu: float
    memory_mib: int


class Load(NamedTuple):
    """How much of each."""

    changes: int
    scrapes: int
    requests: int
    probes: int
    flaps: int
    rest_s: float


class Bench:
    """A gateway whose main container runs in a control group."""

    def __init__(
        self, limits: Limits, directory: Path, made: Group, netns: NamespaceFactory
    ) -> None:
        self.group = made
        self.pod = build(netns)
        self.router = Site(self.pod.pod, self.pod.vpc, self.pod.outside, directory)
        given = {
            "POD_IPS": ",".join(POD_INSIDE.values()),
            "BFD_PEER_IPS": ",".join(GATEWAYS_INSIDE.values()),
            "BFD_MIN_TX": str(_INTERVAL_MS),
            "BFD_MIN_RX": str(_INTERVAL_MS),
            "BFD_MULTI": str(_MULTIPLIER),
        }
        self.containers = Containers(self.pod, directory, given, made.procs)
        self.limits = limits

    def are_up(self) -> bool:
        """Whether the router sees every session Up."""
        return [each["state"] for each in self.router.router_sessions()] == [3] * len(_FAMILIES)

    def changes_of_state(self) -> int:
        """How often a session of the router has changed its state."""
        return sum(each["transitions"] for each in self.router.router_sessions())


@contextlib.contextmanager
def bench(limits: Limits) -> Iterator[Bench]:
    """The pod, initialised, with the router's engine beside it."""
    netns = NamespaceFactory()
    with (
        tempfile.TemporaryDirectory(prefix="vegd-bench-") as name,
        group(limits.cpu, int(limits.cpu * 1024), limits.memory_mib * _MIB) as made,
        contextlib.closing(netns),
    ):
        found = Bench(limits, Path(name), made, netns)
        found.containers.init(environment(*_FAMILIES))
        peers = {GATEWAYS_INSIDE[each]: POD_INSIDE[each] for each in _FAMILIES}
        found.router.router_engine(peers, _INTERVAL_MS, _MULTIPLIER)
        try:
            yield found
        finally:
            found.router.close()


class Sampler:
    """Watches what a group holds, 20 times a second."""

    def __init__(self, made: Group) -> None:
        self._group = made
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = Memory(0, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, self._group.memory(), key=lambda each: each.held)


def start(limits: Limits) -> Samples:
    """From the start of the container to the first good probe, and to the last session Up."""
    with bench(limits) as made:
        began = time.monotonic()
        with made.containers.main():
            made.containers.eventually(partial(_is_live, made), "live")
            live = time.monotonic()
            made.containers.eventually(made.are_up, "sessions Up")
            up = time.monotonic()
            time.sleep(5)
            rest = made.group.memory()
            return {
                "start_live": [live - began],
                "start_up": [up - began],
                "start_held": [rest.held / _MIB],
            }


def hour(load: Load, limits: Limits) -> Samples:
    """At rest, then an hour's worth of events and more, then at rest again."""
    with bench(limits) as made, made.containers.main(), Sampler(made.group) as sampler:
        made.containers.eventually(made.are_up, "sessions Up")
        time.sleep(load.rest_s)
        found: Samples = {"rest_held": [made.group.memory().held / _MIB]}
        found["rest_cpu"] = [_cpu_ms_per_s(made, load.rest_s)]
        transitions = made.changes_of_state()
        throttled = made.group.throttled_us()
        for name, work in (
            ("changes", _change),
            ("scrapes", _scrape),
            ("requests", _request),
            ("probes", _probe),
        ):
            found |= work(made, getattr(load, name))
            found[f"held_{name}"] = [made.group.memory().held / _MIB]
        found["lost"] = [made.changes_of_state() - transitions]
        for line in made.containers.log.read_text().splitlines():
            if ": UP -> " in line or "dataplane failed" in line:
                print(f"a session was lost, or nearly: {json.loads(line)['msg']}")
        _flap(made, load.flaps)
        found["throttled"] = [(made.group.throttled_us() - throttled) / 1e6]
        time.sleep(load.rest_s)
        memory = made.group.memory()
        assert made.group.kills() == 0, "the kernel has killed a process of the container"
        found["after_held"] = [memory.held / _MIB]
        found["after_file"] = [memory.file / _MIB]
        found["most_held"] = [sampler.most.held / _MIB]
        found["peak"] = [made.group.peak() / _MIB]
        found["after_cpu"] = [_cpu_ms_per_s(made, load.rest_s)]
        return found


def _is_live(made: Bench) -> bool:
    """By the socket: a command would take its part of the CPU limit."""
    answer = asyncio.run(_ask(made.containers.state / "control.sock", b"live\n"))
    return b'"Live":true' in answer


async def _ask(path: Path, line: bytes) -> bytes:
    """The answer to a line; none while nobody listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return b""
    writer.write(line)
    answer = await reader.read()
    writer.close()
    return answer


def _cpu_ms_per_s(made: Bench, seconds: float) -> float:
    def now() -> float:
        ticks = 0
        for pid in made.containers.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks * 1000 / os.sysconf("SC_CLK_TCK")

    began = now()
    time.sleep(seconds)
    return (now() - began) / seconds


def _change(made: Bench, count: int) -> Samples:
    """Routes and addresses of others come and go, and now and then something of ours goes."""
    ns, batch = made.pod.pod, 100
    for number in range(0, count, batch):
        lines = []
        for each in range(batch // 2):
            route = f"route {{}} 203.0.113.{each}/32 dev net1 table {2000 + number % 7}"
            lines += [route.format("add"), route.format("del")]
        lines[-2:] = ["rule del priority 1001", "route del default table 1001"]
        ip_batch(lines, ns)
        made.containers.eventually(lambda: "1001:" in run(ns, "ip", "rule").stdout, "the rule")
        # Who undoes each repair at once keeps the gateway from forwarding, and its sessions Down.
        time.sleep(_BETWEEN_S)
        if number % 1000 == 0:
            run(ns, "nft", "add rule inet vegd guard accept")
    return {}


def _scrape(made: Bench, count: int) -> Samples:
    waits = []
    connection = http.client.HTTPConnection("127.0.0.1", 10669, timeout=60)
    connection.sock = socket_in(made.pod.pod, 2, 1)
    connection.sock.connect(("127.0.0.1", 10669))
    for _ in range(count):
        began = time.monotonic()
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        answer.read()
        waits.append((time.monotonic() - began) * 1000)
    connection.close()
    return {"scrape_ms": waits}


def _request(made: Bench, count: int) -> Samples:
    """Lines of `bfdd-control` and of probes, 100 at a time."""

    async def all_of_them() -> None:
        control = made.containers.runtime_dir / "bfdd.sock"
        supervisor = made.containers.state / "control.sock"
        for _ in range(0, count, 100):
            lines = [(control, b"status all level 4\n"), (supervisor, b"status\n")] * 50
            assert all(await asyncio.gather(*(_ask(*each) for each in lines)))

    asyncio.run(all_of_them())
    return {}


def _probe(made: Bench, count: int) -> Samples:
    """Exec probes while two loops keep the processors busy."""
    waits = []
    with busy(os.cpu_count() or 1):
        for _ in range(count):
            began = time.monotonic()
            made.containers.says(SUPERVISOR, "live")
            waits.append((time.monotonic() - began) * 1000)
            made.containers.says("bfdd-control", "status")
    return {"probe_ms": waits}


def _flap(made: Bench, count: int) -> None:
    """The router takes its sessions down and up again."""
    keys = [SessionKey(GATEWAYS_INSIDE[each], POD_INSIDE[each]) for each in _FAMILIES]

    async def take(*, up: bool) -> None:
        configs = [
            SessionConfig(key, _INTERVAL_MS * 1000, _INTERVAL_MS * 1000, _MULTIPLIER, enabled=up)
            for key in keys
        ]
        async with Client(made.router.directory / "router/bfd.sock") as client:
            await client.configure(configs, 1)

    for _ in range(count):
        asyncio.run(take(up=False))
        made.containers.eventually(lambda: "Up" not in _states(made), "sessions Down")
        asyncio.run(take(up=True))
        made.containers.eventually(made.are_up, "sessions Up")


def _states(made: Bench) -> set[str]:
    return {each["state"] for each in made.containers.status()["sessions"]}
