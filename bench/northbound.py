"""What OVN's rows cost: ``python -m bench.northbound [--dry] [--gateways 1000] [--ports 20000]``.

Dry, only what decides: rows of all gateways, a comparison with the same rows, one change. Otherwise
against a real ovsdb-server in a directory of its own, no northd, from nothing to converged, after a
restart, and one change at a time. Prints milliseconds and MiB.
"""

import argparse
import asyncio
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from kube.northbound import Northbound
from kube.overlap import Claims
from kube.owners import KUBE_OVN, GatewayOwner
from kube.routes import BfdSettings, Gateway, Replica, SelectedPod, routes
from kube.rowdiff import diff
from kube.rows import Found, Observation, Row
from tests.support.ovsdb import OvsdbServer

_CHANGES = 50
_PORTS_A_CALL = 250


def gateways(count: int, ports: int) -> Iterator[Gateway]:
    """Gateways of one VPC, each with its share of the pods."""
    pods = (SelectedPod(f"pod{n}.ns", (address(n),)) for n in range(ports))
    for n in range(count):
        yield Gateway(
            namespace=f"ns{n}",
            name="gateway",
            router="vpc1",
            router_port="vpc1-subnet1",
            size=2,
            replicas=tuple(
                Replica(
                    f"{n}-{each}",
                    f"node{each}",
                    True,
                    (f"100.{each}.{n // 256}.{n % 256}",),
                    ("1.1.1.1",),
                )
                for each in (64, 65)
            ),
            has_selectors=True,
            pods=tuple(itertools.islice(pods, ports // count)),
            bfd=BfdSettings("bfd@vpc1", ("10.255.255.255",)),
        )


def address(number: int) -> str:
    """An address for each pod."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def owner(gateway: Gateway) -> GatewayOwner:
    """Of a gateway's rows."""
    return GatewayOwner(KUBE_OVN, gateway.namespace, gateway.name)


def say(what: str, value: float, unit: str = "ms") -> None:
    """One line."""
    print(f"{what:<58} {value:10.2f} {unit}", flush=True)


def spent(do: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    do()
    return (time.perf_counter() - begin) * 1000


class Clock:
    """Milliseconds since it was made, by the clock and of this process's processor time."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def say(self, what: str) -> None:
        """Both, as lines."""
        say(what, (time.perf_counter() - self._begin[0]) * 1000)
        say("  of that, this process", (time.process_time() - self._begin[1]) * 1000)


def memory() -> float:
    """The most that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def dry(count: int, ports: int) -> None:
    """What decides, without a database."""
    every = list(gateways(count, ports))
    claims = Claims()
    say(f"claims of {count} gateways, {ports} pods", spent(lambda: claim(claims, every)))
    wanted: dict[str, tuple[Row, ...]] = {}
    say(
        "rows of all",
        spent(lambda: wanted.update((g.namespace, routes(g, KUBE_OVN).rows) for g in every)),
    )
    seen = {
        name: Observation(tuple(Found(uuid4(), row) for row in rows), present(rows))
        for name, rows in wanted.items()
    }

    def compare() -> None:
        for gateway in every:
            assert not diff(seen[gateway.namespace], wanted[gateway.namespace], owner(gateway)).plan

    say("comparison of all with the same", spent(compare))
    times = []
    for gateway in every[:: max(1, count // _CHANGES)]:
        fewer = replace(gateway, pods=gateway.pods[1:])

        def change(fewer: Gateway = fewer) -> None:
            rows = routes(fewer, KUBE_OVN).rows
            assert len(diff(seen[fewer.namespace], rows, owner(fewer)).plan.ops) == 1
            claims.put(fewer.namespace, "vpc1", [each.addresses[0] for each in fewer.pods])
            assert not claims.overlaps(fewer.namespace)

        times.append(spent(change))
    say("one change: rows, comparison, claims (median)", statistics.median(times))
    say("memory, at most", memory(), "MiB")


def claim(claims: Claims, every: list[Gateway]) -> None:
    """Take the claims of all gateways."""
    for gateway in every:
        claims.put(gateway.namespace, "vpc1", [each.addresses[0] for each in gateway.pods])


def present(rows: tuple[Row, ...]) -> frozenset:  # type: ignore[type-arg]
    """Everything that rows refer to."""
    return frozenset(ref for row in rows for ref in (*row.refers(), *row.needs()))


def add_ports(numbers: range) -> Iterator[dict[str, object]]:
    """Operations that add the ports of pods, as full as Kube-OVN's are."""
    for n in numbers:
        ids = {"ls": "subnet2", "pod": f"ns/pod{n}", "vendor": "kube-ovn", "ip": address(n)}
        row = {
            "name": f"pod{n}.ns",
            "addresses": f"02:00:00:00:00:01 {address(n)}",
            "port_security": f"02:00:00:00:00:01 {address(n)}",
            "external_ids": ["map", [*ids.items()]],
        }
        yield {"op": "insert", "table": "Logical_Switch_Port", "row": row, "uuid-name": f"p{n}"}
    added = ["set", [["named-uuid", f"p{n}"] for n in numbers]]
    where = [["name", "==", "subnet2"]]
    mutations = [["ports", "insert", added]]
    yield {"op": "mutate", "table": "Logical_Switch", "where": where, "mutations": mutations}


async def restarted(server: OvsdbServer, every: list[Gateway]) -> None:
    """A new connection: all gateways, then changes of some."""
    commits = server.commits()
    clock = Clock()
    async with await Northbound.connect(server.remote, timeout_s=300) as nb:
        clock.say("after a restart: connect")
        for gateway in every:
            assert not (await nb.converge(owner(gateway), routes(gateway, KUBE_OVN).rows)).plan
        clock.say("and all looked at, nothing written")
        assert server.commits() == commits
        clock = Clock()
        times = []
        for gateway in every[:: max(1, len(every) // _CHANGES)]:
            fewer = replace(gateway, pods=gateway.pods[1:])
            begin = time.perf_counter()
            done = await nb.converge(owner(fewer), routes(fewer, KUBE_OVN).rows)
            times.append((time.perf_counter() - begin) * 1000)
            assert len(done.plan.ops) == 1
        say("one pod leaves: decided, written, answered (median)", statistics.median(times))
        say("the slowest of them", max(times))
        clock.say("all of these")


async def wet(count: int, ports: int, directory: Path) -> None:
    """With a database."""
    server = OvsdbServer(directory)
    try:
        server.nbctl("lr-add", "vpc1", "--", "ls-add", "subnet2")
        server.nbctl("lrp-add", "vpc1", "bfd@vpc1", "02:00:00:00:01:ff", "10.255.255.255/32")
        for first in range(0, ports, _PORTS_A_CALL):
            server.transact(*add_ports(range(first, min(first + _PORTS_A_CALL, ports))))
        every = list(gateways(count, ports))
        before = memory()
        clock = Clock()
        async with await Northbound.connect(server.remote, timeout_s=300) as nb:
            clock.say(f"connect to {ports} ports")
            for part in (
                every[: count // 10],
                every[count // 10 : -count // 10],
                every[-count // 10 :],
            ):
                clock = Clock()
                for gateway in part:
                    assert (await nb.converge(owner(gateway), routes(gateway, KUBE_OVN).rows)).plan
                clock.say(f"{len(part)} gateways more")
        await restarted(server, every)
        say("memory, at most", memory(), "MiB")
        say("memory before", before, "MiB")
    finally:
        server.stop()


def imports() -> None:
    """What it costs to load the library."""
    code = (
        "import time, resource; t = time.perf_counter(); import {}; "
        "size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; "
        "print((time.perf_counter() - t) * 1000, size)"
    )
    for module in ("asyncio", "kube.northbound"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
        )
        took, size = map(float, done.stdout.split())
        say(f"import {module}", took)
        say(f"import {module}: memory", size, "MiB")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.northbound", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="only what decides, no database")
    parser.add_argument("--gateways", type=int, default=1000)
    parser.add_argument("--ports", type=int, default=20_000, help="of pods that selectors match")
    options = parser.parse_args()
    if options.dry:
        dry(options.gateways, options.ports)
        return
    imports()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(wet(options.gateways, options.ports, Path(directory)))


if __name__ == "__main__":
    main()
