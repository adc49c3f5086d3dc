"""The objects of the cluster that a controller follows, and what they look like to decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from kube import definitions
from kube.client import Client
from kube.identity import Identity
from kube.informer import Change, Mirror
from kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Object,
    Query,
    Resource,
)
from kube.pods import Pod
from kube.resolve import World
from kube.schema import IPPool, Named, Subnet, Vpc
from vegd.cluster.following import Follower, all_synced

T = TypeVar("T")

Told = Callable[[Resource, Change[Any]], None]


class _Values(Mapping[str, T]):
    """The values of a mirror, by name."""

    def __init__(self, mirror: Mirror[T]) -> None:
        self._items = mirror.items

    def __getitem__(self, name: str) -> T:
        return self._items[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Copies:
    """Followers of everything; each change is told with the resource that it is of."""

    def __init__(
        self, client: Client, identity: Identity, told: Told, *, watches: bool = True
    ) -> None:
        """`watches`: whether there may be watchers in the pods, which have accounts and roles."""
        self._client = client
        self._told = told
        self.resource = definitions.gateways(identity.group)
        ours = f"app={identity.app}"
        # A gateway is parsed when it is worked on: one that is malformed is told so.
        self.gateways = self._follow(self.resource, Object)
        self.vpcs = self._follow(definitions.VPCS, Vpc)
        self.subnets = self._follow(definitions.SUBNETS, Subnet)
        self.ip_pools = self._follow(definitions.IP_POOLS, IPPool)
        self.attachments = self._follow(definitions.ATTACHMENTS, Named)
        self.namespaces = self._follow(NAMESPACES, Named)
        self.nodes = self._follow(NODES, Named)
        self.pods = self._follow(PODS, Pod)
        rights = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS) if watches else ()
        self.owned: dict[Resource, Follower[Object]] = {
            each: self._follow(each, Object, ours) for each in (CONFIG_MAPS, DEPLOYMENTS, *rights)
        }
        """What is made of gateways, by kind; budgets also of others."""
        self.owned[DISRUPTION_BUDGETS] = self._follow(DISRUPTION_BUDGETS, Object)

    def _follow(self, resource: Resource, kind: type[T], labels: str = "") -> Follower[T]:
        told = partial(self._told, resource)
        return Follower(self._client, Query(resource, labels=labels), kind, told)

    @property
    def followers(self) -> tuple[Follower[Any], ...]:
        """All of them."""
        alone = (each for each in vars(self).values() if isinstance(each, Follower))
        return (*alone, *self.owned.values())

    @property
    def troubles(self) -> tuple[str, ...]:
        """Why what is seen may be old; empty if it is not."""
        return tuple(each.trouble for each in self.followers if each.trouble)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            for each in self.followers:
                tasks.create_task(each.run())

    async def complete(self) -> None:
        """Wait until everything there is has been told."""
        await all_synced(*self.followers)

    def world(self) -> World:
        """What gateways name, as it is now."""
        return World(
            vpcs=_Values(self.vpcs.mirror),
            subnets=_Values(self.subnets.mirror),
            ip_pools=_Values(self.ip_pools.mirror),
            networks=self.attachments.mirror.items.keys(),
        )
