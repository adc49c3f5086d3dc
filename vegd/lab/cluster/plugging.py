"""Addresses and interfaces of pods: what Kube-OVN's pod handler and CNI and Multus do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface
from typing import Protocol

from kube.objects import Object
from vegd.lab import namespaces
from vegd.lab.cluster import cni, ipam
from vegd.lab.cluster.cni import Link, Objects, Wired
from vegd.lab.errors import LabError


class Wires(Protocol):
    """What is asked of `vegd.lab.cluster.network.Network`."""

    def attach(
        self,
        node: str,
        namespace: str,
        port: str,
        subnet: str,
        mac: str,
        addresses: list[str],
        gateways: list[str],
    ) -> None:
        """`eth0` of a pod. Raises LabError."""

    def attach_outside(
        self,
        node: str,
        namespace: str,
        interface: str,
        mac: str,
        addresses: list[str],
        gateways: list[str],
        mode: str,
    ) -> None:
        """A macvlan of a pod. Raises LabError."""

    def set_rate(self, port: str, ingress_mbit: int, egress_mbit: int) -> None:
        """Limit `eth0`."""

    def detach(self, port: str) -> None:
        """Take `eth0`'s port away."""


class Plugger:
    """Gives pods their interfaces, one pod at a time."""

    def __init__(self, network: Wires, objects: Objects) -> None:
        self._network = network
        self._objects = objects
        self._held: dict[str, dict[str, tuple[str, ...]]] = {}
        """Addresses by the pod's uid and the Subnet's name."""
        self._newest: dict[str, dict[int, ipam.Address]] = {}
        self._lock = asyncio.Lock()

    def hold(self, pod: Object) -> None:
        """Keep the addresses that a pod has got before."""
        with contextlib.suppress(LabError):
            for link in self._links(pod):
                if has := cni.allocated(_annotations(pod), link):
                    self._keep(pod, link, has)

    async def plug(self, pod: Object, netns: str) -> Mapping[str, str]:
        """Make the interfaces; the annotations that tell of them. Raises LabError."""
        wired = tuple(self._wire(pod, link) for link in list(self._links(pod)))
        await self._alone(lambda: self._make(pod, netns, wired))
        return cni.annotations_of(wired, self._objects)

    async def unplug(self, pod: Object, netns: str) -> None:
        """Take everything away and give the addresses back."""
        await self.drop(netns)
        with contextlib.suppress(LabError):
            await self._alone(lambda: self._network.detach(_port(pod)))
        self._held.pop(pod["metadata"]["uid"], None)

    async def drop(self, netns: str) -> None:
        """Take the namespace away with what runs in it."""
        await self._alone(lambda: _drop(netns))

    async def _alone(self, change: Callable[[], None]) -> None:
        """Change something in a thread, one after the other, and to the end, even if nobody wants
        it any more."""
        async with self._lock:
            changing = asyncio.ensure_future(asyncio.to_thread(change))
            try:
                await asyncio.shield(changing)
            except asyncio.CancelledError:
                await asyncio.gather(changing, return_exceptions=True)
                raise

    def _links(self, pod: Object) -> list[Link]:
        annotations = _annotations(pod)
        return list(cni.links(annotations, pod["metadata"]["namespace"], self._objects))

    def _wire(self, pod: Object, link: Link) -> Wired:
        """The interface with its addresses, which are kept from now on."""
        uid, subnet = pod["metadata"]["uid"], link.subnet
        has = self._held.get(uid, {}).get(subnet.name)
        if has is None:
            has = self._allocate(link)
            self._keep(pod, link, has)
        addresses = []
        for text in has:
            network = subnet.network_of(ip_address(text))
            if network is None:
                raise LabError(f"{text} is no longer in Subnet {subnet.name}")
            addresses.append(ip_interface(f"{text}/{network.prefixlen}"))
        return Wired(
            link.interface,
            subnet,
            link.asked,
            link.routes,
            link.network,
            link.mode,
            ipam.mac(uid, link.interface),
            tuple(addresses),
        )

    def _allocate(self, link: Link) -> tuple[str, ...]:
        subnet = link.subnet
        held = [each.get(subnet.name, ()) for each in self._held.values()]
        used = {address for addresses in held for address in addresses}
        asked = ipam.wish(link.asked, self._objects.pools)
        newest = self._newest.setdefault(subnet.name, {})
        found = ipam.allocate(subnet, used, asked, newest)
        if not asked.choices:
            newest.update({each.version: each.ip for each in found})
        return tuple(str(each.ip) for each in found)

    def _keep(self, pod: Object, link: Link, addresses: tuple[str, ...]) -> None:
        held = self._held.setdefault(pod["metadata"]["uid"], {})
        held[link.subnet.name] = addresses

    def _make(self, pod: Object, netns: str, wired: tuple[Wired, ...]) -> None:
        """In a new namespace."""
        node, port = pod["spec"]["nodeName"], _port(pod)
        _drop(netns)
        self._network.detach(port)
        namespaces.add(netns)
        for each in wired:
            addresses = list(map(str, each.addresses))
            if each.network:
                self._network.attach_outside(
                    node, netns, each.interface, each.mac, addresses, [], each.mode
                )
            else:
                gateways = list(each.subnet.gateways)
                self._network.attach(
                    node, netns, port, each.subnet.name, each.mac, addresses, gateways
                )
            hops = (
                f"route replace {dst} via {hop} dev {each.interface}" for dst, hop in each.routes
            )
            namespaces.ip(netns, hops)
        rates = [
            int(_annotations(pod).get(f"ovn.kubernetes.io/{name}_rate") or 0)
            for name in ("ingress", "egress")
        ]
        if any(rates):
            self._network.set_rate(port, *rates)


def _drop(netns: str) -> None:
    if netns in namespaces.names():
        namespaces.kill_inside(netns)
        namespaces.delete(netns)


def _annotations(pod: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    return found


def _port(pod: Object) -> str:
    """Of the logical switch, as Kube-OVN names it."""
    return f"{pod['metadata']['name']}.{pod['metadata']['namespace']}"
