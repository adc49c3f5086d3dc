"""A Kube-OVN gateway pod in namespaces: what the CNI has made before the init container runs.

``vpc`` is the VPC's router with the clients behind it, ``node`` holds the parent of the pod's
macvlan, ``outside`` the world, which knows a way back to sources without SNAT only.
"""

import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.support.daemon import PYTHON
from tests.support.netns import inside, ip, run, veth

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "kube/image/init-vpc-egress-gateway.sh"

GATEWAYS_INSIDE = {4: "192.168.0.1", 6: "fd00::1"}
GATEWAYS_OUTSIDE = {4: "172.17.0.1", 6: "fd17::1"}
POD_INSIDE = {4: "192.168.0.5", 6: "fd00::5"}
POD_OUTSIDE = {4: "172.17.0.11", 6: "fd17::11"}
LENGTHS_INSIDE, LENGTHS_OUTSIDE = {4: 24, 6: 64}, {4: 16, 6: 64}

NEAR = {4: "192.168.0.10", 6: "fd00::10"}
"""A client in the internal subnet, with SNAT."""
FAR = {4: "10.1.0.10", 6: "fd01::10"}
"""A client of another subnet, with SNAT."""
DIRECT = {4: "10.2.0.10", 6: "fd02::10"}
"""A client of a policy without SNAT."""
DIRECT_NETWORKS = {4: "10.2.0.0/24", 6: "fd02::/64"}
FAR_NETWORKS = {4: "10.1.0.0/24", 6: "fd01::/64"}
NEAR_NETWORKS = {4: "192.168.0.0/24", 6: "fd00::/64"}


@dataclass(frozen=True)
class Pod:
    """Names of the namespaces."""

    vpc: str
    pod: str
    node: str
    outside: str

    def init(
        self, environment: Mapping[str, str], *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``vegd init`` in the pod, with this environment only."""
        words = [f"{name}={value}" for name, value in environment.items()]
        command = inside(self.pod, "env", "-i", *words, *PYTHON, "init", *options)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def footprint(self) -> str:
        """Everything of the kernel that init could have touched, as text."""
        commands = (
            ("ip", "address"),
            ("ip", "rule"),
            ("ip", "-6", "rule"),
            ("ip", "route", "show", "table", "all"),
            ("ip", "-6", "route", "show", "table", "all"),
            ("nft", "--stateless", "list", "ruleset"),
            ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
            ("sysctl", "net.ipv4.conf.eth0.rp_filter", "net.ipv4.icmp_errors_use_inbound_ifaddr"),
        )
        return "\n".join(run(self.pod, *command).stdout for command in commands)


def build(
    netns: Callable[[str], str], inner: Iterable[int] = (4, 6), outer: Iterable[int] = (4, 6)
) -> Pod:
    """A pod with these families inside and outside, before its init container."""
    top = Pod(netns("vpc"), netns("pod"), netns("node"), netns("out"))
    for ns in (top.vpc, top.pod, top.outside):
        # What the machine hands on to new namespaces is not what is tested here, nor is time.
        run(ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.ip_forward=0")
        run(ns, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    veth(top.vpc, "r0", top.pod, "eth0")
    veth(top.outside, "o0", top.node, "ext0")
    ip("link", "add", "net1", "netns", top.pod, "link", "ext0", "type", "macvlan", ns=top.node)
    ip("link", "set", "net1", "up", ns=top.pod)
    for version in inner:
        length = LENGTHS_INSIDE[version]
        _address(top.vpc, "r0", f"{GATEWAYS_INSIDE[version]}/{length}")
        _address(top.pod, "eth0", f"{POD_INSIDE[version]}/{length}")
        # Only on the link itself does a host answer neighbour discovery.
        for clients, interface in ((NEAR, "r0"), (FAR, "lo"), (DIRECT, "lo")):
            alone = f"{clients[version]}/{ip_address(clients[version]).max_prefixlen}"
            _address(top.vpc, interface, alone)
        _route(top.vpc, version, "default", POD_INSIDE[version])
        # By the annotation ovn.kubernetes.io/routes: policies outside the internal subnet.
        for network in (FAR_NETWORKS[version], DIRECT_NETWORKS[version]):
            _route(top.pod, version, network, GATEWAYS_INSIDE[version])
    for version in outer:
        length = LENGTHS_OUTSIDE[version]
        _address(top.outside, "o0", f"{GATEWAYS_OUTSIDE[version]}/{length}")
        _address(top.pod, "net1", f"{POD_OUTSIDE[version]}/{length}")
        _route(top.outside, version, DIRECT_NETWORKS[version], POD_OUTSIDE[version])
        # By the annotation <provider>.kubernetes.io/routes.
        _route(top.pod, version, "default", GATEWAYS_OUTSIDE[version])
    return top


def _address(ns: str, interface: str, address: str) -> None:
    extra = ["nodad"] if ":" in address else []
    ip("address", "add", address, "dev", interface, *extra, ns=ns)


def _route(ns: str, version: int, network: str, gateway: str) -> None:
    ip(f"-{version}", "route", "add", network, "via", gateway, ns=ns)


def environment(
    *versions: int, direct: bool = True, outer: Iterable[int] = (4, 6)
) -> dict[str, str]:
    """What the controller gives the init container since 1.14.0."""
    found = {}
    for version in versions:
        found[f"INTERNAL_GATEWAY_IPV{version}"] = GATEWAYS_INSIDE[version]
        gateway = GATEWAYS_OUTSIDE[version] if version in outer else ""
        found[f"EXTERNAL_GATEWAY_IPV{version}"] = gateway
        found[f"NO_SNAT_SOURCES_IPV{version}"] = DIRECT_NETWORKS[version] if direct else ""
    return found


def old_environment(*versions: int) -> dict[str, str]:
    """What the controller gave before 1.14.0."""
    found = {}
    for version in versions:
        found[f"INTERNAL_GATEWAY_IPV{version}"] = GATEWAYS_INSIDE[version]
        behind = (FAR_NETWORKS[version], DIRECT_NETWORKS[version])
        found[f"INTERNAL_ROUTE_DST_IPV{version}"] = ",".join(behind)
        snat = (NEAR_NETWORKS[version], FAR_NETWORKS[version])
        found[f"SNAT_SOURCES_IPV{version}"] = ",".join(snat)
    return found
