"""One container of a pod: its processes, one after the other, each with its probes."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vegd.lab.cluster import launch, probes
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.pod_status import ContainerView, Runs, Terminated, Waiting
from vegd.lab.cluster.template import Container, HttpGet, PodSpec, Probe, TcpSocket
from vegd.lab.cluster.volumes import Volumes

_LEAST_GRACE_S = 2.0
"""A kubelet gives no container less between SIGTERM and SIGKILL, whatever the grace period."""
BACKOFF_S = 10.0
_MOST_BACKOFF_S = 300.0
_WELL_S = 600.0
"""What has run for so long is started again at once."""
_STARTS_S = 60.0
_LOOK_S = 0.02
_MESSAGE_LINES = 5
_CREATING = Waiting("ContainerCreating")


@dataclass(slots=True)
class Shared:
    """What the containers of a pod have in common."""

    spec: PodSpec
    facts: PodFacts
    netns: str
    directory: Path
    """The pod's own."""
    image: Path
    streams: Path
    """Where it is said how to get into the containers (of this pod)."""
    volumes: Volumes
    changed: Callable[[], None]
    """Told whenever the state of a container is another one."""
    keys: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Values of ConfigMaps, by name and key."""


class Running:
    """A container that runs, has run or will."""

    def __init__(self, container: Container, shared: Shared, restarts: int = 0) -> None:
        self.container = container
        self.view = ContainerView(container.name, container.image, _CREATING, restarts=restarts)
        self.has_started = asyncio.Event()
        """Set once it has started, by its startup probe."""
        self.log = shared.streams / f"{container.name}.log"
        self._shared = shared
        self._place = launch.Place(
            shared.netns,
            shared.directory / "containers" / container.name,
            shared.image,
            shared.directory / "shm",
        )
        self._process: asyncio.subprocess.Process | None = None
        self._pid = 0
        self._stopping = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self._attempts = 0

    async def once(self) -> int:
        """Run it to its end; returns its exit status."""
        await self._start()
        return await self._wait()

    async def live(self) -> None:
        """Keep it running as the pod's restart policy says, until `terminate` is called."""
        backoff_s = 0.0
        while True:
            begun = time.monotonic()
            code = await self.once()
            if self._stopping.is_set() or not self._again(code):
                return
            if time.monotonic() - begun > _WELL_S:
                backoff_s = 0.0
            await self.hold_back(backoff_s)
            if self._stopping.is_set():
                return
            backoff_s = min(max(BACKOFF_S, 2 * backoff_s), _MOST_BACKOFF_S)

    async def hold_back(self, seconds: float) -> None:
        """Wait before the next process, or until the container is to end."""
        if seconds:
            reason = f"back-off {seconds:.0f}s restarting failed container={self.view.name}"
            self._show(Waiting("CrashLoopBackOff", reason))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        self.view.restarts += 1

    async def terminate(self, grace_s: float) -> None:
        """End it for good: SIGTERM, and SIGKILL when the grace is over."""
        self._stopping.set()
        await self._end(max(grace_s, _LEAST_GRACE_S))

    async def kill(self) -> None:
        """End it for good, at once."""
        self._stopping.set()
        await self._end(0.0)

    def _again(self, code: int) -> bool:
        policy = "Always" if self.container.is_sidecar else self._shared.spec.restart_policy
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _start(self) -> None:
        """Start a process; returns when it is the container's command."""
        shared, place, container = self._shared, self._place, self.container
        self._attempts += 1
        place.directory.mkdir(parents=True, exist_ok=True)
        place.pid_file.unlink(missing_ok=True)
        variables = launch.environment(container, shared.facts, shared.keys)
        mounts = shared.volumes.mounts(container)
        text = launch.script(container, shared.facts, mounts, place, variables)
        place.script.write_text(text)
        if self.log.exists():
            self.log.rename(self.log.with_suffix(".previous"))
        with self.log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *launch.command(place),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                start_new_session=True,
            )
        self._pid = await self._first_process()
        self._tell_streams(variables)
        self.view.started = container.startup_probe is None
        if self.view.started:
            self.has_started.set()
        self._show(Runs(_now(), f"vegd://{self._pid}-{time.time_ns()}"))
        if self._pid:
            self._probing = asyncio.create_task(self._probe())

    async def _first_process(self) -> int:
        """The process id of the container's first process; 0 if it has ended before."""
        process = self._process
        deadline = time.monotonic() + _STARTS_S
        while process is not None and process.returncode is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if text := self._place.pid_file.read_text():
                    return int(text)
            await asyncio.sleep(_LOOK_S)
        return 0

    def _tell_streams(self, variables: Mapping[str, str]) -> None:
        enter = launch.enter(self.container, self._pid)
        told = {"pid": self._pid, "enter": enter, "env": dict(variables), "log": str(self.log)}
        path = self._shared.streams / f"{self.view.name}.json"
        path.with_suffix(".part").write_text(json.dumps(told))
        path.with_suffix(".part").rename(path)

    async def _wait(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        process = self._process
        if process is None:
            raise RuntimeError("not started")
        status = await process.wait()
        self._process = None
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        code = status if status >= 0 else 128 - status
        ran = self.view.state if isinstance(self.view.state, Runs) else Runs(_now(), "")
        self.view.ready, self.view.started = False, False
        self._show(Terminated(code, ran.since, _now(), ran.container_id, self._last_words(code)))
        return code

    def _last_words(self, code: int) -> str:
        if code == 0:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_MESSAGE_LINES:])

    def _show(self, state: Waiting | Runs | Terminated) -> None:
        if isinstance(self.view.state, Terminated):
            self.view.last = self.view.state
        self.view.state = state
        self._shared.changed()

    async def _end(self, grace_s: float) -> None:
        process = self._process
        if process is None:
            return
        if grace_s:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.wait()
        if process.returncode is None:
            self._signal(signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._pid and self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    async def _probe(self) -> None:
        """Follow the probes of the process that runs; end it when one condemns it."""
        record = probes.Record()
        watching = asyncio.create_task(probes.watch(self.container, record, self._ask))
        try:
            while not watching.done():
                if (record.started, record.ready) != (self.view.started, self.view.ready):
                    self.view.started, self.view.ready = record.started, record.ready
                    if record.started:
                        self.has_started.set()
                    self._shared.changed()
                await asyncio.wait({watching}, timeout=_LOOK_S * 5)
        finally:
            watching.cancel()
        self._probing = None
        await self._end(self._shared.spec.termination_grace_period_seconds)

    async def _ask(self, probe: Probe) -> bool:
        if probe.exec is not None:
            return await self._execute(probe.exec.command, probe.timeout_seconds)
        if probe.http_get is not None:
            return await asyncio.to_thread(self._page, probe.http_get, probe.timeout_seconds)
        if probe.tcp_socket is not None:
            return await asyncio.to_thread(self._accepts, probe.tcp_socket, probe.timeout_seconds)
        return True

    async def _execute(self, command: tuple[str, ...], timeout_s: float) -> bool:
        """Run a command in the container; whether it ended well, and in time."""
        shared = self._shared
        variables = launch.environment(self.container, shared.facts, shared.keys)
        child = await asyncio.create_subprocess_exec(
            *launch.enter(self.container, self._pid),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=variables,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await child.wait() == 0
        except TimeoutError:
            return False
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await child.wait()

    def _page(self, request: HttpGet, timeout_s: float) -> bool:
        address = request.host or self._shared.facts.ips[0]
        return probes.page(
            self._shared.netns, address, self._port(request.port), request, timeout_s
        )

    def _accepts(self, request: TcpSocket, timeout_s: float) -> bool:
        address = request.host or self._shared.facts.ips[0]
        return probes.accepts(self._shared.netns, address, self._port(request.port), timeout_s)

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        named = {each.name: each.container_port for each in self.container.ports}
        return named[port]


def _now() -> str:
    """The time, as objects of the API server have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
