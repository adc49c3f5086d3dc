"""The measurements; each makes a site of its own and returns samples by measure."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path

from bench.dataplane.site import (
    CLIENT,
    DIRECT,
    NO_SNAT,
    Site,
    converge,
    intent,
    many,
    set_up,
    site,
    with_kernel,
)
from bench.dataplane.traffic import connections_per_s, gbit_per_s, tracked
from bench.support.processes import cpu_ns, end, rss_mb
from dataplane.linux import LinuxKernel
from dataplane.render import render
from dataplane.sources import Sources

Samples = dict[str, list[float]]
_CHANGES = 20
_REST_GATEWAYS, _REST_POLICIES, _REST_PREFIXES = 10, 4, 8


def sources(count: int) -> Samples:
    """First apply of so many sources, then one added and removed again, several times (ms).

    As the agent does it: render, observe, compare, apply. Reading the configuration is not in it.
    """
    wish = many(count)
    extra = IPv4Network("11.0.0.1/32")

    async def work(kernel: LinuxKernel) -> Samples:
        begin = time.perf_counter()
        await converge(kernel, render(wish))
        first_ms = (time.perf_counter() - begin) * 1e3
        known = wish.sources()
        change_ms = []
        for _ in range(_CHANGES):
            for change in (Sources.with_source, Sources.without_source):
                begin = time.perf_counter()
                known = change(known, extra, "many")
                await converge(kernel, render(wish, known))
                change_ms.append((time.perf_counter() - begin) * 1e3)
        return {"first_apply": [first_ms], "one_source": [statistics.median(change_ms)]}

    with site() as made:
        return with_kernel(made.gateway, work)


def traffic(system: str, seconds: float) -> Samples:
    """New connections and throughput through the gateway."""
    source = DIRECT if system == NO_SNAT else CLIENT
    with site() as made:
        set_up(made.gateway, system)
        return {
            "connections": [connections_per_s(made, source, seconds)],
            "throughput": [gbit_per_s(made, source, seconds)],
        }


def external_addresses(count: int, seconds: float) -> Samples:
    """New connections with so many addresses outside, and the ports that they hold."""
    with site() as made:
        with_kernel(made.gateway, lambda kernel: converge(kernel, render(intent((), count))))
        rate = connections_per_s(made, CLIENT, seconds)
        return {"connections_addresses": [rate], "ports_in_use": [float(tracked(made))]}


def at_rest(seconds: float) -> Samples:
    """Memory and CPU of the agent while nothing happens."""
    # The namespaces end first, and the engine with them: it may still write into the directory.
    with tempfile.TemporaryDirectory(prefix="vegd-bench-") as directory, site() as made:
        return _at_rest(made, Path(directory), seconds)


def _at_rest(made: Site, directory: Path, seconds: float) -> Samples:
    config = directory / "gateway.yaml"
    config.write_text(configuration())
    command = [sys.executable, "-m", "vegd", "run", "--config", str(config)]
    variables = {**os.environ, "VEGD_RUNTIME_DIR": str(directory / "run")}
    with (directory / "log").open("w+") as log:
        agent = made.gateway.popen(command, env=variables, stdout=log, stderr=log)
        try:
            _wait_until_forwarding(made, agent, directory / "log")
            time.sleep(2)
            begin, begin_ns = time.monotonic(), cpu_ns(agent.pid)
            time.sleep(seconds)
            spent_ms = (cpu_ns(agent.pid) - begin_ns) / 1e6
            return {
                "rest_cpu": [spent_ms / (time.monotonic() - begin)],
                "rest_rss": [rss_mb(agent.pid)],
            }
        finally:
            end(agent)


def configuration() -> str:
    """A gateway file with the policies of ten gateways."""
    lines = [
        "internal: {interface: eth0, addresses: [192.168.0.2/24], gateways: [192.168.0.1]}",
        "external: {interface: ext0, addresses: [172.17.0.11/16], gateways: [172.17.0.1]}",
        "metrics: {listen: 127.0.0.1:10669}",
        "policies:",
    ]
    for number in range(_REST_GATEWAYS * _REST_POLICIES):
        blocks = ", ".join(f"10.{number}.{block}.0/24" for block in range(_REST_PREFIXES))
        snat = "false" if number % _REST_POLICIES == 0 else "true"
        lines.append(f"  - {{name: policy{number}, snat: {snat}, ipBlocks: [{blocks}]}}")
    return "\n".join(lines) + "\n"


def _wait_until_forwarding(made: Site, agent: "subprocess.Popen[str]", log: Path) -> None:
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    deadline = time.monotonic() + 20
    while made.gateway.call(forwarding.read_text).strip() != "1":
        if agent.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the agent does not forward: {log.read_text()[-500:]}")
        time.sleep(0.05)
