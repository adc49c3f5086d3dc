"""What the plugin reads of a cluster, as a `kube.scene.Scene`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from kube import definitions
from kube.client import Client
from kube.errors import Forbidden, NotFound
from kube.events import EVENTS
from kube.identity import Identity
from kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    Object,
    Query,
    Resource,
)
from kube.pods import Pod
from kube.resolve import World
from kube.scene import Scene
from kube.schema import IPPool, Named, Subnet, Vpc, parse
from kube.takes import Client as PodClient

T = TypeVar("T")

_PORT_GROUP = "ovn.kubernetes.io/port_name"


async def gateways_alone(client: Client, identity: Identity, namespace: str) -> Scene:
    """Gateways and their pods of a namespace, or of all if it is empty: what a person with rights
    to one namespace may read."""
    ours = f"app={identity.app}"
    resource = definitions.gateways(identity.group)
    gateways, pods, config_maps = await asyncio.gather(
        _objects(client, Query(resource, namespace), must_be=True),
        _objects(client, Query(PODS, namespace, labels=ours)),
        _objects(client, Query(CONFIG_MAPS, namespace, labels=ours), may_be_refused=True),
    )
    return Scene(identity, gateways, workload_pods=pods, config_maps=config_maps)


async def everything(client: Client, identity: Identity) -> Scene:
    """All that explains the gateways: of all namespaces, since they share routers."""
    ours = f"app={identity.app}"
    resource = definitions.gateways(identity.group)
    gateways = await _objects(client, Query(resource), must_be=True)
    has_selectors = any((each.get("spec") or {}).get("selectors") for each in gateways.values())
    own, deployments, config_maps, events, nodes = await asyncio.gather(
        _objects(client, Query(PODS, labels=ours)),
        _objects(client, Query(DEPLOYMENTS, labels=ours)),
        _objects(client, Query(CONFIG_MAPS, labels=ours)),
        _objects(client, Query(EVENTS, fields="type=Warning")),
        _values(client, NODES, Named),
    )
    return Scene(
        identity,
        gateways,
        await _world(client),
        own,
        {**deployments, **await _namesakes(client, identity, gateways, deployments)},
        config_maps,
        tuple(events.values()),
        await _values(client, PODS, Pod) if has_selectors else {},
        await _namespace_labels(client) if has_selectors else {},
        {
            name: port.replace("-", ".")
            for name, node in nodes.items()
            if (port := node.metadata.annotations.get(_PORT_GROUP))
        },
    )


async def _namesakes(
    client: Client,
    identity: Identity,
    gateways: Mapping[str, Object],
    known: Mapping[str, Object],
) -> dict[str, Object]:
    """Deployments without our labels that stand where a gateway's should."""
    found = {}
    for key, gateway in gateways.items():
        namespace, _, name = key.partition("/")
        wanted = f"{(gateway.get('spec') or {}).get('prefix', '')}{identity.infix}{name}"
        if f"{namespace}/{wanted}" not in known:
            try:
                found[f"{namespace}/{wanted}"] = await client.get(DEPLOYMENTS, wanted, namespace)
            except NotFound:
                continue
    return found


async def pod_client(client: Client, namespace: str, name: str) -> PodClient:
    """A pod and the labels of its namespace. Raises NotFound."""
    pod = parse(Pod, await client.get(PODS, name, namespace))
    space = parse(Named, await client.get(NAMESPACES, namespace))
    return PodClient(pod, space.metadata.labels)


async def _world(client: Client) -> World:
    vpcs, subnets, ip_pools, networks = await asyncio.gather(
        _values(client, definitions.VPCS, Vpc),
        _values(client, definitions.SUBNETS, Subnet),
        _values(client, definitions.IP_POOLS, IPPool),
        _values(client, definitions.ATTACHMENTS, Named),
    )
    return World(vpcs=vpcs, subnets=subnets, ip_pools=ip_pools, networks=networks.keys())


async def _namespace_labels(client: Client) -> dict[str, Mapping[str, str]]:
    found = await _values(client, NAMESPACES, Named)
    return {name: each.metadata.labels for name, each in found.items()}


async def _values(client: Client, resource: Resource, kind: type[T]) -> dict[str, T]:
    """All objects of a kind, by key; none where the cluster has no such kind."""
    try:
        listing = await client.list(Query(resource), kind)
    except NotFound:
        return {}
    return {item.key: item.value for item in listing.items}


async def _objects(
    client: Client, query: Query, *, must_be: bool = False, may_be_refused: bool = False
) -> dict[str, Object]:
    """Objects by key. A kind that the cluster does not have, or that one may not read, is none of
    them, as is asked for."""
    try:
        listing = await client.list(query, Object)
    except NotFound:
        if must_be:
            raise
        return {}
    except Forbidden:
        if not may_be_refused:
            raise
        return {}
    return {item.key: item.value for item in listing.items}
