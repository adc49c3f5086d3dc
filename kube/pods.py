"""Pods as far as gateways are made of them, or lead traffic for them. Pure.

Addresses inside are the pod's own (``status.podIPs``); those outside are in the annotation in which
Multus tells what it has attached. Other pods matter by the annotations in which Kube-OVN has
written their logical router and that they have a port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from kube.layout import BFD_GATE, DRAIN
from kube.schema import EgressGateway, Metadata

_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
_ALLOCATED, _ROUTER = "ovn.kubernetes.io/allocated", "ovn.kubernetes.io/logical_router"
_OVER = ("Succeeded", "Failed")


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    """Base of the parts below."""


class PodIP(_Struct, frozen=True):
    """One entry of ``status.podIPs``."""

    ip: str = ""


class PodCondition(_Struct, frozen=True):
    """One condition."""

    type: str
    status: str


class ReadinessGate(_Struct, frozen=True):
    """A condition without which the pod is not ready."""

    condition_type: str


class PodSpec(_Struct, frozen=True):
    """``spec``."""

    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""
    readiness_gates: tuple[ReadinessGate, ...] = ()


class PodStatus(_Struct, frozen=True):
    """``status``."""

    phase: str = ""
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    conditions: tuple[PodCondition, ...] = ()


class Pod(_Struct, frozen=True):
    """A pod of the API server."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own, in the order of ``status.podIPs``."""
        return tuple(each.ip for each in self.status.pod_ips if each.ip)

    @property
    def leaves(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def drains(self) -> bool:
        """Whether somebody wants it out of use."""
        return self.metadata.annotations.get(DRAIN) == "true"

    @property
    def ready(self) -> bool:
        """Whether its condition Ready is True."""
        return self._is_true("Ready")

    @property
    def serves(self) -> bool:
        """Whether its containers are ready, whatever its gates say."""
        return self.ready or self._is_true("ContainersReady")

    @property
    def gate(self) -> bool | None:
        """Whether its BFD gate is open; None if it has none."""
        if all(each.condition_type != BFD_GATE for each in self.spec.readiness_gates):
            return None
        return self._is_true(BFD_GATE)

    def _is_true(self, kind: str) -> bool:
        return any(each.type == kind and each.status == "True" for each in self.status.conditions)


class GatewayPod(NamedTuple):
    """A pod of a gateway."""

    name: str
    node: str
    internal: tuple[str, ...]
    external: tuple[str, ...]
    ready: bool
    """Whether its containers are: what waits for BFD only has its next hop, or it would wait for
    ever."""
    problem: str
    """Why it is not in use, for people; empty if it is."""
    runs: bool = True
    """Whether its phase is Running."""
    gate: bool | None = None
    """Whether its BFD gate is open; None if it has none."""
    drains: bool = False
    """Whether it is to be out of use, and another pod can take over."""

    @property
    def is_able(self) -> bool:
        """Whether it could forward, whatever BFD says."""
        return bool(self.runs and self.ready and self.internal and self.external)


def gateway_pods(pods: Iterable[Pod], *, leaving: bool = False) -> tuple[GatewayPod, ...]:
    """The pods of a gateway that are not on their way out, by name; or those that are."""
    chosen = (pod for pod in pods if pod.leaves is leaving)
    found = tuple(map(_gateway_pod, sorted(chosen, key=lambda pod: pod.metadata.name)))
    if any(each.is_able and not each.drains for each in found):
        return tuple(_out_of_use(each) if each.drains else each for each in found)
    return tuple(each._replace(drains=False) for each in found)


def _out_of_use(pod: GatewayPod) -> GatewayPod:
    problem = f"pod {pod.name} drains; kubectl vegd drain {pod.name} --undo takes it back"
    return pod._replace(problem=problem) if pod.is_able else pod


def _gateway_pod(pod: Pod) -> GatewayPod:
    internal = pod.addresses
    # Its own network: a pod of before the gateway's external Subnet changed serves until it goes.
    network = pod.metadata.annotations.get(_NETWORKS, "")
    external = external_addresses(pod.metadata.annotations, network)
    name = pod.metadata.name
    if pod.status.phase != "Running":
        problem = f"pod {name} is {pod.status.phase or 'not started'}"
    elif not internal:
        problem = f"pod {name} has no address"
    elif not external:
        problem = f"pod {name} has no address in {network or 'any network outside'}"
    elif pod.ready:
        problem = ""
    elif pod.serves and pod.gate is False:
        problem = f"pod {name} waits until its BFD sessions are up in OVN"
    else:
        problem = f"pod {name} is not ready"
    runs = pod.status.phase == "Running"
    node, gate = pod.spec.node_name, pod.gate
    return GatewayPod(name, node, internal, external, pod.serves, problem, runs, gate, pod.drains)


def gates(
    pods: Iterable[GatewayPod], watched: Iterable[int], sessions: Mapping[str, str]
) -> dict[str, bool]:
    """The gates that are to be opened, or closed again, by the names of their pods.

    `watched` are the IP versions that OVN watches, none for a gateway without BFD; `sessions` is
    its view of each next hop. A pod passes when all of its sessions are up, and it does not drain.
    """
    versions = tuple(watched)
    found = {}
    for pod in pods:
        if pod.gate is None:
            continue
        hops = [
            hop
            for version in versions
            if (hop := first(pod.internal, version)) and first(pod.external, version)
        ]
        is_up = (
            not pod.drains
            and all(sessions.get(hop) == "up" for hop in hops)
            and bool(hops or not versions)
        )
        if is_up is not pod.gate:
            found[pod.name] = is_up
    return found


def first(addresses: Iterable[str], version: int) -> str | None:
    """The first address of a family, in its usual spelling."""
    for text in addresses:
        address = ip_address(text)
        if address.version == version:
            return str(address)
    return None


class _Network(msgspec.Struct, frozen=True):
    name: str = ""
    ips: tuple[str, ...] = ()


def external_addresses(annotations: Mapping[str, str], network: str) -> tuple[str, ...]:
    """What Multus says that the pod has in a network; nothing that cannot be read."""
    try:
        networks = msgspec.json.decode(annotations.get(_NETWORK_STATUS, ""), type=list[_Network])
    except msgspec.DecodeError:
        return ()
    ips = (ip for each in networks if each.name == network for ip in each.ips)
    return tuple(filter(_is_address, ips))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def selected(
    gateway: EgressGateway, pod: Pod, namespace_labels: Mapping[str, str], router: str
) -> bool:
    """Whether a gateway takes a pod's traffic because of its selectors: it is alive, has a port on
    the gateway's router, and matches."""
    annotations = pod.metadata.annotations
    return (
        not pod.spec.host_network
        and pod.status.phase not in _OVER
        and annotations.get(_ALLOCATED) == "true"
        and annotations.get(_ROUTER) == router
        and any(
            each.matches(namespace_labels, pod.metadata.labels) for each in gateway.spec.selectors
        )
    )
