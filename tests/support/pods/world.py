"""The network of recorded gateway pods: their VPC's router, a client behind it, the world outside.

It is a lab (`vegd.lab`) with the recorded addresses. The node's CNI is played here: `eth0` and
`net1`, a macvlan whose parent stays on the node, with their addresses and with the routes of the
pod's annotations.
"""

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from tests.support.netns import NamespaceFactory, ip, run
from tests.support.pods.recorded import Interface, Recorded
from vegd.lab import namespaces
from vegd.lab.flows import target
from vegd.lab.lab import Lab, remove
from vegd.lab.topology import Family, LabOptions, Network, RouterKind, families_of

IPNetwork = IPv4Network | IPv6Network

_BEHIND = {4: "10.250.0.0/24", 6: "fd00:250::/64"}
"""Clients with SNAT of which the pod has never heard."""
_ADDRESSES = 4
_LENGTHS = {4: 24, 6: 64}
_LEAKS = "leaks"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """A lab whose gateways are the pods."""

    lab: Lab
    pods: tuple[Recorded, ...]
    snat: tuple[str, ...]
    """Addresses of the first client that the outside must not see."""
    no_snat: tuple[str, ...]
    """Addresses of the first client that it must see."""

    def namespace(self, pod: int = 0) -> str:
        """The network namespace of a pod."""
        return self.lab.topology.gateways[pod].namespace

    def seen(self, sources: Iterable[str]) -> dict[str, str | None]:
        """Whom the outside sees when each source asks it over TCP; None without an answer.

        A source of whose family nothing is outside is passed over.
        """
        there = families_of(self.lab.topology.outside)
        pairs = [f"{s}={target(self.lab, s)}" for s in sources if Family.of(s) in there]
        command = [sys.executable, "-m", "vegd.lab.probe", "http", *pairs]
        ns = self.lab.topology.clients[0].namespace
        return dict(json.loads(namespaces.run(namespaces.inside(ns, *command), timeout_s=120)))

    def leaks(self) -> int:
        """Packets from the VPC that have come outside with an address that must not be seen."""
        outside = self.lab.topology.namespace("outside")
        words = ("nft", "-j", "list", "counter", "inet", _LEAKS, _LEAKS)
        found = json.loads(run(outside, *words).stdout)["nftables"]
        return sum(each["counter"]["packets"] for each in found if "counter" in each)


@contextlib.contextmanager
def world(
    pods: Sequence[Recorded], router: RouterKind = RouterKind.LINUX, clients: int = 1
) -> Iterator[World]:
    """The world of pods of one Deployment, each plugged and not started; removed in the end."""
    first = pods[0]
    snat, no_snat = _first_client(first)
    others = [_behind(first, number) for number in range(1, clients)]
    main = first.environment["main"]
    options = LabOptions(
        prefix=f"pod{os.getpid()}n{next(_numbers)}",
        router=router,
        gateways=len(pods),
        clients=clients,
        interval_ms=int(main.get("BFD_MIN_TX", "1000")),
        multiplier=int(main.get("BFD_MULTI", "3")),
        network=_network(pods, [[*snat, *no_snat], *others]),
    )
    factory, lab = NamespaceFactory(), Lab(options)
    try:
        lab.create(with_daemons=False)
        made = World(lab, tuple(pods), _texts(snat), _texts(no_snat))
        for number, pod in enumerate(pods):
            _plug(pod, made.namespace(number), factory("node"))
        _watch_outside(made, no_snat)
        yield made
    finally:
        remove(options.prefix)
        factory.close()


def _network(pods: Sequence[Recorded], clients: Sequence[Sequence[Interface]]) -> Network:
    first = pods[0]
    peers = first.environment["main"].get("BFD_PEER_IPS", "")
    return Network(
        subnet1=_with_lengths(first.internal, first.environment["init"], "INTERNAL_GATEWAY_IPV"),
        subnet2=tuple(
            f"{network[1]}/{network.prefixlen}"
            for network in dict.fromkeys(each.network for each in clients[0])
        ),
        bfd_port=tuple(str(ip_interface(each)) for each in peers.split(",") if each),
        outside=_with_lengths(first.external, first.environment["init"], "EXTERNAL_GATEWAY_IPV"),
        gateways=tuple(
            (tuple(map(str, pod.internal)), tuple(map(str, pod.external))) for pod in pods
        ),
        clients=tuple(tuple(map(str, addresses)) for addresses in clients),
    )


def _texts(addresses: Iterable[Interface]) -> tuple[str, ...]:
    return tuple(str(each.ip) for each in addresses)


def _with_lengths(
    side: Iterable[Interface], environment: Mapping[str, str], name: str
) -> tuple[str, ...]:
    """The gateways of one side, with the lengths of the pod's own addresses there."""
    return tuple(
        f"{environment[f'{name}{each.version}']}/{each.network.prefixlen}" for each in side
    )


def _behind(pod: Recorded, client: int) -> list[Interface]:
    """Addresses with SNAT of a client."""
    networks = [ip_network(_BEHIND[each.version]) for each in pod.internal]
    return [host for network in networks for host in _hosts(network, client)]


def _first_client(pod: Recorded) -> tuple[list[Interface], list[Interface]]:
    """Addresses with and without SNAT of the first client, in the networks that the pod knows, too.

    Not in the internal subnet: clients there are those of tests/system/test_init.py.
    """
    direct = [
        network
        for name, value in pod.environment["init"].items()
        for network in _listed(value)
        if name.startswith("NO_SNAT_SOURCES_")
    ]
    peers = _listed(pod.environment["main"].get("BFD_PEER_IPS", ""))
    known = [each for each in map(ip_network, pod.routes) if each not in (*peers, *direct)]

    def placed(networks: Iterable[IPNetwork]) -> list[Interface]:
        own = {each.network for each in pod.internal}
        near = {one for one in networks for each in own if _overlap(one, each)}
        return [host for each in networks if each not in near for host in _hosts(each, 0)]

    return [*_behind(pod, 0), *placed(known)], placed(direct)


def _listed(text: str) -> list[IPNetwork]:
    return [ip_network(each) for each in text.split(",") if each]


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _hosts(network: IPNetwork, client: int) -> list[Interface]:
    """Addresses of a client in a network; the only one, if it is a single address."""
    if network.num_addresses == 1:
        return [ip_interface(f"{network.network_address}/{_LENGTHS[network.version]}")]
    first = 10 * (client + 1)
    hosts = range(first, first + _ADDRESSES)
    return [ip_interface(f"{network[host]}/{network.prefixlen}") for host in hosts]


def _plug(pod: Recorded, ns: str, node: str) -> None:
    """What the CNI does, before the init container runs."""
    ip("link", "set", "ext0", "netns", node, ns=ns)
    ip("link", "set", "ext0", "up", ns=node)
    macvlan = ("type", "macvlan", "mode", "bridge")
    ip("link", "add", "net1", "netns", ns, "link", "ext0", *macvlan, ns=node)
    lines = ["link set net1 up"]
    lines += namespaces.address_lines("eth0", pod.internal)
    lines += namespaces.address_lines("net1", pod.external)
    for name, value in sorted(pod.facts.annotations.items()):
        if name.endswith(".kubernetes.io/routes"):
            lines += [f"route replace {each['dst']} via {each['gw']}" for each in json.loads(value)]
    namespaces.ip(ns, lines)


def _watch_outside(made: World, no_snat: Iterable[Interface]) -> None:
    """Routes back to who may be seen, and a count of who must not be."""
    outside = made.lab.topology.namespace("outside")
    pod = made.lab.topology.gateways[0]
    allowed: dict[int, list[str]] = {4: ["127.0.0.0/8"], 6: ["fe80::/10", "::"]}
    for each in (address for gateway in made.lab.topology.gateways for address in gateway.external):
        allowed[each.version].append(str(each.ip))
    for network in dict.fromkeys(each.network for each in no_snat):
        allowed[network.version].append(str(network))
        family = Family.of(str(network))
        ip("route", "add", str(network), "via", pod.external_address(family), ns=outside)
    rules = "".join(
        f"{name} saddr != {{ {', '.join(allowed[version])} }} counter name {_LEAKS}\n"
        for version, name in ((4, "ip"), (6, "ip6"))
    )
    ruleset = f"""table inet {_LEAKS} {{
        counter {_LEAKS} {{ }}
        chain arriving {{
            type filter hook prerouting priority raw
            iifname underlay jump judge
        }}
        chain judge {{
            {rules}
        }}
    }}"""
    namespaces.run(namespaces.inside(outside, "nft", "-f", "-"), stdin=ruleset)
