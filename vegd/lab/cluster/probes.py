"""Probes by a kubelet's rules.

Liveness and readiness wait for the startup probe, a verdict needs the same answer so many times in
a row, and an answer that is late is a failure.
"""

import asyncio
import http.client
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field

from vegd.lab.cluster.template import Container, HttpGet, Probe
from vegd.lab.namespaces import socket_in

Ask = Callable[[Probe], Awaitable[bool]]
"""Asks once, within the probe's timeout."""

_FINE = range(200, 400)


@dataclass(slots=True)
class Record:
    """What a container's probes have said since it started."""

    started: bool = False
    ready: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    """How often, by kind: ``startup``, ``liveness``, ``readiness``."""
    failed: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    """The longest that an answer has taken."""


async def watch(container: Container, record: Record, ask: Ask) -> str:
    """Probe a container that has just started; ends with the kind of probe that condemns it.

    Does not end while all is well.
    """
    begun = asyncio.get_running_loop().time()

    def verdicts(kind: str, probe: Probe) -> AsyncIterator[bool]:
        return _verdicts(kind, probe, record, ask, begun)

    startup = container.startup_probe
    if startup is not None and not await anext(verdicts("startup", startup)):
        return "startup"
    record.started = True
    record.ready = container.readiness_probe is None

    async def readiness() -> None:
        if (probe := container.readiness_probe) is not None:
            async for verdict in verdicts("readiness", probe):
                record.ready = verdict

    async def liveness() -> None:
        if (probe := container.liveness_probe) is None:
            await asyncio.Event().wait()
        else:
            async for verdict in verdicts("liveness", probe):
                if not verdict:
                    return

    following = asyncio.create_task(readiness())
    try:
        await liveness()
    finally:
        following.cancel()
        record.ready = False
    return "liveness"


async def _verdicts(
    kind: str, probe: Probe, record: Record, ask: Ask, begun: float
) -> AsyncIterator[bool]:
    """Whether the container is well, whenever there is a verdict."""
    clock = asyncio.get_running_loop().time
    due = begun + probe.initial_delay_seconds
    streak, last = 0, False
    while True:
        await asyncio.sleep(due - clock())
        asked_at = clock()
        answer = await ask(probe)
        record.slowest_s = max(record.slowest_s, clock() - asked_at)
        record.asked[kind] += 1
        record.failed[kind] += not answer
        streak, last = streak + 1 if answer is last else 1, answer
        if streak >= (probe.success_threshold if answer else probe.failure_threshold):
            yield answer
        # What could not be asked in time is not made up for.
        due = max(asked_at + probe.period_seconds, clock())


def page(ns: str, address: str, port: int, request: HttpGet, timeout_s: float) -> bool:
    """Ask for a page from within the pod's namespace. Blocks."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    with closing(connection), socket_in(ns, family, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect((address, port))
            connection.sock = channel
            connection.request("GET", request.path)
            return connection.getresponse().status in _FINE
        except (OSError, http.client.HTTPException):
            return False


def accepts(ns: str, address: str, port: int, timeout_s: float) -> bool:
    """Whether a port accepts connections from within the pod's namespace. Blocks."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket_in(ns, family, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect((address, port))
        except OSError:
            return False
        return True
