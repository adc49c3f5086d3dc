"""What the observer costs: `make bench-observer`. Prints the table of docs/flow-logs.md."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.dataplane.site import VEGD, Site, set_up, site
from bench.dataplane.traffic import track
from bench.support.cgroups import cpu_group
from bench.support.machine import describe
from bench.support.namespaces import sweep
from bench.support.processes import cpu_ns, end, in_group, rss_mb
from dataplane.nfnetlink import NFNL_SUBSYS_CTNETLINK, Channel

_CONNECTIONS = 60_000
_BACKLOG = 12_000
_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 2
_EVENTS = "conntrack_events_total"
_PREFIX = "kube_ovn_vpc_egress_gateway_observability_"
_RULE = {
    "protocols": ["tcp", "udp"],
    "original": {
        "sourceCIDRs": ["10.0.0.0/8", "192.168.0.0/16"],
        "destinationPorts": [{"start": 1, "end": 1023}],
    },
}
_METRICS = {"metrics": {"enabled": True}}
_LIMITS = {"recordsPerSecond": 100_000, "burst": 1_000_000}


class Case(NamedTuple):
    """What is switched on, and how much of a processor there is."""

    name: str
    conntrack: dict[str, Any]
    cpu: float | None = None


_LOG = {**_METRICS, "log": {"enabled": True}}
CASES = (
    Case("interface metrics only", {}),
    Case("metrics of connections", _METRICS),
    Case("and flow logs", _LOG),
    Case("and flow logs, 0.2 CPU", _LOG, 0.2),
    Case(
        "and flow logs, ten rules, none fits",
        {**_METRICS, "log": {"enabled": True, "filters": {"include": [_RULE] * 10}}},
    ),
    Case(
        "and flow logs, no limit",
        {**_METRICS, "log": {"enabled": True, "rateLimit": _LIMITS}},
    ),
)


class Figures(NamedTuple):
    """Of one case."""

    idle_mb: float
    full_mb: float
    us_per_event: float
    """CPU of the observer."""
    events_per_s: float
    begun_per_s: float
    lost_begun: float
    lost_ended: float


class Observer:
    """One that runs on a site."""

    def __init__(self, made: Site, process: "subprocess.Popen[str]", listens: bool) -> None:
        self._site = made
        self._listens = listens
        self.process = process

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric."""
        page = self._site.gateway.call(_page)
        return sum(
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith(f"{_PREFIX}{name}{{") and label in line
        )

    def cpu_s(self) -> float:
        """So far."""
        return cpu_ns(self.process.pid) / 1e9

    def wait(self) -> None:
        """Until it answers, and listens if it has to."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.metric("collector_up") >= 1 + self._listens:
                    return
            time.sleep(0.1)
        raise RuntimeError("the observer does not answer")

    def settle(self, connections: int) -> None:
        """Until it knows of so many, and has read all that there is to read."""
        seen: list[float] = []
        deadline = time.monotonic() + 300
        while (
            len(seen) < 3
            or len({*seen[-3:]}) > 1
            or not connections * 0.99 <= self._remembered() <= connections
        ):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._remembered()} are remembered, {connections} are there")
            seen.append(self.metric(_EVENTS))
            time.sleep(1)

    def _remembered(self) -> float:
        return self.metric("conntrack_cache_entries")


def _page() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", 10666, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def observer(made: Site, case: Case) -> Iterator[Observer]:
    """An observer on a gateway."""
    with contextlib.ExitStack() as stack:
        group = [stack.enter_context(cpu_group(case.cpu, 1024))] if case.cpu else []
        yield stack.enter_context(_running(made, case, group))


@contextlib.contextmanager
def _running(made: Site, case: Case, group: list[Path]) -> Iterator[Observer]:
    with tempfile.TemporaryDirectory(prefix="vegd-bench-") as name:
        config, status = Path(name, "config.json"), Path(name, "network-status")
        observability = {"interfaceMetrics": {"enabled": True}, "conntrack": case.conntrack}
        config.write_text(
            json.dumps(
                {
                    "namespace": "default",
                    "name": "gateway1",
                    "externalNetwork": "default/eth1",
                    "observability": observability,
                }
            )
        )
        inner = {"name": "kube-ovn", "interface": "eth0", "default": True}
        outer = {"name": "default/eth1", "interface": "ext0"}
        status.write_text(json.dumps([inner, outer]))
        command = [sys.executable, "-m", "vegd", "observe", "--config", str(config)]
        command += ["--network-status", str(status)]
        with Path(name, "records").open("w") as records:
            process = made.gateway.popen(
                in_group(group, command),
                stdout=records,
                stderr=subprocess.DEVNULL,
                env={**os.environ},
            )
            try:
                it = Observer(made, process, bool(case.conntrack))
                it.wait()
                yield it
            finally:
                end(process)


def measure(case: Case) -> Figures:
    """One case on a gateway of its own."""
    with site() as made:
        set_up(made.gateway, VEGD)
        made.gateway.sysctl(
            net__netfilter__nf_conntrack_acct=1, net__netfilter__nf_conntrack_udp_timeout=600
        )
        with observer(made, case) as it:
            idle_mb = rss_mb(it.process.pid)
            us_per_event, events_per_s = _backlog(made, it) if case.conntrack else (0, 0)
            begin = time.perf_counter()
            track(made, _CONNECTIONS)
            begun_per_s = (_CONNECTIONS - _BACKLOG) / (time.perf_counter() - begin)
            it.settle(_CONNECTIONS if case.conntrack else 0)
            full_mb, lost = rss_mb(it.process.pid), it.metric(_EVENTS, 'event="lost"')
            made.gateway.call(_flush)
            it.settle(0)
            lost_ended = it.metric(_EVENTS, 'event="lost"') - lost
    return Figures(idle_mb, full_mb, us_per_event, events_per_s, begun_per_s, lost, lost_ended)


def _backlog(made: Site, it: Observer) -> tuple[float, float]:
    """What reading costs when there is always something to read: CPU in us, and events a second."""
    it.process.send_signal(signal.SIGSTOP)
    track(made, _BACKLOG)
    cpu_s, begin = it.cpu_s(), time.perf_counter()
    it.process.send_signal(signal.SIGCONT)
    # Asking costs it time as well, so it is asked when it should be done.
    while it.metric(_EVENTS) < _BACKLOG * 0.99:
        time.sleep(0.02)
    took_s = time.perf_counter() - begin
    return (it.cpu_s() - cpu_s) / _BACKLOG * 1e6, _BACKLOG / took_s


def _flush() -> None:
    """End all connections at once."""
    with Channel() as channel:
        for _ in channel.ask(_DELETE, 0):
            pass


def main() -> None:
    """Every case in turn."""
    sweep()
    print(f"Measured {describe()}; {_CONNECTIONS} connections begin, then all end at once.\n")
    print("| On | idle, MB | full, MB | CPU per event, us | events read per s |", end="")
    print(" connections begun per s | events lost of these | lost of the ends |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        found = measure(case)
        print(f"| {case.name} |", " | ".join(f"{each:.0f}" for each in found), "|", flush=True)


if __name__ == "__main__":
    main()
