"""From a gateway to the rows of OVN's northbound database that lead its sources to it. Pure.

Names, priorities and matches are those of Kube-OVN's controller. A source is in one of two sets,
the policies' networks and the selected pods' addresses, so that each policy row comes twice a
family. By priority: 29150 to a gateway of the client's node, 29100 to any, 29090 drops what no
gateway takes while BFD watches them.

There are two ways to tie a next hop to its BFD session, chosen in `kube.binding`: a reroute policy
that names the session, or static routes by source that do, one for each of the gateway's slots
(`kube.slots`). A third is no way but a question: a policy that no packet can match names the
sessions, so that OVN shows what it makes of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_network

from kube.owners import LENT, GatewayOwner, Mark
from kube.pods import first
from kube.rows import (
    BY_DESTINATION,
    BY_SOURCE,
    AddressSet,
    Bfd,
    Key,
    Policy,
    PortGroup,
    Row,
    StaticRoute,
)
from kube.slots import Slot, assign

LOCAL, CLUSTER, DROP = 29150, 29100, 29090
VERSIONS = (4, 6)
_SELECTION = {
    4: frozenset({"ip_proto", "ip_src", "ip_dst", "tp_src", "tp_dst"}),
    6: frozenset({"ip_proto", "ipv6_src", "ipv6_dst", "tp_src", "tp_dst"}),
}
"""What a connection's gateway is chosen by. OVN's own hash is the datapath's: Linux's is another
after a retransmission, and a TCP connection then goes on by another gateway."""
_MOST_MULTIPLIER = 255


class Way(StrEnum):
    """How next hops are tied to their BFD sessions."""

    POLICIES = "policies"
    STATIC_ROUTES = "static-routes"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of the gateway. Of each family the first address counts."""

    name: str
    node: str
    ready: bool
    internal: tuple[str, ...]
    external: tuple[str, ...]
    leaving: bool = False
    """Whether it is being deleted, or drained by hand; it forwards until nothing comes."""


@dataclass(frozen=True, slots=True)
class SelectedPod:
    """A pod that a selector matches: its logical switch port (`pod.namespace`) and addresses."""

    port: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BfdSettings:
    """Of a gateway with BFD: its own timers, in milliseconds, and the VPC's BFD port.

    Raises ValueError for a multiplier that a BFD packet cannot carry (RFC 5880 §4.1).
    """

    port: str
    addresses: tuple[str, ...]
    min_tx_ms: int = 1000
    min_rx_ms: int = 1000
    multiplier: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.multiplier <= _MOST_MULTIPLIER:
            raise ValueError(
                f"bfd.multiplier: {self.multiplier} does not fit a BFD packet; use 1 to 255"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What decides a gateway's rows."""

    namespace: str
    name: str
    router: str
    """The logical router; Kube-OVN calls it like the VPC."""
    router_port: str
    """The router's port in the gateway's internal subnet; Kube-OVN: `vpc-subnet`."""
    size: int
    """How many replicas there should be."""
    replicas: tuple[Replica, ...] = ()
    cidrs: frozenset[str] = frozenset()
    """Of all policies, with SNAT and without; networks or addresses."""
    has_selectors: bool = False
    pods: tuple[SelectedPod, ...] = ()
    is_local: bool = False
    """trafficPolicy Local: a client's own node first."""
    node_groups: Mapping[str, str] = field(default_factory=dict)
    """The port group of each node's pods."""
    is_grouped: bool = True
    """Whether the VPC's pods are in these groups: Kube-OVN has pods of its default VPC there, and
    of subnets in a VLAN, but no others."""
    bfd: BfdSettings | None = None
    way: Way = Way.POLICIES
    slots: Mapping[tuple[int, int], Slot] = field(default_factory=dict)
    """Those of the static routes that are there, by IP version and number."""
    up: frozenset[str] = frozenset()
    """The next hops that OVN has a session with."""


class Reason(StrEnum):
    """What a user should be told of a gateway's rows."""

    BFD_PORT_LACKS_FAMILY = "BfdPortLacksFamily"
    NO_WAY_OUT = "NoWayOut"
    NODE_WITHOUT_PORT_GROUP = "NodeWithoutPortGroup"
    LOCAL_NOT_POSSIBLE = "LocalNotPossible"
    INSIDE_GOES_OUTSIDE = "InsideGoesOutside"


@dataclass(frozen=True, slots=True)
class Notice:
    """A reason and its sentence."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The rows of a gateway and what there is to say of them."""

    rows: tuple[Row, ...]
    notices: tuple[Notice, ...]


def routes(gateway: Gateway, mark: Mark) -> Routes:
    """The rows that a gateway wants."""
    owner = GatewayOwner(mark, gateway.namespace, gateway.name)
    families = [_Family(gateway, owner, version) for version in VERSIONS]
    rows: list[Row] = []
    if gateway.has_selectors:
        ports = frozenset(pod.port for pod in gateway.pods)
        # One group for both families; Kube-OVN's says 6, having written the families in turn.
        rows.append(PortGroup(name=owner.group, ports=ports, external_ids=owner.ids(6)))
    for family in families:
        rows.extend(family.rows())
    return Routes(tuple(rows), tuple(each for family in families for each in family.notices()))


class _Family:
    """One IP version of a gateway."""

    def __init__(self, gateway: Gateway, owner: GatewayOwner, version: int) -> None:
        self.gateway = gateway
        self.owner = owner
        self.version = version
        self.ids = owner.ids(version)

    @cached_property
    def networks(self) -> frozenset[str]:
        """The policies' networks as they were given."""
        return frozenset(each for each in self.gateway.cidrs if _version(each) == self.version)

    @cached_property
    def bfd(self) -> BfdSettings | None:
        """The settings if OVN can have sessions in this family."""
        bfd = self.gateway.bfd
        return bfd if bfd and first(bfd.addresses, self.version) else None

    @cached_property
    def hops(self) -> tuple[tuple[str, str], ...]:
        """Next hop and node of each gateway that can send packets out, in both families in the
        order of the pods' names.

        Where BFD watches, all of them: OVN knows better than a readiness probe, which is late and
        may be wrong. Without BFD the ready ones, or all when none is.
        """
        able = [(hop, each) for hop, each in self._able() if not each.leaving]
        ready = [(hop, each) for hop, each in able if each.ready]
        chosen = able if self.bfd or not ready else ready
        return tuple((hop, each.node) for hop, each in chosen)

    def _able(self) -> Iterator[tuple[str, Replica]]:
        for replica in sorted(self.gateway.replicas, key=lambda each: each.name):
            address = first(replica.internal, self.version)
            if address and first(replica.external, self.version):
                yield address, replica

    @cached_property
    def slots(self) -> dict[int, Slot]:
        """Who is to have them."""
        there = self.gateway.slots.items()
        return assign(
            {number: slot for (version, number), slot in there if version == self.version},
            [hop for hop, _ in self.hops],
            leaving=[hop for hop, each in self._able() if each.leaving],
            up=self.gateway.up,
            size=self.gateway.size,
        )

    @property
    def sources(self) -> tuple[str, str]:
        """The address sets of the policies' networks and of the selected pods."""
        return f"{self.owner.group}.ipv{self.version}", f"{self.owner.group}_ip{self.version}"

    def rows(self) -> Iterator[Row]:
        """All but the port group."""
        networks, pods = self.sources
        yield AddressSet(name=networks, addresses=self.networks, external_ids=self.ids)
        if not self.gateway.has_selectors:
            # A port group brings a set of this name. Without one the policies name it all the same.
            yield AddressSet(name=pods, addresses=frozenset(), external_ids=self.ids)
        way = self.gateway.way if self.bfd else Way.POLICIES
        if self.bfd:
            slots = self.slots.values() if way is Way.STATIC_ROUTES else ()
            hops = (*(hop for hop, _ in self.hops), *(slot.hop for slot in slots))
            for address in dict.fromkeys(hops):
                yield self._session(self.bfd, address)
        match way:
            case Way.POLICIES:
                yield from self._reroutes()
            case Way.TRIAL:
                yield from self._question()
            case Way.STATIC_ROUTES:
                yield from self._static_routes()
        if self.gateway.bfd:
            yield from (self._policy(DROP, match, "drop") for match in self._matches())

    def _session(self, bfd: BfdSettings, address: str) -> Bfd:
        # What the gateway sends is what OVN receives, so the two change sides.
        return Bfd(
            logical_port=bfd.port,
            dst_ip=address,
            min_tx=bfd.min_rx_ms,
            min_rx=bfd.min_tx_ms,
            detect_mult=bfd.multiplier,
            external_ids=self.ids,
        )

    def _matches(self) -> list[str]:
        return [f"ip{self.version}.src == ${name}" for name in self.sources]

    def _reroutes(self) -> Iterator[Policy]:
        matches = self._matches()
        for group, addresses in sorted(self._local_hops().items()):
            for match in matches:
                local = f"ip{self.version}.src == ${group}_ip{self.version} && {match}"
                yield self._policy(LOCAL, local, "reroute", addresses)
        if self.hops:
            addresses = {address for address, _ in self.hops}
            for match in matches:
                yield self._policy(CLUSTER, match, "reroute", addresses)

    def _local_hops(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        if self.gateway.is_local:
            for address, node in self.hops:
                if group := self.gateway.node_groups.get(node):
                    found.setdefault(group, set()).add(address)
        return found

    def _question(self) -> Iterator[Policy]:
        if self.hops:
            match = f"{self._matches()[0]} && 0"
            yield self._policy(CLUSTER, match, "reroute", {address for address, _ in self.hops})

    def _policy(
        self, priority: int, match: str, action: str, nexthops: Iterable[str] = ()
    ) -> Policy:
        hops = frozenset(nexthops)
        return Policy(
            router=self.gateway.router,
            priority=priority,
            match=match,
            action=action,
            nexthops=hops,
            bfd_sessions=frozenset(map(self._session_key, hops)) if self.bfd else frozenset(),
            external_ids=self.ids,
        )

    def _session_key(self, address: str) -> Key:
        assert self.bfd is not None  # noqa: S101 - asked for by the callers
        return (self.bfd.port, address)

    def _static_routes(self) -> Iterator[Row]:
        """Those of the slots, and of gateways that have none; and a way past the drop for what they
        have led out, but for nothing else.

        Without `ecmp_symmetric_reply`: OVN then remembers for each connection which gateway its
        answers came from, and goes on sending there when that gateway is dead (measured with
        23.03 and 25.03: as long as the client sends, where it is in another subnet).
        """
        # Policies come after routes. OVN can ask by which port a packet leaves, not whether by
        # another one.
        for match in self._matches():
            allowed = f'{match} && outport == "{self.gateway.router_port}"'
            yield self._policy(CLUSTER, allowed, "allow")
        used = set()
        for prefix in sorted(self._prefixes()):
            for number, slot in self.slots.items():
                used.add(slot.hop)
                yield self._route(BY_SOURCE, prefix, slot, number)
        for address, _ in self.hops:
            if address not in used:
                # A session begins for a route alone. This one leads where packets go without it.
                yield self._route(BY_DESTINATION, str(ip_network(address)), Slot(address))

    def _route(self, policy: str, prefix: str, slot: Slot, number: int = 0) -> StaticRoute:
        return StaticRoute(
            router=self.gateway.router,
            policy=policy,
            ip_prefix=prefix,
            slot=number,
            nexthop=slot.hop,
            bfd=self._session_key(slot.hop),
            selection_fields=_SELECTION[self.version],
            external_ids=self.ids | LENT if slot.lent else self.ids,
        )

    def _prefixes(self) -> set[str]:
        pods = (each for pod in self.gateway.pods for each in pod.addresses)
        prefixes = {str(ip_network(each, strict=False)) for each in self.networks}
        return prefixes | {str(ip_network(each)) for each in pods if _version(each) == self.version}

    def notices(self) -> Iterator[Notice]:
        """What cannot be as the user may think."""
        gateway, family = self.gateway, f"IPv{self.version}"
        pods = any(first(pod.addresses, self.version) for pod in gateway.pods)
        stays = any(not each.leaving for each in gateway.replicas)
        if stays and not self.hops and (self.networks or pods):
            yield Notice(
                Reason.NO_WAY_OUT,
                f"there are {family} sources, but no gateway has an {family} address on both sides",
            )
        if gateway.bfd and not self.bfd and self.hops:
            yield Notice(
                Reason.BFD_PORT_LACKS_FAMILY,
                f"{gateway.bfd.port} has no {family} address, so {family} has no BFD: a gateway is "
                "left only when its pod is not ready; give the VPC's bfdPort.ip one",
            )
        if self.bfd and self.hops and gateway.way is Way.STATIC_ROUTES:
            yield from self._static_notices(family, has_pods=pods)
        elif gateway.is_local and self.hops:
            yield from self._local_notices(family)

    def _static_notices(self, family: str, *, has_pods: bool) -> Iterator[Notice]:
        if self.gateway.is_local:
            yield Notice(
                Reason.LOCAL_NOT_POSSIBLE,
                f"{family} packets go by static routes, which know no nodes: "
                "trafficPolicy Local has no effect",
            )
        if has_pods:
            # A longer prefix wins, of source or destination: one pod's address against a subnet.
            yield Notice(
                Reason.INSIDE_GOES_OUTSIDE,
                f"{family} packets go by static routes: those of selected pods to other subnets of "
                "the VPC pass the gateway, too; policies with networks do not have this",
            )

    def _local_notices(self, family: str) -> Iterator[Notice]:
        if not self.gateway.is_grouped:
            yield Notice(
                Reason.LOCAL_NOT_POSSIBLE,
                "Kube-OVN has only pods of its default VPC, and of VLANs, in the nodes' port "
                f"groups: {family} packets of all others go to any gateway, "
                "also with trafficPolicy Local",
            )
        for node in sorted({node for _, node in self.hops} - self.gateway.node_groups.keys()):
            yield Notice(
                Reason.NODE_WITHOUT_PORT_GROUP,
                f"the node {node} has no port group in OVN: "
                f"its pods' {family} packets go to any gateway",
            )


def _version(text: str) -> int:
    return 6 if ":" in text else 4
