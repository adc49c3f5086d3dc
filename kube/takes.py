"""Whose packets a gateway takes, and why it does not take a pod's. Pure.

A source counts on the router of the gateway's VPC only, by an address that a policy covers or by
labels that a selector wants; OVN sees the packets of a pod that has a port of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kube.pods import Pod, selected
from kube.resolve import DEFAULT_VPC
from kube.scene import GatewayView, Scene
from kube.schema import EgressGateway, LabelSelector, Requirement, Subnet

_ALLOCATED, _ROUTER = "ovn.kubernetes.io/allocated", "ovn.kubernetes.io/logical_router"
_SWITCH = "ovn.kubernetes.io/logical_switch"
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Client:
    """A pod and what its namespace says."""

    pod: Pod
    namespace_labels: Mapping[str, str]

    @property
    def key(self) -> str:
        """``<namespace>/<name>``."""
        return f"{self.pod.metadata.namespace}/{self.pod.metadata.name}"

    @property
    def port(self) -> str:
        """Its logical switch port, as Kube-OVN calls it."""
        return f"{self.pod.metadata.name}.{self.pod.metadata.namespace}"

    @property
    def router(self) -> str:
        """The logical router that Kube-OVN has written on it; empty if none."""
        return self.pod.metadata.annotations.get(_ROUTER, "")

    @property
    def obstacle(self) -> tuple[str, str] | None:
        """Why OVN does not see its packets at all, and the remedy."""
        pod = self.pod
        if pod.spec.host_network:
            problem = "uses the network of its node (hostNetwork): no gateway sees its packets"
            return problem, "leave spec.hostNetwork out, if a gateway is to take them"
        if pod.status.phase in _OVER:
            return f"is over ({pod.status.phase})", "look at one that runs"
        if pod.metadata.annotations.get(_ALLOCATED) != "true" or not self.router:
            problem = "has no port of Kube-OVN's (annotations allocated and logical_router)"
            return problem, "look whether kube-ovn-controller runs and its Subnet has addresses"
        if not pod.addresses:
            return "has no address yet", "wait until it runs, or see kubectl describe pod"
        return None


@dataclass(frozen=True, slots=True)
class Take:
    """A gateway takes packets of an address."""

    gateway: str
    address: str
    by: str
    """The field and what it says, as ``spec.policies[0].ipBlocks[0] 192.168.0.0/24``."""
    is_selected: bool = False


def subnet_of(client: Client, scene: Scene) -> Subnet | None:
    """The Subnet that a pod is in: as Kube-OVN has written, else that of its address."""
    named = scene.world.subnets.get(client.pod.metadata.annotations.get(_SWITCH, ""))
    if named is not None or not client.pod.addresses:
        return named
    for subnet in scene.world.subnets.values():
        if (subnet.spec.vpc or DEFAULT_VPC) == vpc_of(client, scene) and any(
            covers(cidr, client.pod.addresses[0]) for cidr in subnet.cidrs
        ):
            return subnet
    return None


def vpc_of(client: Client, scene: Scene) -> str:
    """The name of the Vpc whose router a pod is behind."""
    for name, vpc in scene.world.vpcs.items():
        if (vpc.status.router or name) == client.router:
            return name
    return client.router


def takes(view: GatewayView, client: Client) -> tuple[Take, ...]:
    """By what a gateway takes packets of each of a pod's addresses; empty if it does not."""
    if client.obstacle or client.router != view.resolution.router or not view.is_carried_out:
        return ()
    found = []
    for address in client.pod.addresses:
        for by, network in sources(view):
            if covers(network, address):
                found.append(Take(view.key, address, f"{by} {network}"))
        for place in _selectors(view.gateway, client):
            by = f"spec.selectors[{place}]"
            found.append(Take(view.key, address, by, is_selected=True))
    return tuple(found)


def refusals(view: GatewayView, client: Client) -> tuple[str, ...]:
    """Why a gateway of the pod's router does not take it, field by field."""
    if not view.is_carried_out:
        return ("its resource cannot be carried out",)
    shown = ", ".join(client.pod.addresses) or "no address"
    networks = [network for _, network in sources(view)]
    found = []
    if networks:
        found.append(f"{shown} is in none of its networks ({_some(networks)})")
    for place, selector in enumerate(view.gateway.spec.selectors):
        wanting = [
            *_missing("the namespace", selector.namespace_selector, client.namespace_labels),
            *_missing("the pod", selector.pod_selector, client.pod.metadata.labels),
        ]
        found.append(f"spec.selectors[{place}]: {'; '.join(wanting) or 'matches'}")
    return tuple(found)


def sources(view: GatewayView) -> Iterator[tuple[str, str]]:
    """The field and the network of each source that policies name."""
    for place, policy in enumerate(view.gateway.spec.policies):
        path = f"spec.policies[{place}]"
        for number, block in enumerate(policy.ip_blocks):
            yield f"{path}.ipBlocks[{number}]", block
        for number, name in enumerate(policy.subnets):
            subnet = view.scene.world.subnets.get(name)
            for cidr in () if subnet is None else subnet.cidrs:
                yield f"{path}.subnets[{number}] {name}", cidr


def covers(network: str, address: str) -> bool:
    """Whether an address is in a network; one that is none covers nothing."""
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


def _selectors(gateway: EgressGateway, client: Client) -> Iterator[int]:
    if not selected(gateway, client.pod, client.namespace_labels, client.router):
        return
    for place, selector in enumerate(gateway.spec.selectors):
        if selector.matches(client.namespace_labels, client.pod.metadata.labels):
            yield place


def _missing(
    whose: str, selector: LabelSelector | None, labels: Mapping[str, str]
) -> Iterator[str]:
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            yield f"{whose} has {_label(key, labels)}, and {key}={value} is wanted"
    for each in selector.match_expressions:
        if not each.matches(labels):
            yield f"{whose} has {_label(each.key, labels)}, and {_wanted(each)} is wanted"


def _label(key: str, labels: Mapping[str, str]) -> str:
    return f"{key}={labels[key]}" if key in labels else f"no label {key}"


def _wanted(requirement: Requirement) -> str:
    values = f" ({', '.join(requirement.values)})" if requirement.values else ""
    return f"{requirement.key} {requirement.operator}{values}"


def _some(networks: list[str]) -> str:
    more = len(networks) - 5
    return ", ".join([*networks[:5], *([f"and {more} more"] if more > 0 else [])])
