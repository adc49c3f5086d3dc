"""The interfaces of a pod: which, in which Subnets, and what is written of them. Pure.

Kube-OVN's pod handler chooses by annotations of the pod, Multus by those of its own; both write
what they have done into further ones (recorded from Kube-OVN's controller, see the tests).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vegd.lab.cluster.ipam import Interface, Subnet
from vegd.lab.cluster.subnets import DEFAULT_SUBNET
from vegd.lab.errors import LabError

Json = dict[str, Any]

_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
_OWN = "ovn"
"""Provider of a VPC's Subnets."""


class NotYet(LabError):
    """Something that the pod names is not there; it may come."""


@dataclass(slots=True)
class Objects:
    """What there is in the cluster, by name; attachments by ``NAMESPACE/NAME``."""

    subnets: dict[str, Subnet] = field(default_factory=dict)
    routers: dict[str, str] = field(default_factory=dict)
    """The logical router of each VPC."""
    pools: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)
    """Their configurations."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface that a pod is to get."""

    interface: str
    subnet: Subnet
    asked: str
    """The annotation ``ip_pool`` or ``ip_address``: empty for whatever is free."""
    routes: tuple[tuple[str, str], ...]
    """Destination and next hop."""
    network: str = ""
    """``NAMESPACE/NAME`` of the attachment; empty for the interface in the VPC."""
    mode: str = "bridge"
    """Of the macvlan."""

    @property
    def prefix(self) -> str:
        """What its annotations begin with."""
        provider = self.subnet.provider
        return f"{provider}.kubernetes.io" if self.network else "ovn.kubernetes.io"


@dataclass(frozen=True, slots=True)
class Wired(Link):
    """One interface as it is."""

    mac: str = ""
    addresses: tuple[Interface, ...] = ()

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses without lengths."""
        return tuple(str(each.ip) for each in self.addresses)


def links(annotations: Mapping[str, str], namespace: str, objects: Objects) -> Iterator[Link]:
    """The interfaces that a pod of a namespace asks for.

    Raises:
        NotYet: a Subnet or an attachment is missing.
    """
    name = annotations.get("ovn.kubernetes.io/logical_switch") or DEFAULT_SUBNET
    subnet = objects.subnets.get(name)
    if subnet is None or not subnet.networks:
        raise NotYet(f"Subnet {name} is not there")
    yield _link("eth0", subnet, annotations)
    wanted = [each.strip() for each in annotations.get(_NETWORKS, "").split(",") if each.strip()]
    for number, network in enumerate(wanted, 1):
        place, _, interface = network.partition("@")
        place = place if "/" in place else f"{namespace}/{place}"
        yield _attachment(interface or f"net{number}", place, annotations, objects)


def _attachment(
    interface: str, place: str, annotations: Mapping[str, str], objects: Objects
) -> Link:
    text = objects.attachments.get(place)
    if text is None:
        raise NotYet(f"NetworkAttachmentDefinition {place} is not there")
    try:
        config = json.loads(text or "{}")
    except ValueError as exc:
        raise NotYet(f"NetworkAttachmentDefinition {place}: spec.config is no JSON: {exc}") from exc
    namespace, _, name = place.partition("/")
    provider = (config.get("ipam") or {}).get("provider") or f"{name}.{namespace}"
    chosen = annotations.get(f"{provider}.kubernetes.io/logical_switch")
    found = [
        each
        for each in objects.subnets.values()
        if each.provider == provider and chosen in (None, each.name) and each.networks
    ]
    if not found:
        raise NotYet(f"no Subnet has the provider {provider}")
    return _link(interface, found[0], annotations, place, config.get("mode") or "bridge")


def _link(
    interface: str,
    subnet: Subnet,
    annotations: Mapping[str, str],
    network: str = "",
    mode: str = "bridge",
) -> Link:
    link = Link(interface, subnet, "", (), network, mode)
    asked = annotations.get(f"{link.prefix}/ip_pool", "")
    if annotations.get(f"{link.prefix}/allocated") != "true":
        asked = annotations.get(f"{link.prefix}/ip_address", "") or asked
    routes = json.loads(annotations.get(f"{link.prefix}/routes") or "[]")
    hops = tuple((each["dst"], each["gw"]) for each in routes if "dst" in each and "gw" in each)
    return Link(interface, subnet, asked, hops, network, mode)


def allocated(annotations: Mapping[str, str], link: Link) -> tuple[str, ...]:
    """The addresses that a pod has got for an interface already."""
    if annotations.get(f"{link.prefix}/allocated") != "true":
        return ()
    text = annotations.get(f"{link.prefix}/ip_address", "")
    return tuple(each for each in text.split(",") if each)


def annotations_of(wired: tuple[Wired, ...], objects: Objects) -> dict[str, str]:
    """What is written into the pod once it has its interfaces."""
    found: dict[str, str] = {}
    for each in wired:
        values = {
            "allocated": "true",
            "cidr": ",".join(map(str, each.subnet.networks)),
            "gateway": ",".join(each.subnet.gateways),
            "ip_address": ",".join(each.ips),
        }
        if not each.network:
            values |= {
                "logical_router": objects.routers.get(each.subnet.vpc, each.subnet.vpc),
                "logical_switch": each.subnet.name,
                "mac_address": each.mac,
                "pod_nic_type": "veth-pair",
                "routed": "true",
            }
        found |= {f"{each.prefix}/{name}": value for name, value in values.items()}
    found[_NETWORK_STATUS] = json.dumps([_network_status(each) for each in wired])
    return found


def _network_status(wired: Wired) -> Json:
    """One entry of what Multus tells."""
    entry: Json = {
        "name": wired.network or "kube-ovn",
        "interface": wired.interface,
        "ips": list(wired.ips),
        "mac": wired.mac,
    }
    if not wired.network:
        entry |= {"default": True, "gateway": list(wired.subnet.gateways)}
    return entry | {"dns": {}}
