"""The network of a cluster: nodes with OVN, VPCs with subnets, pods' links, and an outside.

Nothing here knows Kubernetes; names of nodes, subnets and ports are texts. Namespaces, databases
and a file with the nodes are all that is remembered, so another process can go on with a network or
remove it.
"""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from ipaddress import ip_interface
from pathlib import Path

from vegd.lab import namespaces
from vegd.lab.cluster import central
from vegd.lab.cluster.central import NUDGE_S, Central
from vegd.lab.cluster.chassis import OUTSIDE, Chassis
from vegd.lab.cluster.logical import DEFAULT_VPC, Logical, quoted
from vegd.lab.errors import BadRequest, LabError
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.state import Processes, reap

MTU = 1400
"""Of a pod's link in its VPC, as Kube-OVN has it: the tunnels need the rest of 1500."""
UNDERLAY = "underlay"
"""The switch outside; the outside host's addresses are on it."""


class Network:
    """OVN and wires."""

    def __init__(self, prefix: str, directory: Path, programs: OvnPrograms) -> None:
        self.prefix = prefix
        self.directory = directory
        self.outside = f"{prefix}-outside"
        """The namespace of the outside host."""
        self._programs = programs
        self._central = Central(prefix, directory, programs)
        self._logical = Logical(self._central)
        self._processes = Processes(directory)

    @property
    def northbound(self) -> str:
        """Where the northbound database is."""
        return self._central.remote("nb")

    @cached_property
    def nodes(self) -> dict[str, Chassis]:
        """The nodes that `create` was given."""
        try:
            names: list[str] = json.loads((self.directory / "nodes.json").read_text())
        except FileNotFoundError:
            return {}
        return {
            name: Chassis(self.prefix, self.directory, self._programs, name, number)
            for number, name in enumerate(names, 1)
        }

    def create(self, nodes: Sequence[str]) -> None:
        """Databases, nodes, the outside host, and the default VPC's router.

        Raises LabError if programs are missing or something cannot be made; what is there by then
        is for `remove`.
        """
        self._programs.require()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "nodes.json").write_text(json.dumps(list(nodes)))
        self.__dict__.pop("nodes", None)
        self._central.create()
        self.ensure_vpc(DEFAULT_VPC)
        namespaces.add(self.outside)
        central.bridge(self.outside, UNDERLAY)
        self._processes.start("outside", self.outside, [sys.executable, "-m", "vegd.lab.outside"])
        for name, node in self.nodes.items():
            self._logical.add_node(name)
            node.create(self._central, self.outside, UNDERLAY)

    def remove(self) -> None:
        """Everything that there is of it; that is not an error when there is nothing."""
        nodes = [node.namespace for node in self.nodes.values()]
        there = set(namespaces.names())
        for namespace in {*self._central.namespaces, self.outside, *nodes} & there:
            namespaces.kill_inside(namespace)
            namespaces.delete(namespace)
        reap()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.__dict__.pop("nodes", None)

    def nbctl(self, *arguments: str) -> str:
        """Run ovn-nbctl on the northbound database."""
        return self._central.nbctl(*arguments)

    def nudge(self) -> None:
        """Make every ovn-controller run its main loop, which a new BFD row waits for.

        One may be away or too busy to answer just now; then the next nudge reaches it.
        """
        with contextlib.suppress(LabError):
            self.nbctl("--wait=hv", f"--timeout={NUDGE_S}", "sync")

    def place_bfd_ports(self) -> None:
        """See that the BFD port of each VPC is on a node that runs (see `Logical`)."""
        running = [name for name, node in self.nodes.items() if node.is_running]
        self._logical.place_bfd_ports(running)

    def holder(self, vpc: str) -> str:
        """The node whose chassis has the BFD port of a VPC; empty if none has it."""
        port = quoted(f"bfd@{vpc}")
        bound = self._central.rows("port_binding", f"logical_port={port}", database="sb")
        chassis = [each["chassis"] for each in bound]
        rows = self._central.rows("chassis", database="sb")
        return next((str(each["name"]) for each in rows if each["_uuid"] in chassis), "")

    # VPCs and subnets.

    def vpcs(self) -> set[str]:
        """The VPCs that there are."""
        return self._logical.vpcs()

    def subnets(self) -> dict[str, int]:
        """The subnets that there are, each with how many pods are in it."""
        return self._logical.subnets()

    def ensure_vpc(self, name: str) -> None:
        """The logical router of a VPC."""
        self._logical.ensure_vpc(name)

    def remove_vpc(self, name: str) -> None:
        """Take it away."""
        self._logical.remove_vpc(name)

    def ensure_subnet(
        self, vpc: str, name: str, cidrs: Sequence[str], gateways: Sequence[str]
    ) -> None:
        """A logical switch at the VPC's router, which has the gateways' addresses in it."""
        self._logical.ensure_subnet(vpc, name, cidrs, gateways)

    def remove_subnet(self, name: str) -> None:
        """Take it away, and what its VPC has for it."""
        self._logical.remove_subnet(name)

    def ensure_outside(self, addresses: Iterable[str]) -> None:
        """Addresses, with prefix lengths, that the outside host answers at."""
        lines = (f"address replace {each} dev {UNDERLAY}{_no_wait(each)}" for each in addresses)
        namespaces.ip(self.outside, lines)

    # Pods.

    def attach(
        self,
        node: str,
        namespace: str,
        port: str,
        subnet: str,
        mac: str,
        addresses: Sequence[str],
        gateways: Sequence[str] = (),
    ) -> None:
        """Give a namespace on a node `eth0` in a subnet: addresses with prefix lengths, default
        routes by the gateways, and the logical switch port `port` (`POD.NAMESPACE`).
        """
        self._logical.add_port(subnet, port, mac, addresses, node)
        self._node(node).plug(port, namespace, mac, MTU)
        _configure(namespace, "eth0", addresses, gateways)

    def attach_outside(
        self,
        node: str,
        namespace: str,
        interface: str,
        mac: str,
        addresses: Sequence[str],
        gateways: Sequence[str] = (),
        mode: str = "bridge",
    ) -> None:
        """Give a namespace a macvlan on the node's link to the outside; default routes by the
        gateways take the place of those that are there.
        """
        made = f"link add link {OUTSIDE} name {interface} netns {namespace}"
        namespaces.ip(
            self._node(node).namespace, [f"{made} address {mac} type macvlan mode {mode}"]
        )
        namespaces.ip(namespace, [f"link set {interface} up"])
        _configure(namespace, interface, addresses, gateways)

    def set_rate(self, port: str, ingress_mbit: int, egress_mbit: int) -> None:
        """Limit what a pod receives and sends by `eth0`; 0 is no limit."""
        self._logical.set_rate(port, ingress_mbit, egress_mbit)

    def detach(self, port: str) -> None:
        """Take a pod's port away; its namespace may be gone."""
        node = self._logical.node_of(port)
        if node in self.nodes:
            self.nodes[node].unplug(port)
        self._logical.remove_port(port)

    # Failures.

    def stop_node(self, node: str) -> None:
        """The node loses its power: its switch and chassis die, its wires go dark.

        BFD ports that it had move at once; OVN's own tunnels would notice after some seconds.
        """
        chassis = self._node(node)
        self._set_wires(chassis, "down")
        chassis.stop()
        self.place_bfd_ports()

    def start_node(self, node: str) -> None:
        """It comes back with the ports it had."""
        chassis = self._node(node)
        self._set_wires(chassis, "up")
        chassis.start()
        self.place_bfd_ports()

    def _set_wires(self, chassis: Chassis, state: str) -> None:
        for namespace in (self._central.fabric, self.outside):
            namespaces.ip(namespace, [f"link set {chassis.wire} {state}"])

    def stop_databases(self) -> None:
        """OVN's databases and northd die."""
        self._central.stop()

    def start_databases(self) -> None:
        """They come back with what was in them."""
        self._central.start()

    def _node(self, name: str) -> Chassis:
        if name not in self.nodes:
            there = ", ".join(self.nodes) or "none"
            raise BadRequest(f"node: there is no node {name!r}; the nodes are {there}")
        return self.nodes[name]


def _configure(
    namespace: str, interface: str, addresses: Iterable[str], gateways: Iterable[str]
) -> None:
    lines = namespaces.address_lines(interface, map(ip_interface, addresses))
    lines += [f"route replace default via {each} dev {interface}" for each in gateways]
    if lines:
        namespaces.ip(namespace, lines)


def _no_wait(address: str) -> str:
    return " nodad" if ":" in address else ""
