"""Pods as far as gateways are made of them, or lead traffic for them. Pure.

Addresses inside are the pod's own (``status.podIPs``); those outside are in the annotation in which
Multus tells what it has attached. Other pods matter by the annotations in which Kube-OVN has
written their logical router and that they have a port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

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


class PodSpec(_Struct, frozen=True):
    """``spec``."""

    node_name: str = ""
    host_network: bool = False


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
    def ready(self) -> bool:
        """Whether its condition Ready is True."""
        return any(
            each.type == "Ready" and each.status == "True" for each in self.status.conditions
        )


class GatewayPod(NamedTuple):
    """A pod of a gateway."""

    name: str
    node: str
    internal: tuple[str, ...]
    external: tuple[str, ...]
    ready: bool
    problem: str
    """Why it is not in use, for people; empty if it is."""
    runs: bool = True
    """Whether its phase is Running."""


def gateway_pods(pods: Iterable[Pod]) -> tuple[GatewayPod, ...]:
    """The pods of a gateway that are not on their way out, by name."""
    staying = sorted((pod for pod in pods if not pod.leaves), key=lambda pod: pod.metadata.name)
    return tuple(map(_gateway_pod, staying))


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
    elif not pod.ready:
        problem = f"pod {name} is not ready"
    else:
        problem = ""
    runs = pod.status.phase == "Running"
    return GatewayPod(name, pod.spec.node_name, internal, external, pod.ready, problem, runs)


class _Network(msgspec.Struct, frozen=True):
    name: str = ""
    ips: tuple[str, ...] = ()


def external_addresses(annotations: Mapping[str, str], network: str) -> tuple[str, ...]:
    """What Multus says that the pod has in a network; nothing if that cannot be read."""
    try:
        networks = msgspec.json.decode(annotations.get(_NETWORK_STATUS, ""), type=list[_Network])
    except msgspec.DecodeError:
        return ()
    return tuple(ip for each in networks if each.name == network for ip in each.ips)


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


def as_json(pod: GatewayPod) -> dict[str, Any]:
    """For ``status.gateways[]`` of the resource."""
    return {
        "pod": pod.name,
        "node": pod.node,
        "ready": not pod.problem,
        "internalIPs": list(pod.internal),
        "externalIPs": list(pod.external),
    }
