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
from vegd.lab.topology import Family, Topology


def build(topology: Topology, state: LabState) -> None:
    """Links, addresses and processes of the router."""
    router = topology.namespace("router")
    lines = []
    for bridge, addresses in (("subnet1", topology.subnet1), ("subnet2", topology.subnet2)):
        lines += [f"link add {bridge} type bridge mcast_snooping 0", f"link set {bridge} up"]
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


def gateway_table(number: int) -> int:
    """The routing table of the connections that keep to one gateway, counted from 1."""
    return 100 + number


def _keep_connections(router: str, topology: Topology) -> None:
    """Connections go on by the gateway through which they have begun."""
    numbers = range(1, len(topology.gateways) + 1)
    rules = "".join(f"rule add fwmark {n} lookup {gateway_table(n)}\n" for n in numbers)
    for version in ("-4", "-6"):
        namespaces.run(["ip", "-n", router, version, "-batch", "-"], stdin=rules)
    marks = {
        family: ", ".join(
            f"{gateway.internal_address(family)} : {number}"
            for number, gateway in enumerate(topology.gateways, 1)
        )
        for family in Family
    }
    ruleset = f"""table inet sticky {{
        chain choose {{
            type filter hook forward priority filter
            iifname subnet2 meta l4proto tcp ct state new jump mark_new
        }}
        chain mark_new {{
            ct mark set rt ip nexthop map {{ {marks[Family.IPV4]} }}
            ct mark set rt ip6 nexthop map {{ {marks[Family.IPV6]} }}
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
