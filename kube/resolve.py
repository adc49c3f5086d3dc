"""From a resource and what it names to a workload with nothing left to look up. Pure.

What is missing or contradicts is told as faults, all of them at once; a gateway with faults is not
carried out, and what runs of it is left as it is. What works, but not as somebody may expect, is
told as notes: a family that has no way out, or that BFD does not watch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from kube import schema
from kube.checks import gateway_faults
from kube.schema import EgressGateway, Fault, IPPool, Subnet, Vpc, family
from kube.workload import Attachment, Bfd, Policy, Watch, Workload

DEFAULT_VPC = "ovn-cluster"

_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class World:
    """The objects that gateways name, by their names."""

    vpcs: Mapping[str, Vpc] = field(default_factory=dict)
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    ip_pools: Mapping[str, IPPool] = field(default_factory=dict)
    networks: Collection[str] = ()
    """``<namespace>/<name>`` of the NetworkAttachmentDefinitions."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of a resource."""

    workload: Workload | None
    """None if there are faults."""
    router: str
    """Name of the VPC's logical router; empty if there is none."""
    sources: frozenset[str] = frozenset()
    """Networks and addresses of all policies, as they are written: what OVN leads to the pods."""
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(
    gateway: EgressGateway, world: World, image: str, watch: Watch | None = None
) -> Resolution:
    """Look everything up; `image` is for gateways that name none, `watch` for those that do not
    refuse it."""
    return _Resolver(gateway, world).resolve(image, watch)


def is_watched(gateway: EgressGateway) -> bool:
    """Whether a gateway does not refuse watchers in its pods."""
    wish = gateway.spec.agent.get("watch")
    return not isinstance(wish, Mapping) or wish.get("enabled") is not False


class _Resolver:
    def __init__(self, gateway: EgressGateway, world: World) -> None:
        self._gateway = gateway
        self._spec = gateway.spec
        self._world = world
        self._faults = list(gateway_faults(gateway))
        self._sources: set[str] = set()

    def resolve(self, image: str, watch: Watch | None) -> Resolution:
        spec = self._spec
        vpc = self._vpc()
        internal, external = self._internal(vpc), self._external()
        network = self._network(external)
        for name, pool, subnet in (
            ("internalIPPool", spec.internal_ip_pool, internal),
            ("externalIPPool", spec.external_ip_pool, external),
        ):
            self._check_pool(name, pool, subnet)
        bfd = self._bfd(vpc, internal)
        policies = tuple(self._policies(internal))
        router = "" if vpc is None else vpc.status.router or vpc.metadata.name
        if self._faults or internal is None or external is None:
            return Resolution(None, router, faults=tuple(self._faults))
        workload = Workload(
            namespace=self._gateway.metadata.namespace,
            name=self._gateway.metadata.name,
            uid=self._gateway.metadata.uid,
            prefix=spec.prefix,
            replicas=spec.replicas,
            image=spec.image or image,
            internal=_attachment(internal, spec.internal_ips, spec.internal_ip_pool),
            external=_attachment(external, spec.external_ips, spec.external_ip_pool),
            network=network,
            policies=policies,
            bfd=bfd,
            ingress_mbit=schema.mbit(spec.bandwidth.ingress),
            egress_mbit=schema.mbit(spec.bandwidth.egress),
            node_selector=spec.node_selector,
            spread=spec.pod_anti_affinity,
            tolerations=spec.tolerations,
            resources=spec.resources,
            observability=spec.observability,
            agent=spec.agent,
            watch=watch if is_watched(self._gateway) else None,
        )
        return Resolution(workload, router, frozenset(self._sources), notes=tuple(_notes(workload)))

    def _refuse(self, reason: str, path: str, value: str, problem: str, remedy: str) -> None:
        self._faults.append(Fault(path, value, problem, remedy, reason))

    def _vpc(self) -> Vpc | None:
        name = self._spec.vpc or DEFAULT_VPC
        vpc = self._world.vpcs.get(name)
        if vpc is None:
            self._refuse("VpcNotFound", "spec.vpc", name, "is no Vpc", "create it or name another")
        return vpc

    def _subnet(self, path: str, name: str) -> Subnet | None:
        subnet = self._world.subnets.get(name)
        if subnet is None:
            remedy = "create it or name another"
            self._refuse("SubnetNotFound", path, name, "is no Subnet", remedy)
        elif not subnet.cidrs:
            remedy = "give it a cidrBlock and a gateway"
            self._refuse("SubnetNotReady", path, name, "has no addresses yet", remedy)
            return None
        return subnet

    def _internal(self, vpc: Vpc | None) -> Subnet | None:
        name = self._spec.internal_subnet
        if name or vpc is None:
            return self._subnet("spec.internalSubnet", name) if name else None
        name = vpc.status.default_logical_switch
        if not name:
            problem = f"is not given, and the Vpc {vpc.metadata.name} has no default Subnet"
            remedy = "name a Subnet of that Vpc"
            self._refuse("SubnetNotFound", "spec.internalSubnet", "", problem, remedy)
            return None
        return self._subnet("spec.internalSubnet", name)

    def _external(self) -> Subnet | None:
        subnet = self._subnet("spec.externalSubnet", self._spec.external_subnet)
        if subnet is not None and subnet.metadata.name == self._spec.internal_subnet:
            remedy = "name the Subnet of the network outside"
            problem = "is the internal Subnet as well"
            self._refuse(
                "InvalidSpec", "spec.externalSubnet", subnet.metadata.name, problem, remedy
            )
        return subnet

    def _network(self, external: Subnet | None) -> str:
        """Of a provider ``<name>.<namespace>`` or ``<name>.<namespace>.ovn``."""
        if external is None:
            return ""
        provider = external.spec.provider
        name, dot, rest = provider.partition(".")
        network = f"{rest.removesuffix('.ovn')}/{name}"
        if not dot or not name:
            problem = f"has the provider {provider!r}, which names no attachment"
            remedy = "give the Subnet the provider <NetworkAttachmentDefinition>.<namespace>"
        elif network not in self._world.networks:
            problem = f"has the provider {provider!r}, and there is no such attachment"
            remedy = f"create the NetworkAttachmentDefinition {network}"
        else:
            return network
        reason, path = "NetworkNotFound", "spec.externalSubnet"
        self._refuse(reason, path, external.metadata.name, problem, remedy)
        return ""

    def _check_pool(self, name: str, pool: str, subnet: Subnet | None) -> None:
        if not pool or subnet is None:
            return
        found = self._world.ip_pools.get(pool)
        if found is None:
            remedy = "create it or name another"
            self._refuse("IPPoolNotFound", f"spec.{name}", pool, "is no IPPool", remedy)
        elif found.spec.subnet != subnet.metadata.name:
            problem = f"is a pool of the Subnet {found.spec.subnet}"
            remedy = f"name a pool of {subnet.metadata.name}"
            self._refuse("InvalidSpec", f"spec.{name}", pool, problem, remedy)

    def _bfd(self, vpc: Vpc | None, internal: Subnet | None) -> Bfd | None:
        spec = self._spec.bfd
        if not spec.enabled or vpc is None or internal is None:
            return None
        port = schema.split(vpc.status.bfd_port.ip)
        families = set(map(family, internal.cidrs))
        peers = tuple(each for each in port if family(each) in families)
        if not port:
            problem = f"asks for BFD, and the Vpc {vpc.metadata.name} has no BFD port"
            remedy = "set spec.bfdPort.enabled and spec.bfdPort.ip of the Vpc"
        elif not peers:
            problem = f"asks for BFD, and the Vpc's BFD port {vpc.status.bfd_port.ip} has no "
            problem += f"address of a family of the Subnet {internal.metadata.name}"
            remedy = "give spec.bfdPort.ip of the Vpc an address of that family"
        else:
            return Bfd(peers, spec.min_tx, spec.min_rx, spec.multiplier)
        self._refuse("VpcBfdPortNotEnabled", "spec.bfd.enabled", "true", problem, remedy)
        return None

    def _policies(self, internal: Subnet | None) -> Iterator[Policy]:
        families = set() if internal is None else set(map(family, internal.cidrs))
        for place, policy in enumerate(self._spec.policies):
            self._sources.update(policy.ip_blocks)
            blocks = [_network_of(text) for text in policy.ip_blocks]
            for number, name in enumerate(policy.subnets):
                subnet = self._subnet(f"spec.policies[{place}].subnets[{number}]", name)
                blocks += () if subnet is None else subnet.cidrs
                self._sources.update(() if subnet is None else subnet.cidrs)
            # What has no gateway inside does not get here; a note tells of it.
            kept = [each for each in dict.fromkeys(blocks) if family(each) in families]
            if kept:
                yield Policy(f"policy-{place}", policy.snat, tuple(sorted(kept)))
            elif blocks and internal is not None:
                problem = f"has sources of families only that {internal.metadata.name} lacks"
                remedy = "use an internal Subnet of that family"
                path = f"spec.policies[{place}]"
                self._refuse("FamilyMissing", path, ", ".join(blocks), problem, remedy)
        if self._spec.selectors:
            # Whatever address a selected pod has; a source of a policy is in a longer prefix.
            yield Policy("selected", True, tuple(_EVERYTHING[each] for each in sorted(families)))


def _attachment(subnet: Subnet, addresses: tuple[str, ...], pool: str) -> Attachment:
    name = subnet.metadata.name
    return Attachment(name, subnet.gateways, subnet.spec.provider, ";".join(addresses) or pool)


def _network_of(text: str) -> str:
    """An address is a network, too."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return text  # a fault tells of it


def _notes(workload: Workload) -> Iterator[str]:
    inside = set(map(family, workload.internal.gateways))
    outside = set(map(family, workload.external.gateways))
    for version in sorted(inside - outside):
        yield (
            f"IPv{version} is not forwarded: the external Subnet {workload.external.subnet} "
            f"has no IPv{version} gateway"
        )
    watched = set(map(family, workload.bfd.peers)) if workload.bfd else inside
    for version in sorted(inside - watched):
        yield (
            f"IPv{version} is not watched by BFD: the VPC's BFD port has no IPv{version} address"
        )
