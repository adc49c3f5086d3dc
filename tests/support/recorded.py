"""Gateways as Kube-OVN's controller met them, and what it made of them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from kube.resolve import World
from kube.schema import IPPool, Subnet, Vpc, parse

Json = dict[str, Any]

_FIXTURES = Path(__file__).parent.parent / "fixtures" / "kube_ovn"
IMAGE = "kubeovn/kube-ovn:v1.17.0"
"""The image that the recorded controller was told to use."""

# CIDRs, gateways, provider and VPC of the Subnets that the recorded gateways name.
_SUBNETS = {
    "ovn-default": ("10.16.0.0/16", "10.16.0.1", "ovn", "ovn-cluster"),
    "default-dual": ("10.17.0.0/16,fd00:10:17::/112", "10.17.0.1,fd00:10:17::1", "ovn", ""),
    "subnet1": ("192.168.0.0/24", "192.168.0.1", "ovn", "vpc1"),
    "subnet1b": ("192.168.10.0/24", "192.168.10.1", "ovn", "vpc1"),
    "subnet2": (
        "192.168.1.0/24,fd00:192:168:1::/112",
        "192.168.1.1,fd00:192:168:1::1",
        "ovn",
        "vpc2",
    ),
    "subnet3": ("fd00:192:168:2::/112", "fd00:192:168:2::1", "ovn", "vpc3"),
    "subnet4": (
        "192.168.3.0/24,fd00:192:168:3::/112",
        "192.168.3.1,fd00:192:168:3::1",
        "ovn",
        "vpc4",
    ),
    "subnet5": ("192.168.4.0/24", "192.168.4.1", "ovn", "vpc5"),
    "subnet6": ("192.168.5.0/24", "192.168.5.1", "ovn", "vpc6"),
    "macvlan1": ("172.17.0.0/16", "172.17.0.1", "eth1.default", ""),
    "macvlan3": ("fd00:172:20::/112", "fd00:172:20::1", "eth3.default", ""),
    "macvlan2": (
        "172.19.0.0/16,fd00:172:19::/112",
        "172.19.0.1,fd00:172:19::1",
        "eth2.default",
        "",
    ),
}
_BFD_PORTS = {
    "ovn-cluster": "10.255.255.249",
    "vpc1": "10.255.255.255",
    "vpc2": "10.255.255.254,fdff::1",
    "vpc3": "fdff::2",
    "vpc4": "10.255.255.253",
    "vpc5": "10.255.255.252",
    "vpc6": "10.255.255.251",
}
_POOLS = {"pool-in": "subnet1", "pool-out": "macvlan1"}


@cache
def gateways() -> dict[str, Json]:
    """By ``case/step``: the resource and the Deployment that Kube-OVN's controller made of it."""
    found: dict[str, Json] = json.loads((_FIXTURES / "gateways.json").read_text())
    return found


def world() -> World:
    """The objects that the recorded gateways name."""
    return World(
        vpcs={name: vpc(name, port) for name, port in _BFD_PORTS.items()},
        subnets={name: subnet(name, *values) for name, values in _SUBNETS.items()},
        ip_pools={
            name: parse(IPPool, {"metadata": {"name": name}, "spec": {"subnet": of}})
            for name, of in _POOLS.items()
        },
        networks=frozenset({"default/eth1", "default/eth2", "default/eth3"}),
    )


def vpc(name: str, bfd_port: str = "") -> Vpc:
    """A Vpc whose BFD port, if it has an address, is there."""
    status: Json = {"router": name}
    if name == "ovn-cluster":
        status["defaultLogicalSwitch"] = "ovn-default"
    if bfd_port:
        status["bfdPort"] = {"name": f"bfd@{name}", "ip": bfd_port, "nodes": []}
    return parse(Vpc, {"metadata": {"name": name}, "status": status})


def subnet(name: str, cidr: str, gateway: str, provider: str = "ovn", vpc: str = "") -> Subnet:
    """A Subnet."""
    spec = {"cidrBlock": cidr, "gateway": gateway, "provider": provider, "vpc": vpc}
    return parse(Subnet, {"metadata": {"name": name}, "spec": spec})
