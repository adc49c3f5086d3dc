"""The resources that are read, as frozen types. Pure.

An object of the API server has passed its CustomResourceDefinition, but not necessarily ours:
Kube-OVN's own lets through prefixes and addresses that are none. So what has the wrong shape ends
the parsing with one error, and texts that mean something are looked at one by one in `kube.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

_MBIT = 1_000_000
_SUFFIXES = {"Mi": 2**20, "Gi": 2**30, "M": 10**6, "G": 10**9}


class Fault(NamedTuple):
    """One mistake in a resource."""

    path: str
    """Of the field, as in ``spec.policies[0].ipBlocks[1]``."""
    value: str
    problem: str
    remedy: str
    reason: str = "InvalidSpec"
    """For the condition that tells of it."""

    def __str__(self) -> str:
        shown = f" {self.value!r}" if self.value else ""
        return f"{self.path}:{shown} {self.problem}; {self.remedy}"


class Malformed(Exception):
    """An object does not have the shape of its kind."""


class _Resource(msgspec.Struct, frozen=True, rename="camel"):
    """Base of everything below: fields that are not known are left out."""


T = TypeVar("T", bound=msgspec.Struct)


class Requirement(_Resource, frozen=True):
    """One ``matchExpressions`` entry of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As the API server judges it: what is not there is in no list."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None


class LabelSelector(_Resource, frozen=True):
    """A label selector; without any requirement it selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            each.matches(labels) for each in self.match_expressions
        )


class Selector(_Resource, frozen=True):
    """Pods by the labels of their namespace and their own; one that is not given selects all."""

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None

    def matches(self, namespace: Mapping[str, str], pod: Mapping[str, str]) -> bool:
        """Whether a pod with these labels, in a namespace with those, is selected."""
        pods = self.pod_selector
        return self.matches_namespace(namespace) and (pods is None or pods.matches(pod))

    def matches_namespace(self, namespace: Mapping[str, str]) -> bool:
        """Whether a pod in a namespace with these labels may be."""
        spaces = self.namespace_selector
        return spaces is None or spaces.matches(namespace)


class Policy(_Resource, frozen=True):
    """Sources, by networks and by names of Subnets."""

    snat: bool = False
    ip_blocks: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()


class Bfd(_Resource, frozen=True):
    """Intervals in ms."""

    enabled: bool = False
    min_rx: int = msgspec.field(default=1000, name="minRX")
    min_tx: int = msgspec.field(default=1000, name="minTX")
    multiplier: int = 3


class Bandwidth(_Resource, frozen=True):
    """Per gateway pod, seen from the VPC: whole Mbit/s, or a quantity of bit/s."""

    ingress: int | str = 0
    egress: int | str = 0


class GatewaySpec(_Resource, frozen=True):
    """``spec`` of a VpcEgressGateway."""

    external_subnet: str
    vpc: str = ""
    replicas: int = 1
    prefix: str = ""
    image: str = ""
    internal_subnet: str = ""
    internal_ips: tuple[str, ...] = msgspec.field(default=(), name="internalIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    internal_ip_pool: str = msgspec.field(default="", name="internalIPPool")
    external_ip_pool: str = msgspec.field(default="", name="externalIPPool")
    bfd: Bfd = Bfd()
    policies: tuple[Policy, ...] = ()
    selectors: tuple[Selector, ...] = ()
    node_selector: tuple[dict[str, Any], ...] = ()
    traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    tolerations: tuple[dict[str, Any], ...] = ()
    resources: dict[str, Any] | None = None
    bandwidth: Bandwidth = Bandwidth()
    pod_anti_affinity: Literal["Required", "Preferred"] = "Required"
    bgp_conf: str = ""
    evpn_conf: str = ""
    observability: dict[str, Any] | None = None
    agent: dict[str, Any] = {}


class Metadata(_Resource, frozen=True):
    """Of any object, as far as it is looked at."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


class Named(_Resource, frozen=True):
    """Any object of which only the metadata matters: Namespace, Node, attachment."""

    metadata: Metadata


class EgressGateway(_Resource, frozen=True):
    """A VpcEgressGateway. Its status is ours to write and is kept as it is."""

    metadata: Metadata
    spec: GatewaySpec
    status: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """``<namespace>/<name>``."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class BfdPortSpec(_Resource, frozen=True):
    """``spec.bfdPort`` of a Vpc."""

    enabled: bool = False
    ip: str = ""
    node_selector: LabelSelector | None = None


class VpcSpec(_Resource, frozen=True):
    """``spec`` of a Vpc."""

    bfd_port: BfdPortSpec = BfdPortSpec()


class BfdPortStatus(_Resource, frozen=True):
    """``status.bfdPort`` of a Vpc: what there is."""

    name: str = ""
    ip: str = ""
    nodes: tuple[str, ...] = ()


class VpcStatus(_Resource, frozen=True):
    """``status`` of a Vpc."""

    router: str = ""
    default_logical_switch: str = ""
    bfd_port: BfdPortStatus = msgspec.field(default=BfdPortStatus(), name="bfdPort")


class Vpc(_Resource, frozen=True):
    """A Vpc of Kube-OVN."""

    metadata: Metadata
    spec: VpcSpec = VpcSpec()
    status: VpcStatus = VpcStatus()


class SubnetSpec(_Resource, frozen=True):
    """``spec`` of a Subnet."""

    cidr_block: str = ""
    gateway: str = ""
    provider: str = "ovn"
    vpc: str = ""


class Subnet(_Resource, frozen=True):
    """A Subnet of Kube-OVN."""

    metadata: Metadata
    spec: SubnetSpec = SubnetSpec()

    @property
    def cidrs(self) -> tuple[str, ...]:
        """One for each family."""
        return split(self.spec.cidr_block)

    @property
    def gateways(self) -> tuple[str, ...]:
        """One for each family."""
        return split(self.spec.gateway)


class IPPoolSpec(_Resource, frozen=True):
    """``spec`` of an IPPool."""

    subnet: str = ""


class IPPool(_Resource, frozen=True):
    """An IPPool of Kube-OVN."""

    metadata: Metadata
    spec: IPPoolSpec = IPPoolSpec()


def parse(kind: type[T], document: Any) -> T:
    """An object as its kind. Raises Malformed, with the path of what does not fit."""
    try:
        return msgspec.convert(_without_nulls(document), kind)
    except msgspec.ValidationError as exc:
        raise Malformed(f"{kind.__name__}: {exc}") from exc


def split(text: str) -> tuple[str, ...]:
    """Kube-OVN joins the values of both families by a comma."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def family(text: str) -> int:
    """4 or 6, of an address or a network."""
    return 6 if ":" in text else 4


def mbit(quantity: int | str) -> int:
    """A bandwidth in whole Mbit/s, rounded up. Raises ValueError when it is none."""
    text = str(quantity).strip()
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return _whole_mbit(text.removesuffix(suffix), factor)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(quantity)
    return int(text)


def _whole_mbit(number: str, factor: int) -> int:
    if not number.replace(".", "", 1).isdecimal():
        raise ValueError(number)
    try:
        bits = Decimal(number) * factor / _MBIT
    except InvalidOperation as exc:
        raise ValueError(number) from exc
    return int(bits.to_integral_value(ROUND_CEILING))


def _without_nulls(value: Any) -> Any:
    """A field that is null is one that is not there (Kubernetes API conventions)."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
