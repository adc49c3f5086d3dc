"""The stand-in for the kubelets, CNIs and Kube-OVN's controller of a lab, for all its nodes.

``python -m vegd.lab.cluster.kubelet`` follows the pods that are bound to its nodes and makes them
run: `PodRun` is the life of each. A node for which there is a file in the folder `stopped` has no
power: its pods are gone at once, and nobody tells the API server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bfd import logs
from kube.client import Client
from kube.definitions import ATTACHMENTS, IP_POOLS, SUBNETS, VPCS
from kube.errors import KubeError, NotFound
from kube.informer import Change, Deleted, Upserted
from kube.objects import CONFIG_MAPS, NODES, PODS, Object, Query, Resource
from vegd import __version__
from vegd.cluster.following import Follower, all_synced
from vegd.lab.cluster import cni, ipam, kube_ovn, launch, nodes
from vegd.lab.cluster.api import Api
from vegd.lab.cluster.logical import DEFAULT_VPC
from vegd.lab.cluster.network import Network
from vegd.lab.cluster.plugging import Plugger
from vegd.lab.cluster.pods import PodRun
from vegd.lab.ovn_programs import OvnPrograms

log = logging.getLogger(__name__)

Json = dict[str, Any]

_HEARTBEAT_S = 3.0
_LOOK_S = 0.3
_OVER = ("Succeeded", "Failed")
STOPPED = "stopped"
"""Folder of the files that name the nodes without power."""


class LabHost:
    """The `Host` of every pod."""

    host_ip = nodes.ADDRESS

    def __init__(self, directory: Path, api: Api, plugger: Plugger) -> None:
        self.directory = directory
        self.image = directory / "image"
        self.streams = directory / "streams"
        self.plug, self.unplug, self.drop = plugger.plug, plugger.unplug, plugger.drop
        self.config_map, self.token = api.config_map, api.token
        self.annotate, self.report = api.annotate, api.report
        self.warn, self.remove = api.warn, api.remove


class Kubelet:
    """Everything that follows the API server."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        directory: Path,
        network: Network,
        ports: Mapping[str, int],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._directory = directory
        self._ports = ports
        """Of exec and logs, by the node's name."""
        self._objects = cni.Objects()
        self._runs: dict[str, PodRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._stopped: set[str] = set()
        self._is_complete = False
        self._pods = self._follow(PODS, self._pod_changed)
        self._config_maps = self._follow(CONFIG_MAPS, self._config_map_changed)
        self._followers = [
            self._config_maps,
            self._follow(SUBNETS, self._subnet_changed),
            self._follow(VPCS, self._vpc_changed),
            self._follow(IP_POOLS, self._pool_changed),
            self._follow(ATTACHMENTS, self._attachment_changed),
        ]
        self._nodes = self._follow(NODES, self._node_changed)
        self._plugger = Plugger(network, self._objects)
        self._host = LabHost(directory, Api(client, self._config_maps.mirror), self._plugger)

    def _follow(
        self, resource: Resource, on_change: Callable[[Change[Json]], None]
    ) -> Follower[Json]:
        return Follower(self._client, Query(resource), dict, on_change)

    async def run(self) -> None:
        """Until it is cancelled."""
        launch.make_image(self._host.image)
        followers = [*self._followers, self._pods, self._nodes]
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.run())
            for node in self._ports:
                group.create_task(self._be_alive(node))
            await all_synced(*followers)
            self._begin()
            group.create_task(self._watch_power())

    # Nodes.

    async def _be_alive(self, node: str) -> None:
        """Register a node and say that it is alive, for as long as it has power."""
        is_registered = False
        while True:
            try:
                if not self._has_power(node):
                    pass
                elif not is_registered:
                    await nodes.register(self._client, node)
                    is_registered = True
                if is_registered and self._has_power(node):
                    await nodes.renew(self._client, node, self._ports[node], f"v{__version__}")
            except NotFound:
                log.warning("node %s has been deleted", node)
            except KubeError as exc:
                log.warning("node %s: %s", node, exc)
            await asyncio.sleep(_HEARTBEAT_S)

    def _has_power(self, node: str) -> bool:
        return not (self._directory / STOPPED / node).exists()

    async def _watch_power(self) -> None:
        """Let the pods of a node go when it loses its power, and begin them when it is back."""
        while True:
            stopped = {node for node in self._ports if not self._has_power(node)}
            for key, run in list(self._runs.items()):
                if run.pod["spec"]["nodeName"] in stopped:
                    self._let_go(key, run.crash)
            if self._stopped - stopped:
                await asyncio.gather(*self._ending)
                self._stopped = stopped
                self._begin()
            self._stopped = stopped
            await asyncio.sleep(_LOOK_S)

    def _node_changed(self, change: Change[Json]) -> None:
        """A node that is deleted is gone with all that runs there."""
        if not isinstance(change, Deleted):
            return
        name = change.item.metadata.name
        for key, run in list(self._runs.items()):
            if run.pod["spec"]["nodeName"] == name:
                self._let_go(key, run.expel)

    # Pods.

    def _pod_changed(self, change: Change[Json]) -> None:
        if not self._is_complete:
            return
        if isinstance(change, Deleted):
            self._gone(change.item.value)
        elif isinstance(change, Upserted):
            self._take(change.item.value)

    def _begin(self) -> None:
        """Every pod of our nodes that is there, once everything is known."""
        bound = [
            item.value for item in self._pods.mirror.items.values() if self._is_ours(item.value)
        ]
        for pod in bound:
            self._plugger.hold(pod)
        self._is_complete = True
        for pod in bound:
            self._take(pod)

    def _is_ours(self, pod: Object) -> bool:
        return pod["spec"].get("nodeName") in self._ports

    def _take(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if (run := self._runs.get(uid)) is not None:
            run.told(pod)
            return
        if not self._is_ours(pod) or pod["spec"]["nodeName"] in self._stopped:
            return
        if not self._has_power(pod["spec"]["nodeName"]):
            return
        is_over = (pod.get("status") or {}).get("phase") in _OVER
        if is_over and not pod["metadata"].get("deletionTimestamp"):
            return
        run = PodRun(pod, self._netns(uid), self._host)
        run.told(pod)
        self._runs[uid] = run
        task = asyncio.create_task(run.live())
        self._tasks[uid] = task
        task.add_done_callback(lambda task: self._ended(uid, task))

    def _gone(self, pod: Object) -> None:
        """The object is no longer there."""
        uid = pod["metadata"]["uid"]
        if (run := self._runs.get(uid)) is not None:
            self._let_go(uid, run.vanish)
        elif self._is_ours(pod):
            self._spawn(self._plugger.unplug(pod, self._netns(uid)))

    def _let_go(self, uid: str, how: Callable[[], Any]) -> None:
        """End a pod's life in another way than by its deletion."""
        task = self._tasks.pop(uid)
        self._runs.pop(uid)
        task.cancel()

        async def end() -> None:
            await asyncio.gather(task, return_exceptions=True)
            await how()

        self._spawn(end())

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(uid) is task:
            self._tasks.pop(uid)
            self._runs.pop(uid, None)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("pod %s: %r", uid, problem, exc_info=problem)

    def _netns(self, uid: str) -> str:
        return f"{self._prefix}-pod-{uid.partition('-')[0]}"

    # What pods are made of.

    def _config_map_changed(self, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            namespace = change.item.metadata.namespace
            for run in self._runs.values():
                if run.pod["metadata"]["namespace"] == namespace:
                    run.renew()

    def _subnet_changed(self, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            name = change.item.metadata.name
            try:
                found = ipam.Subnet.parse(change.item.value, DEFAULT_VPC)
            except ValueError as exc:
                log.warning("Subnet %s: %s", name, exc)
            else:
                self._objects.subnets[name] = found
        elif isinstance(change, Deleted):
            self._objects.subnets.pop(change.item.metadata.name, None)

    def _vpc_changed(self, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            name = change.item.metadata.name
            status = change.item.value.get("status") or {}
            self._objects.routers[name] = status.get("router") or name

    def _pool_changed(self, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            spec = change.item.value.get("spec") or {}
            self._objects.pools[change.item.metadata.name] = tuple(spec.get("ips") or ())
        elif isinstance(change, Deleted):
            self._objects.pools.pop(change.item.metadata.name, None)

    def _attachment_changed(self, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            spec = change.item.value.get("spec") or {}
            self._objects.attachments[change.item.key] = spec.get("config") or ""
        elif isinstance(change, Deleted):
            self._objects.attachments.pop(change.item.key, None)


def main(arguments: Sequence[str]) -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m vegd.lab.cluster.kubelet")
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--ovn", nargs=3, metavar=("NAME", "BIN", "SHARE"), required=True)
    parser.add_argument("--node", action="append", metavar="NAME[=PORT]", required=True)
    options = parser.parse_args(arguments)
    logs.configure("info", "text")
    pairs = (each.partition("=") for each in options.node)
    ports = {name: int(port or 0) for name, _, port in pairs}
    name, binaries, share = options.ovn
    programs = OvnPrograms(name, Path(binaries) if binaries else None, Path(share))
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(options, ports, programs))


async def _run(
    options: argparse.Namespace, ports: Mapping[str, int], programs: OvnPrograms
) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    network = Network(options.prefix, options.directory / "network", programs)
    async with await Client.connect(options.kubeconfig, agent="kubelet") as client:
        kubelet = Kubelet(client, options.prefix, options.directory / "kubelet", network, ports)
        async with asyncio.TaskGroup() as group:
            group.create_task(kube_ovn.run(client, network))
            group.create_task(kubelet.run())


if __name__ == "__main__":
    main(sys.argv[1:])
