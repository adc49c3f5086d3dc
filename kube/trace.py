"""Which way a packet of a pod takes to a destination, by the resources alone. Pure.

What OVN has been told is another question, see `kube.rowtrace`. The names and priorities are those
of `kube.routes`: 29150 leads to a gateway of the pod's own node, 29100 to any, and 29090 drops what
no gateway takes while BFD watches them. What stays in the VPC is let through before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kube.owners import KUBE_OVN, VEGD, GatewayOwner, Mark
from kube.pods import GatewayPod
from kube.resolve import DEFAULT_VPC
from kube.routes import CLUSTER, DROP, LOCAL
from kube.scene import GatewayView, Scene
from kube.schema import family
from kube.takes import Client, Take, covers, subnet_of, takes, vpc_of


class Verdict(StrEnum):
    """What becomes of the packet."""

    FORWARDED = "forwarded"
    INSIDE = "inside"
    """It stays in the VPC."""
    NOT_TAKEN = "not taken"
    """No gateway takes it: it goes as the VPC's router has it."""
    UNDEFINED = "undefined"
    """Several gateways claim it."""
    DROPPED = "dropped"
    IMPOSSIBLE = "impossible"
    """The pod cannot send it, or no gateway can see it."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A gateway pod that the packet may be led to."""

    pod: str
    node: str
    internal: str
    external: str
    is_used: bool | None
    """Whether it is; None where only OVN knows."""
    why: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one packet."""

    pod: str
    node: str
    source: str
    destination: str
    verdict: Verdict
    why: str
    vpc: str = ""
    router: str = ""
    subnet: str = ""
    taken: tuple[Take, ...] = ()
    """By what fields, of one gateway or more."""
    gateway: str = ""
    priority: int = 0
    match: str = ""
    hops: tuple[Hop, ...] = ()
    aside: tuple[Hop, ...] = ()
    """The gateway's pods that trafficPolicy Local leaves aside: they are on other nodes."""
    remedy: str = ""
    owner: GatewayOwner | None = field(default=None, compare=False)

    @property
    def version(self) -> int:
        """4 or 6."""
        return family(self.destination)


def mark_of(scene: Scene) -> Mark:
    """How the rows of the scene's controller are marked."""
    return VEGD if scene.identity.infix else KUBE_OVN


def trace(scene: Scene, client: Client, destination: str) -> Trace:
    """The way from a pod to an address."""
    known = _Packet(scene, client, destination)
    return known.trace()


class _Packet:
    def __init__(self, scene: Scene, client: Client, destination: str) -> None:
        self.scene = scene
        self.client = client
        self.destination = destination
        own = [each for each in client.pod.addresses if family(each) == family(destination)]
        self.source = own[0] if own else ""
        subnet = subnet_of(client, scene)
        self.subnet = subnet.metadata.name if subnet else ""

    def _ends(
        self,
        verdict: Verdict,
        why: str,
        *,
        taken: tuple[Take, ...] = (),
        remedy: str = "",
        led: tuple[GatewayView, int, str, tuple[Hop, ...]] | None = None,
        aside: tuple[Hop, ...] = (),
    ) -> Trace:
        view, priority, match, hops = led or (None, 0, "", ())
        mark = mark_of(self.scene)
        return Trace(
            pod=self.client.key,
            node=self.client.pod.spec.node_name,
            source=self.source,
            destination=self.destination,
            verdict=verdict,
            why=why,
            vpc=vpc_of(self.client, self.scene),
            router=self.client.router,
            subnet=self.subnet,
            taken=taken,
            gateway=view.key if view else "",
            priority=priority,
            match=match,
            hops=hops,
            aside=aside,
            remedy=remedy,
            owner=GatewayOwner(mark, *view.key.split("/", 1)) if view else None,
        )

    def trace(self) -> Trace:
        if self.client.obstacle is not None:
            problem, remedy = self.client.obstacle
            return self._ends(Verdict.IMPOSSIBLE, f"the pod {problem}", remedy=remedy)
        if not self.source:
            version = family(self.destination)
            why = f"the pod has no IPv{version} address ({', '.join(self.client.pod.addresses)})"
            remedy = f"give its Subnet {self.subnet} an IPv{version} network"
            return self._ends(Verdict.IMPOSSIBLE, why, remedy=remedy)
        inside = self._subnet_inside()
        if inside:
            why = f"{self.destination} is in the Subnet {inside} of the same Vpc"
            return self._ends(Verdict.INSIDE, why)
        taken = tuple(self._takes())
        gateways = sorted({each.gateway for each in taken})
        if not gateways:
            why = f"no gateway of the Vpc {vpc_of(self.client, self.scene)} takes {self.source}"
            remedy = f"kubectl vegd why -n {self.client.pod.metadata.namespace} "
            remedy += f"{self.client.pod.metadata.name} says why each does not"
            return self._ends(Verdict.NOT_TAKEN, why, remedy=remedy)
        if len(gateways) > 1:
            why = f"{' and '.join(gateways)} claim {self.source}: OVN takes any of them"
            remedy = "take it out of the policies of all but one"
            return self._ends(Verdict.UNDEFINED, why, taken=taken, remedy=remedy)
        return self._led(self.scene.views[gateways[0]], taken)

    def _subnet_inside(self) -> str:
        vpc = vpc_of(self.client, self.scene)
        for name, subnet in sorted(self.scene.world.subnets.items()):
            is_logical = subnet.spec.provider.split(".")[-1] == "ovn"
            is_same = is_logical and (subnet.spec.vpc or DEFAULT_VPC) == vpc
            if is_same and any(covers(cidr, self.destination) for cidr in subnet.cidrs):
                return name
        return ""

    def _takes(self) -> Iterator[Take]:
        for view in self.scene.views.values():
            yield from (each for each in takes(view, self.client) if each.address == self.source)

    def _led(self, view: GatewayView, taken: tuple[Take, ...]) -> Trace:
        version = family(self.destination)
        hops = _hops(view, version)
        usable = [each for each in hops if each.is_used is not False]
        group, near = self._near(view, hops)
        match = _match(view, version, is_selected=taken[0].is_selected, scene=self.scene)
        if near:
            match = f"ip{version}.src == ${group}_ip{version} && {match}"
            led = (view, LOCAL, match, near)
        elif usable:
            led = (view, CLUSTER, match, hops)
        elif view.gateway.spec.bfd.enabled:
            why = "no gateway pod can take it, and with BFD nothing else is to forward it"
            led = (view, DROP, match, hops)
            return self._ends(Verdict.DROPPED, why, taken=taken, led=led, remedy=_why(view))
        else:
            why = f"{view.key} should take it and has no pod that can forward IPv{version}"
            led = (view, CLUSTER, match, hops)
            return self._ends(Verdict.NOT_TAKEN, why, taken=taken, led=led, remedy=_why(view))
        why = f"{view.key} takes it by {taken[0].by}"
        if near and view.gateway.spec.bfd.enabled:
            why += "; where its condition Degraded tells of static routes, by any of its pods"
        aside = tuple(each for each in hops if each not in near) if near else ()
        return self._ends(Verdict.FORWARDED, why, taken=taken, led=led, aside=aside)

    def _near(self, view: GatewayView, hops: tuple[Hop, ...]) -> tuple[str, tuple[Hop, ...]]:
        """The port group of the client's node and the next hops there, if packets go to these.

        Kube-OVN has pods of its default VPC in these groups, and no others (but those in a VLAN).
        """
        node = self.client.pod.spec.node_name
        group = self.scene.node_groups.get(node, "")
        is_default = vpc_of(self.client, self.scene) == DEFAULT_VPC
        if view.gateway.spec.traffic_policy != "Local" or not group or not is_default:
            return "", ()
        near = tuple(each for each in hops if each.node == node)
        return group, near if any(each.is_used is not False for each in near) else ()


def _why(view: GatewayView) -> str:
    metadata = view.gateway.metadata
    return f"kubectl vegd why -n {metadata.namespace} {metadata.name}"


def _match(view: GatewayView, version: int, *, is_selected: bool, scene: Scene) -> str:
    metadata = view.gateway.metadata
    owner = GatewayOwner(mark_of(scene), metadata.namespace, metadata.name)
    suffix = f"_ip{version}" if is_selected else f".ipv{version}"
    return f"ip{version}.src == ${owner.group}{suffix}"


def _hops(view: GatewayView, version: int) -> tuple[Hop, ...]:
    """As `kube.routes` chooses them of those that do not drain: with BFD all that run, else the
    ready ones, or all."""
    able = [
        (pod, internal, external)
        for pod in view.pods
        if pod.runs
        and not pod.drains
        and (internal := _first(pod.internal, version))
        and (external := _first(pod.external, version))
    ]
    has_bfd = view.gateway.spec.bfd.enabled
    ready = [each for each in able if each[0].ready]
    chosen = able if has_bfd or not ready else ready
    return tuple(
        Hop(pod.name, pod.node, internal, external, *_use(view, pod, internal, has_bfd=has_bfd))
        for pod, internal, external in chosen
    )


def _use(
    view: GatewayView, pod: GatewayPod, internal: str, *, has_bfd: bool
) -> tuple[bool | None, str]:
    """Whether OVN may be expected to use it, and why."""
    report = view.reports.get(pod.name)
    if not has_bfd:
        return True, "ready" if pod.ready else "not ready, and nobody else is"
    sessions = [each for each in report.bfd if each.local == internal] if report else []
    if not sessions:
        return None, "its session is not reported"
    down = [each for each in sessions if not each.is_up]
    if down:
        return False, f"says that its session with {down[0].peer} is {down[0].state}"
    return True, "says that its session is Up"


def _first(addresses: tuple[str, ...], version: int) -> str:
    return next((each for each in addresses if family(each) == version), "")
