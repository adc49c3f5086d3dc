"""A pod, run as a kubelet and containerd would run it.

Init containers one after the other, sidecars from their place among them on, then the main
containers; probes, restarts, and the end with its grace period.

    async with running(template, facts, image, netns, directory) as pod:
        pod.volumes.write("config", {"config.json": "{}"})  # of ConfigMaps
        await pod.start()
        await pod.ready(within_s=60)
        await pod.stop()

Whoever makes the pod makes its network first: a namespace with all interfaces.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.support.image import Image
from tests.support.pods import cgroup
from tests.support.pods.container import Running, Shared
from tests.support.pods.crun import Crun
from tests.support.pods.volumes import Volumes
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.probes import Record
from vegd.lab.cluster.template import Container, PodTemplate

_LOOK_S = 0.05


class Failed(Exception):
    """The pod does not come up; the text says why, with the logs."""


class Pod:
    """Of `running`."""

    def __init__(self, shared: Shared) -> None:
        self.volumes = Volumes(shared.spec, shared.facts, shared.directory / "volumes")
        self._shared = shared
        self._spec = shared.spec
        self._running: dict[str, Running] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}

    def container(self, name: str) -> Running:
        """A container that has been started. KeyError if it has not."""
        return self._running[name]

    async def start(self) -> None:
        """Start everything; returns when the main containers run. Raises Failed."""
        for container in self._spec.init_containers:
            if container.is_sidecar:
                await self._begin(container)
                await self._until(container.name, lambda record: record.started)
            else:
                await self.initialise(container.name)
        for container in self._spec.containers:
            await self._begin(container)

    async def initialise(self, name: str) -> str:
        """Run an init container to its end, which a kubelet may do more than once, and return
        what it has printed. Raises Failed."""
        (container,) = (each for each in self._spec.init_containers if each.name == name)
        made = self._make(container)
        await made.start()
        if status := await made.wait():
            raise Failed(f"{name} ended with {status}: {made.log()}")
        return made.log()

    async def ready(self, within_s: float) -> None:
        """Wait until the pod's condition is Ready: every container is. Raises Failed."""
        try:
            async with asyncio.timeout(within_s):
                for name in self._lives:
                    await self._until(name, lambda record: record.ready)
        except TimeoutError:
            told = "\n".join(self._running[name].told() for name in self._lives)
            raise Failed(f"not ready within {within_s:g} s: {told}") from None

    @property
    def is_ready(self) -> bool:
        """The pod's condition Ready."""
        return all(self._running[name].record.ready for name in self._lives)

    async def stop(self) -> None:
        """End it within its grace period: the main containers first, then the sidecars."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._spec.termination_grace_period_seconds
        sidecars = [each.name for each in self._spec.init_containers if each.is_sidecar]
        mains = [each.name for each in self._spec.containers]
        for names in (mains, *([name] for name in reversed(sidecars))):
            living = [self._running[name] for name in names]
            await asyncio.gather(*(each.terminate(deadline - clock()) for each in living))

    async def close(self) -> None:
        """Kill what still runs. Raises what went wrong with keeping it running."""
        await asyncio.gather(*(self._running[name].kill() for name in self._lives))
        outcomes = await asyncio.gather(*self._lives.values(), return_exceptions=True)
        cgroup.remove(self._shared.uid)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _begin(self, container: Container) -> None:
        made = self._make(container)
        await made.start()
        self._lives[container.name] = asyncio.create_task(made.live())

    async def _until(self, name: str, holds: Callable[[Record], bool]) -> None:
        while not holds(self._running[name].record):
            if self._lives[name].done():
                await self._lives[name]
            await asyncio.sleep(_LOOK_S)

    def _make(self, container: Container) -> Running:
        bundle = self._shared.directory / container.name
        bundle.mkdir(exist_ok=True)
        binds = self.volumes.binds(container, bundle)
        self._running[container.name] = made = Running(container, self._shared, binds)
        return made


@contextlib.asynccontextmanager
async def running(
    template: PodTemplate,
    facts: PodFacts,
    image: Image,
    netns: str,
    directory: Path,
    slowness: float = 1.0,
) -> AsyncIterator[Pod]:
    """A pod that has not been started; at the end nothing of it runs.

    `directory` is the pod's own, and is made; what it leaves there are its logs. `slowness` is how
    much slower than a node of Kubernetes the machine may be: the timeouts of the probes are as many
    times longer.
    """
    directory.mkdir(parents=True)
    uid, crun = str(uuid.uuid4()), Crun(directory)
    pod = Pod(Shared(template.spec, facts, image, netns, directory, uid, crun, slowness))
    try:
        yield pod
    finally:
        await pod.close()
