"""The embedded VPC router: Linux forwarding, our own BFD engine, ECMP by source address.

Built once by `build`; then two processes do the work: the engine, and `vegd.lab.router`, which
follows the engine and keeps the next hops.

A multipath route spreads sources anew whenever a next hop comes or goes. So that no TCP connection
moves to a gateway that does not know it, the router remembers the next hop of each: the packet that
begins a connection leaves its number as the connection's mark, and with that mark those that follow
are routed by a table of that one gateway, as long as there is a route in it.
"""

import json
import sys

from vegd.lab import namespaces
from vegd.lab.state import LabState
from vegd.lab.topology import Family, Topology, families_of

_VERSIONS = {Family.IPV4: 4, Family.IPV6: 6}
_NFT_NAMES = {Family.IPV4: "ip", Family.IPV6: "ip6"}


def build(topology: Topology, state: LabState) -> None:
    """Links, addresses and processes of the router."""
    router = topology.namespace("router")
    lines = []
    subnets = (("subnet1", topology.subnet1), ("subnet2", topology.subnet2))
    for number, (bridge, addresses) in enumerate(subnets, 1):
        # Without an address of its own a bridge takes one of its ports', and another one when that
        # port goes; the hosts would look for the router at the old one for seconds.
        mac = f"address 02:00:00:00:00:0{number}"
        lines += [f"link add {bridge} {mac} type bridge mcast_snooping 0", f"link set {bridge} up"]
        lines += namespaces.address_lines(bridge, addresses)
    lines += namespaces.address_lines("lo", topology.bfd_port)
    namespaces.ip(router, lines)
    hash_by_source = 0x1
    namespaces.sysctl(
        router,
        {
            "net/ipv4/ip_forward": 1,
            "net/ipv6/conf/all/forwarding": 1,
            "net/ipv4/conf/all/send_redirects": 0,
            "net/ipv4/conf/subnet1/send_redirects": 0,
            # ip-sysctl: policy 3 hashes the chosen fields, of which 0x1 is the source address.
            "net/ipv4/fib_multipath_hash_policy": 3,
            "net/ipv4/fib_multipath_hash_fields": hash_by_source,
            "net/ipv6/fib_multipath_hash_policy": 3,
            "net/ipv6/fib_multipath_hash_fields": hash_by_source,
        },
    )
    _keep_connections(router, topology)
    _route_without_bfd(router, topology)
    for gateway in topology.gateways:
        _plug(gateway.namespace, gateway.mac, router, gateway.name, "subnet1")
    for client in topology.clients:
        _plug(client.namespace, client.mac, router, client.name, "subnet2")
    engine_dir = state.runtime_dir("router")
    engine_dir.mkdir()
    state.start(
        "router-bfd", router, [sys.executable, "-m", "bfd", "--runtime-dir", str(engine_dir)]
    )
    options = json.dumps(topology.options.to_json())
    command = [sys.executable, "-m", "vegd.lab.router", str(state.directory), options]
    state.start("router", router, command)


def _route_without_bfd(router: str, topology: Topology) -> None:
    """Every gateway is a next hop of the families whose sessions nobody watches."""
    for family in families_of(topology.subnet1):
        if family not in families_of(topology.bfd_port):
            command = ["ip", "-n", router, f"-{_VERSIONS[family]}", "route", "add", "default"]
            for gateway in topology.gateways:
                command += ["nexthop", "via", gateway.internal_address(family)]
            namespaces.run(command)


def gateway_table(number: int) -> int:
    """The routing table of the connections that keep to one gateway, counted from 1."""
    return 100 + number


def _keep_connections(router: str, topology: Topology) -> None:
    """Connections go on by the gateway through which they have begun."""
    numbers = range(1, len(topology.gateways) + 1)
    rules = "".join(f"rule add fwmark {n} lookup {gateway_table(n)}\n" for n in numbers)
    for version in ("-4", "-6"):
        namespaces.run(["ip", "-n", router, version, "-batch", "-"], stdin=rules)
    marks = "\n".join(
        f"ct mark set rt {_NFT_NAMES[family]} nexthop map {{ "
        + ", ".join(
            f"{gateway.internal_address(family)} : {number}"
            for number, gateway in enumerate(topology.gateways, 1)
        )
        + " }"
        for family in families_of(topology.subnet1)
    )
    ruleset = f"""table inet sticky {{
        chain choose {{
            type filter hook forward priority filter
            iifname subnet2 meta l4proto tcp ct state new jump mark_new
        }}
        chain mark_new {{
            {marks}
        }}
        chain keep {{
            type filter hook prerouting priority mangle
            iifname subnet2 meta l4proto tcp meta mark set ct mark
        }}
    }}"""
    namespaces.run(namespaces.inside(router, "nft", "-f", "-"), stdin=ruleset)


def _plug(namespace: str, mac: str, router: str, port: str, bridge: str) -> None:
    namespaces.veth(namespace, "eth0", mac, router, port)
    namespaces.ip(router, [f"link set {port} master {bridge}"])
