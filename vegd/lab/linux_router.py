"""The embedded VPC router: Linux forwarding, our own BFD engine, ECMP by source address.

Built once by `build`; then two processes do the work: the engine, and `vegd.lab.router`, which
follows the engine and keeps the next hops.
"""

import json
import sys

from vegd.lab import namespaces
from vegd.lab.state import LabState
from vegd.lab.topology import Topology


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


def _plug(namespace: str, mac: str, router: str, port: str, bridge: str) -> None:
    namespaces.veth(namespace, "eth0", mac, router, port)
    namespaces.ip(router, [f"link set {port} master {bridge}"])
