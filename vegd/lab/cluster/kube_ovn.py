"""The part of Kube-OVN's controller that a VPC needs: routers and switches in OVN, and status."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from kube.client import Client
from kube.definitions import SUBNETS, VPCS
from kube.errors import KubeError
from kube.informer import Change, Upserted
from kube.objects import Query
from vegd.cluster.following import Follower
from vegd.lab.cluster import cni, ipam
from vegd.lab.cluster.network import Network
from vegd.lab.errors import LabError

log = logging.getLogger(__name__)

Json = dict[str, Any]

_MANAGER = "kube-ovn"


class KubeOvn:
    """Follows the Vpcs and Subnets of a cluster."""

    def __init__(self, client: Client, network: Network) -> None:
        self._client = client
        self._network = network
        self._news: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()

    async def run(self) -> None:
        """Until it is cancelled."""
        followers = (
            Follower(self._client, Query(VPCS), dict, lambda change: self._take("vpc", change)),
            Follower(self._client, Query(SUBNETS), dict, lambda change: self._take("", change)),
        )
        async with asyncio.TaskGroup() as group:
            for each in followers:
                group.create_task(each.run())
            while True:
                kind, value = await self._news.get()
                try:
                    await (self._vpc(value) if kind else self._subnet(value))
                except (LabError, KubeError, ValueError) as exc:
                    log.warning("%s: %s", value["metadata"]["name"], exc)

    def _take(self, kind: str, change: Change[Json]) -> None:
        if isinstance(change, Upserted):
            self._news.put_nowait((kind, change.item.value))

    async def _vpc(self, value: Json) -> None:
        name = value["metadata"]["name"]
        await asyncio.to_thread(self._network.ensure_vpc, name)
        if (value.get("status") or {}).get("router") == name:
            return
        status: Json = {"router": name, "standby": True}
        if name == cni.DEFAULT_VPC:
            status["defaultLogicalSwitch"] = cni.DEFAULT_SUBNET
        body = {"metadata": {"name": name}, "status": status}
        await self._client.apply(VPCS, body, manager=_MANAGER, subresource="status")

    async def _subnet(self, value: Json) -> None:
        subnet = ipam.Subnet.parse(value, cni.DEFAULT_VPC)
        if not subnet.vpc:
            return
        await asyncio.to_thread(self._network.ensure_vpc, subnet.vpc)
        await asyncio.to_thread(
            self._network.ensure_subnet,
            subnet.vpc,
            subnet.name,
            list(map(str, subnet.networks)),
            subnet.gateways,
        )
