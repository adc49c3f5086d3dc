"""The part of Kube-OVN's controller that a VPC needs, in the lab: Vpc and Subnet objects become
routers and switches, and get the status that Kube-OVN writes.

Static things only: ports of pods and addresses are the kubelet's of the lab, BFD ports and routes
to gateways the controller's. The join network, by which the default VPC of Kube-OVN reaches its
nodes, is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from kube.client import Client
from kube.definitions import SUBNETS, VPCS
from kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kube.objects import Object, Query, Resource
from kube.workload import covers
from vegd.backoff import Backoff
from vegd.cluster.following import Follower, all_synced
from vegd.lab.cluster import subnets
from vegd.lab.cluster.logical import DEFAULT_VPC
from vegd.lab.cluster.network import Network
from vegd.lab.cluster.subnets import DEFAULT_SUBNET, Shape
from vegd.lab.errors import LabError

log = logging.getLogger(__name__)

_MANAGER = "kube-ovn-controller"
_LOOK_S = 5.0
"""How often addresses in use are counted, and BFD ports looked for."""


async def run(client: Client, network: Network) -> None:
    """Follow for ever. The definitions of Vpc and Subnet are there already.

    When the API server or OVN's databases are away, it goes on when they are back.
    """
    await _KubeOvn(client, network).run()


class _KubeOvn:
    def __init__(self, client: Client, network: Network) -> None:
        self._client = client
        self._network = network
        self._changed = asyncio.Event()
        self._vpcs = self._follow(VPCS)
        self._subnets = self._follow(SUBNETS)
        self._made: dict[str, Shape] = {}
        """What the network has, as far as it was made here."""
        self._backoff = Backoff(0.5, 10.0)

    def _follow(self, resource: Resource) -> Follower[Object]:
        return Follower(self._client, Query(resource), Object, lambda _: self._changed.set())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in (self._vpcs, self._subnets):
                tasks.create_task(each.run())
            tasks.create_task(self._work())

    async def _work(self) -> None:
        await all_synced(self._vpcs, self._subnets)
        while True:
            self._changed.clear()
            try:
                await self._make_defaults()
                await self._converge()
            except (KubeError, LabError) as problem:
                wait_s = self._backoff.wait_s()
                log.warning("%s; again in %.1f s", problem, wait_s)
                await asyncio.sleep(wait_s)
                continue
            self._backoff.reset()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK_S)

    async def _make_defaults(self) -> None:
        """Kube-OVN makes these when it starts."""
        spec = subnets.default_subnet()
        for follower, name, value in (
            (self._vpcs, DEFAULT_VPC, {}),
            (self._subnets, DEFAULT_SUBNET, spec),
        ):
            if name not in follower.mirror.items:
                resource = follower.resource
                named: Object = {"apiVersion": resource.api_version, "kind": resource.kind}
                body = named | {"metadata": {"name": name}, "spec": value}
                with contextlib.suppress(AlreadyExists):
                    await self._client.create(resource, body)

    async def _converge(self) -> None:
        vpcs = {name: each.value for name, each in self._vpcs.mirror.items.items()}
        given = {name: each.value for name, each in self._subnets.mirror.items.items()}
        specs: dict[str, Object] = {}
        shapes: dict[str, Shape] = {}
        for name, value in given.items():
            try:
                spec = subnets.completed(value.get("spec") or {})
                shapes[name] = subnets.shape(spec)
            except ValueError as problem:
                await self._say(SUBNETS, value, subnets.refused(str(problem)))
                continue
            specs[name] = spec
            if spec != value.get("spec"):
                await self._replace(value | {"spec": spec})
        wanted = {name: each for name, each in shapes.items() if not each.vpc or each.vpc in vpcs}
        used = await asyncio.to_thread(self._shape, set(vpcs), wanted)
        for name, shape in shapes.items():
            missing = f"spec.vpc: there is no Vpc {shape.vpc}; create it or name another"
            there = subnets.status(specs[name], used.get(name, 0) if shape.vpc else None)
            told = there if name in wanted else subnets.refused(missing)
            await self._say(SUBNETS, given[name], told)
        for name, value in vpcs.items():
            spec = value.get("spec") or {}
            await self._say(VPCS, value, subnets.vpc_status(name, spec, specs.items()))

    def _shape(self, vpcs: set[str], wanted: dict[str, Shape]) -> dict[str, int]:
        """Make the network so; how many pods each subnet has."""
        network = self._network
        there = network.subnets()
        inside = {name for name, shape in wanted.items() if shape.vpc}
        for name in there.keys() - inside:
            network.remove_subnet(name)
            self._made.pop(name, None)
        routers = network.vpcs()
        for name in routers - vpcs:
            network.remove_vpc(name)
        for name in vpcs - routers:
            network.ensure_vpc(name)
        for name, shape in wanted.items():
            if self._made.get(name) == shape and (name in there or not shape.vpc):
                continue
            if shape.vpc:
                network.ensure_subnet(shape.vpc, name, shape.cidrs, shape.gateways)
            else:
                network.ensure_outside(subnets.with_lengths(shape))
            self._made[name] = shape
        network.place_bfd_ports()
        return there

    async def _replace(self, value: Object) -> None:
        """Write a specification that others write, too; one that has changed is looked at anew."""
        with contextlib.suppress(Conflict, NotFound):
            await self._client.replace(SUBNETS, value)

    async def _say(self, resource: Resource, value: Object, status: Object) -> None:
        if covers(value, {"status": status}):
            return
        metadata = {"name": value["metadata"]["name"], "uid": value["metadata"]["uid"]}
        body = {"metadata": metadata, "status": status}
        with contextlib.suppress(Conflict, NotFound):
            await self._client.apply(resource, body, manager=_MANAGER, subresource="status")
