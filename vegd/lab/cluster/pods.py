"""A pod from its binding to a node until nothing is left of it.

`PodRun` is the life of one pod. What it needs of the world around it is a `Host`: addresses and
interfaces, ConfigMaps and tokens, and the API server to tell of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from kube.errors import ApiError, KubeError, NotFound
from kube.objects import Object
from vegd.lab.cluster import volumes
from vegd.lab.cluster.cni import NotYet
from vegd.lab.cluster.containers import Running, Shared
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.host import Host
from vegd.lab.cluster.ipam import NoAddress
from vegd.lab.cluster.pod_status import ContainerView, PodView, Waiting, status
from vegd.lab.cluster.template import Container, PodSpec
from vegd.lab.errors import LabError

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_REFUSED_S = 2.0
"""After the API server has not taken something."""
_RENEW_S = 5.0
_MOST_WAIT_S = 3600.0


class PodRun:
    """One pod. `told` with every version of the object; `live` is to be run as a task."""

    def __init__(self, pod: Object, netns: str, host: Host) -> None:
        self.pod = pod
        self.netns = netns
        self._host = host
        self._spec = PodSpec(containers=())
        self._deleted = asyncio.Event()
        self._dirty = asyncio.Event()
        self._renew = asyncio.Event()
        self._running: dict[str, Running] = {}
        self._lives: list[asyncio.Task[None]] = []
        self._annotations: dict[str, str] = {}
        self._restarts = _restarts(pod)
        self._conditions: list[Object] = []
        self._view = PodView(
            self._spec, _old(pod).get("startTime") or now(), host.host_ip, gates={}
        )
        self._directory = host.directory / "pods" / pod["metadata"]["uid"]
        self._streams = host.streams / pod["metadata"]["namespace"] / pod["metadata"]["name"]

    @property
    def uid(self) -> str:
        """Of the pod."""
        return str(self.pod["metadata"]["uid"])

    def told(self, pod: Object) -> None:
        """There is a new version of the object."""
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()
        self._dirty.set()
        self.renew()

    def renew(self) -> None:
        """Something that volumes are made of may have changed."""
        self._renew.set()

    async def live(self) -> None:
        """Run the pod until it is deleted, and then delete it for good."""
        self._read()
        reporting = asyncio.create_task(self._report())
        reporting.add_done_callback(_complain)
        try:
            await self._until_deleted()
            await self._end(self._grace_s())
            await self._clean()
            reporting.cancel()
            await self._insist(lambda: self._host.remove(self.pod))
        finally:
            reporting.cancel()

    async def vanish(self) -> None:
        """The object is gone already: end everything at once."""
        await self._end(0.0)
        await self._clean()

    async def expel(self) -> None:
        """The node is gone for good: end everything at once, and delete the object."""
        await self.vanish()
        await self._insist(lambda: self._host.remove(self.pod))

    async def crash(self) -> None:
        """The node has lost its power: nothing of it runs, and nobody is told."""
        await self._end(0.0)
        await self._host.drop(self.netns)
        await self._forget()

    async def _until_deleted(self) -> None:
        running = asyncio.create_task(self._run())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await asyncio.wait({running, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            await deleted
        finally:
            running.cancel()
            deleted.cancel()
            await asyncio.gather(running, deleted, return_exceptions=True)

    async def _run(self) -> None:
        """Start everything, then keep the volumes up to date."""
        if self._view.failure is not None:
            return
        await self._plug()
        shared = self._share()
        await self._fill(shared)
        renewing = asyncio.create_task(self._keep_filled(shared))
        try:
            await self._initialise(shared)
            for container in self._spec.containers:
                self._begin(self._running[container.name])
            await asyncio.gather(renewing, *self._lives)
        finally:
            renewing.cancel()

    def _read(self) -> None:
        """What the pod asks for, if that can be carried out."""
        try:
            self._spec = msgspec.convert(self.pod["spec"], PodSpec)
        except msgspec.ValidationError as exc:
            log.warning("%s: %s", self.uid, exc)
            self._view.failure = ("Unsupported", f"the lab's nodes cannot do this: {exc}")
            return
        self._view.spec = self._spec
        self._view.init, self._view.main = (
            [
                ContainerView(
                    each.name, each.image, self._first(), restarts=self._restarts.get(each.name, 0)
                )
                for each in containers
            ]
            for containers in (self._spec.init_containers, self._spec.containers)
        )

    def _first(self) -> Waiting:
        """The state of a container before its first process."""
        return Waiting("PodInitializing" if self._spec.init_containers else "ContainerCreating")

    async def _plug(self) -> None:
        """Interfaces and addresses, as soon as all that they need is there."""
        told = ""
        while True:
            try:
                self._annotations = dict(await self._host.plug(self.pod, self.netns))
                await self._host.annotate(self.pod, self._annotations)
            except (NotYet, NoAddress, KubeError, LabError) as exc:
                if str(exc) != told:
                    told = str(exc)
                    log.warning("%s: %s", self._name(), told)
                    with contextlib.suppress(KubeError):
                        await self._host.warn(self.pod, "FailedCreatePodSandBox", told)
                await asyncio.sleep(_RETRY_S)
            else:
                break
        ips = self._annotations["ovn.kubernetes.io/ip_address"]
        self._view.ips = tuple(ips.split(","))
        self._dirty.set()

    def _share(self) -> Shared:
        self._streams.mkdir(parents=True, exist_ok=True)
        place = volumes.Volumes(self._spec, self._directory / "volumes")
        shared = Shared(
            spec=self._spec,
            facts=self._facts(),
            netns=self.netns,
            directory=self._directory,
            image=self._host.image,
            streams=self._streams,
            volumes=place,
            changed=self._dirty.set,
        )
        for container in (*self._spec.init_containers, *self._spec.containers):
            made = Running(container, shared, self._restarts.get(container.name, 0))
            self._running[container.name] = made
        self._view.init = [self._running[each.name].view for each in self._spec.init_containers]
        self._view.main = [self._running[each.name].view for each in self._spec.containers]
        for each in (*self._view.init, *self._view.main):
            each.state = self._first()
        return shared

    async def _fill(self, shared: Shared) -> None:
        """The volumes and the variables, as soon as all that they need is there."""
        told: tuple[str, ...] = ()
        while True:
            try:
                missing = await shared.volumes.refresh(self._facts(), self._host)
                shared.keys, unknown = volumes.keys(self._spec, shared.facts, self._host)
                missing += unknown
            except KubeError as exc:
                missing = (str(exc),)
            if not missing:
                return
            if missing != told:
                told = missing
                with contextlib.suppress(KubeError):
                    await self._host.warn(self.pod, "FailedMount", "; ".join(missing))
            await self._wait_for_news(_REFUSED_S)

    async def _keep_filled(self, shared: Shared) -> None:
        while True:
            await self._wait_for_news(min(max(shared.volumes.due_s(), _RENEW_S), _MOST_WAIT_S))
            shared.facts = self._facts()
            try:
                await shared.volumes.refresh(shared.facts, self._host)
            except KubeError as exc:
                log.warning("%s: volumes: %s", self._name(), exc)
                await asyncio.sleep(_RENEW_S)
                self._renew.set()

    async def _wait_for_news(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._renew.wait()
        self._renew.clear()

    async def _initialise(self, shared: Shared) -> None:
        """The init containers, one after the other."""
        for container in self._spec.init_containers:
            made = self._running[container.name]
            if container.is_sidecar:
                self._begin(made)
                await made.has_started.wait()
            else:
                await self._through(container, made)
        for each in self._view.main:
            each.state = Waiting("ContainerCreating")
        self._dirty.set()
        shared.changed()

    async def _through(self, container: Container, made: Running) -> None:
        """One init container, again and again until it has succeeded."""
        backoff_s = 0.0
        while await made.once():
            if self._spec.restart_policy == "Never":
                await asyncio.Event().wait()
            log.warning("%s: init container %s has failed", self._name(), container.name)
            await made.hold_back(backoff_s)
            backoff_s = min(max(10.0, 2 * backoff_s), 300.0)
        made.view.ready = True

    def _begin(self, made: Running) -> None:
        self._lives.append(asyncio.create_task(made.live()))

    async def _end(self, grace_s: float) -> None:
        """End the main containers, then the sidecars, the last one first."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + grace_s
        sidecars = {each.name for each in self._spec.init_containers if each.is_sidecar}
        others = [each for name, each in self._running.items() if name not in sidecars]
        last = [self._running[name] for name in reversed(list(self._running)) if name in sidecars]
        for group in (others, *([each] for each in last)):
            left_s = deadline - clock()
            await asyncio.gather(
                *(each.terminate(left_s) if grace_s else each.kill() for each in group)
            )
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    async def _clean(self) -> None:
        await self._host.unplug(self.pod, self.netns)
        await self._forget()

    async def _forget(self) -> None:
        for place in (self._directory, self._streams):
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _grace_s(self) -> float:
        """Of the deletion, at least a moment."""
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        return float(self._spec.termination_grace_period_seconds if given is None else given)

    # What is told of it.

    async def _report(self) -> None:
        """Write the status whenever it is another one, or somebody else has written over it, as
        who looks after nodes does with the pods of one that is not heard of."""
        written: Object = {}
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._view.gates = self._gates()
            told = status(
                self._view, self._conditions or _old(self.pod).get("conditions", ()), now()
            )
            self._conditions = told["conditions"]
            if told == written and _words(told).items() <= _words(_old(self.pod)).items():
                continue
            try:
                await self._host.report(self.pod, told)
                written = told
            except NotFound:
                continue
            except KubeError as exc:
                log.warning("%s: status: %s", self._name(), exc)
                await asyncio.sleep(_REFUSED_S)
                self._dirty.set()

    def _gates(self) -> dict[str, bool]:
        names = [each.condition_type for each in self._spec.readiness_gates]
        found = _words(_old(self.pod))
        return {name: found.get(name) == "True" for name in names}

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it until the API server has answered."""
        while True:
            try:
                await act()
            except ApiError as exc:
                if not exc.is_temporary:
                    return  # it is gone, or another one has its name
            except KubeError as exc:
                log.warning("%s: %s", self._name(), exc)
            else:
                return
            await asyncio.sleep(_REFUSED_S)

    def _facts(self) -> PodFacts:
        metadata = self.pod["metadata"]
        return PodFacts(
            name=metadata["name"],
            node=self._spec.node_name,
            ips=self._view.ips,
            namespace=metadata["namespace"],
            annotations={**metadata.get("annotations", {}), **self._annotations},
            labels=metadata.get("labels", {}),
            uid=metadata["uid"],
            service_account=self._spec.service_account_name or "default",
            host_ip=self._host.host_ip,
        )

    def _name(self) -> str:
        metadata = self.pod["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"


def _words(status: Object) -> dict[str, str]:
    """The status of each condition."""
    return {each["type"]: each["status"] for each in status.get("conditions", ())}


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.error("reporting: %r", problem, exc_info=problem)


def _old(pod: Object) -> Object:
    found: Object = pod.get("status") or {}
    return found


def _restarts(pod: Object) -> dict[str, int]:
    """How often the containers of a pod were started again; one more if they ran when the node
    was lost."""
    old = _old(pod)
    told = [*old.get("initContainerStatuses", ()), *old.get("containerStatuses", ())]
    return {
        each["name"]: each.get("restartCount", 0) + bool(each.get("containerID")) for each in told
    }


def now() -> str:
    """The time, as objects of the API server have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
