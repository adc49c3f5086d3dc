"""One container of a pod: its processes, one after the other, each with its probes."""

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.support.image import Image
from tests.support.netns import fd_path
from tests.support.pods import cgroup, oci
from tests.support.pods.crun import Crun, Executed
from vegd.lab.cluster import probes
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import Container, HttpGet, PodSpec, Probe

_LEAST_GRACE_S = 2.0
"""A kubelet gives no container less between SIGTERM and SIGKILL, whatever the grace period."""
_BACKOFF_S = 10.0
_MOST_BACKOFF_S = 300.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Shared:
    """What the containers of a pod have in common."""

    spec: PodSpec
    facts: PodFacts
    image: Image
    netns: str
    directory: Path
    uid: str
    crun: Crun
    slowness: float
    """How many times longer than it says a probe may take."""


class Running:
    """A container that runs, has run or will."""

    def __init__(self, container: Container, shared: Shared, binds: tuple[oci.Bind, ...]) -> None:
        self.name = container.name
        self.record = probes.Record()
        """Of the process that runs."""
        self.exits: list[int] = []
        """Exit statuses so far; 128 and the signal's number for a process that was killed."""
        self.condemned_by: list[str] = []
        """The probes for which a process was ended: ``startup`` or ``liveness``."""
        self._container = container
        self._shared = shared
        self._bundle = shared.directory / container.name
        self._log = self._bundle / "log"
        self._group = cgroup.Cgroup(shared.uid, container.name)
        self._place = oci.Placement(
            self._bundle / "rootfs",
            fd_path(shared.netns),
            self._group.path,
            binds,
            own_cgroup_namespace=cgroup.unified(),
        )
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    def log(self) -> str:
        """What it has written to standard output and standard error."""
        return self._log.read_text(errors="replace")

    def told(self) -> str:
        """What there is to say when it does not do what it should."""
        history = f"{self.record}, ended with {self.exits}, condemned by {self.condemned_by}"
        return f"{self.name}: {history}\n{self.log()}"

    def figures(self) -> cgroup.Figures:
        """What it uses, or has used."""
        return self._group.figures()

    async def execute(self, *command: str, timeout_s: float = 60.0) -> Executed:
        """Run a command in it as its user, like ``kubectl exec``."""
        shared = self._shared
        process = oci.process(self._container, shared.facts, shared.image, command)
        return await shared.crun.execute(self.name, process, timeout_s, bundle=self._bundle)

    async def start(self) -> None:
        """Start a process. Raises oci.Refused or crun.RuntimeFailed."""
        shared = self._shared
        configuration = oci.configuration(
            self._container, shared.spec, shared.facts, shared.image, self._place
        )
        self.record = probes.Record()
        self._process = await shared.crun.run(
            self.name, shared.image.root, self._bundle, configuration, self._log
        )

    async def wait(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        assert self._process is not None
        status = await self._process.wait()
        self.exits.append(status)
        return status

    async def live(self) -> None:
        """Probe it, and start it again whenever it ends, until `terminate` is called."""
        backoff_s = 0.0
        while True:
            probing = asyncio.create_task(self._probe())
            await self.wait()
            probing.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
                    return
            await self.start()
            backoff_s = min(max(_BACKOFF_S, 2 * backoff_s), _MOST_BACKOFF_S)

    async def terminate(self, grace_s: float) -> None:
        """End it for good: SIGTERM, and SIGKILL when the grace is over."""
        self._stopping.set()
        await self._end(max(grace_s, _LEAST_GRACE_S))

    async def crash(self) -> None:
        """Kill its processes, as the kernel does for want of memory; it is started again."""
        await self._shared.crun.kill(self.name, signal.SIGKILL)

    async def kill(self) -> None:
        """End it for good, at once."""
        self._stopping.set()
        await self._end(0.0)

    async def _end(self, grace_s: float) -> None:
        process, clock = self._process, asyncio.get_running_loop().time
        assert process is not None
        deadline = clock() + grace_s
        if grace_s:
            await self._shared.crun.kill(self.name, signal.SIGTERM)
        while process.returncode is None and clock() < deadline:
            self.figures()
            await asyncio.sleep(_LOOK_S)
        if process.returncode is None:
            await self._shared.crun.kill(self.name, signal.SIGKILL)
            await process.wait()

    async def _probe(self) -> None:
        kind = await probes.watch(self._container, self.record, self._ask)
        self.condemned_by.append(kind)
        await self._end(self._shared.spec.termination_grace_period_seconds)

    async def _ask(self, probe: Probe) -> bool:
        timeout_s = probe.timeout_seconds * self._shared.slowness
        if probe.exec is not None:
            return (await self.execute(*probe.exec.command, timeout_s=timeout_s)).succeeded
        assert probe.http_get is not None, "a probe of another kind"
        return await asyncio.to_thread(self._page, probe.http_get, timeout_s)

    def _page(self, request: HttpGet, timeout_s: float) -> bool:
        named = {port.name: port.container_port for port in self._container.ports}
        port = request.port if isinstance(request.port, int) else named[request.port]
        address = self._shared.facts.ips[0]
        return probes.page(self._shared.netns, address, port, request, timeout_s)
