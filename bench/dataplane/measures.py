"""The measurements; each makes a site of its own and returns samples by measure."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

from bench.dataplane.agent import agent
from bench.dataplane.site import (
    CLIENT,
    DIRECT,
    NO_SNAT,
    converge,
    intent,
    many,
    set_up,
    site,
    with_kernel,
)
from bench.dataplane.traffic import asked, connections_per_s, gbit_per_s, track, tracked
from bench.support.processes import cpu_ns, rss_mb
from dataplane.linux import LinuxKernel
from dataplane.render import render
from dataplane.sources import Sources

Samples = dict[str, list[float]]
_CHANGES = 20
_SCRAPE_EVERY_S = 5.0


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
    with agent() as (_, process, _):
        time.sleep(2)
        begin, begin_ns = time.monotonic(), cpu_ns(process.pid)
        time.sleep(seconds)
        spent_ms = (cpu_ns(process.pid) - begin_ns) / 1e6
        return {
            "rest_cpu": [spent_ms / (time.monotonic() - begin)],
            "rest_rss": [rss_mb(process.pid)],
        }


def scrapes(connections: int, seconds: float) -> Samples:
    """What reading the metrics costs while so many connections are tracked.

    Prometheus asks every 5 s. In a second half another client asks for the health all the time: its
    longest wait shows for how long the agent does nothing else.
    """
    with agent() as (made, process, sockets):
        track(made, connections)
        path = sockets / "agent.sock"
        begin, begin_ns = time.monotonic(), cpu_ns(process.pid)
        scrape_ms = _scrape(path, seconds / 2)
        spent_ms = (cpu_ns(process.pid) - begin_ns) / 1e6
        spent_s = time.monotonic() - begin
        wait_ms = []
        with ThreadPoolExecutor(1) as prometheus:
            scrape = prometheus.submit(_scrape, path, seconds / 2)
            while not scrape.done():
                wait_ms.append(asked(path, "/livez"))
                time.sleep(0.002)
        scrape_ms += scrape.result()
        return {
            "scrape_cpu": [spent_ms / spent_s],
            "scrape_ms": [max(scrape_ms)],
            "scrape_pause": [max(wait_ms)],
            "scrape_rss": [rss_mb(process.pid)],
        }


def _scrape(path: Path, seconds: float) -> list[float]:
    """Milliseconds of each scrape, one every 5 s."""
    took_ms = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        took_ms.append(asked(path, "/metrics"))
        time.sleep(_SCRAPE_EVERY_S)
    return took_ms
