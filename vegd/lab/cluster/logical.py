"""VPCs, subnets and ports as rows of OVN's northbound database, named as Kube-OVN names them.

A VPC is a logical router of the same name. A subnet is a switch of its name, the router port
`VPC-SUBNET`, the switch port `SUBNET-VPC`, and per family a policy and a static route (below).
What belongs to a subnet says so in its external_ids, which Kube-OVN's do not. A node has a port
group, in which the ports of its pods of the default VPC are.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Any

from vegd.lab.cluster.central import Central

DEFAULT_VPC = "ovn-cluster"
_VENDOR = "vendor=kube-ovn"
_OURS = f"external_ids:{_VENDOR}"
_ROUTER_OPTIONS = (
    "options:always_learn_from_arp_request=false",
    "options:dynamic_neigh_routers=true",
    "options:mac_binding_age_threshold=300",
)
_WITHIN_VPC = 31000


class Logical:
    """The logical network."""

    def __init__(self, centre: Central) -> None:
        self._centre = centre

    def vpcs(self) -> set[str]:
        """The VPCs that there are."""
        return {str(each["name"]) for each in self._centre.rows("logical_router", _OURS)}

    def subnets(self) -> dict[str, int]:
        """The subnets that there are, each with how many pods are in it."""
        switches = self._centre.rows("logical_switch", _OURS)
        return {
            str(each["name"]): len(_several(each["ports"])) - 1
            for each in switches
            if "vpc" in each["external_ids"]
        }

    def ensure_vpc(self, name: str) -> None:
        """The router of a VPC."""
        self._centre.nbctl(
            *("--may-exist", "lr-add", name, "--", "set", "logical_router", name),
            *(*_ROUTER_OPTIONS, _OURS),
        )

    def add_node(self, name: str) -> None:
        """The port group of a node."""
        group, ids = _node_group(name), f"external_ids:np={quoted(f'node/{name}')}"
        self._centre.nbctl("pg-add", group, "--", "set", "port_group", group, ids)

    def remove_vpc(self, name: str) -> None:
        """The router and its ports."""
        self._centre.nbctl("--if-exists", "lr-del", name)

    def ensure_subnet(
        self, vpc: str, name: str, cidrs: Sequence[str], gateways: Sequence[str]
    ) -> None:
        """The switch, what ties it to its router, and the ways to it."""
        lengths = {ip_network(each).version: ip_network(each).prefixlen for each in cidrs}
        networks = [f"{each}/{lengths[ip_interface(each).version]}" for each in gateways]
        port, far_port = f"{vpc}-{name}", f"{name}-{vpc}"
        self._centre.nbctl(
            *("--may-exist", "ls-add", name, "--", "set", "logical_switch", name),
            *(_OURS, f"external_ids:vpc={vpc}"),
            *self._router_port(vpc, port, networks),
            *("--", "--may-exist", "lsp-add", name, far_port),
            *("--", "lsp-set-type", far_port, "router"),
            *("--", "lsp-set-addresses", far_port, "router"),
            *("--", "lsp-set-options", far_port, f"router-port={port}"),
        )
        self._ensure_policies(vpc, name, cidrs)
        self._ensure_routes(vpc, name, cidrs, gateways)

    def remove_subnet(self, name: str) -> None:
        """The switch and all that `ensure_subnet` has made in its router."""
        for switch in self._centre.rows("logical_switch", f"name={quoted(name)}"):
            vpc = str(switch["external_ids"]["vpc"])
            self._ensure_policies(vpc, name, ())
            self._ensure_routes(vpc, name, (), ())
            port = f"{vpc}-{name}"
            self._centre.nbctl("--if-exists", "lrp-del", port, "--", "--if-exists", "ls-del", name)

    def place_bfd_ports(self, live: Collection[str]) -> None:
        """Put the routers with a BFD port on one of the chassis that live, each.

        Stock OVN hands a packet of BFD to the chassis that it comes from, and only the one that has
        the port knows the session: a gateway elsewhere would not be heard. (Kube-OVN's OVN carries
        it there.) Where the whole router is on one chassis, all packets go there. OVN does not look
        at the port's group of chassis then, so it is heeded here: a chassis of the group that lives
        keeps the router, else the first of them by priority gets it.
        """
        ports = {str(each["name"]) for each in self._centre.rows("logical_router_port")}
        for router in self._centre.rows("logical_router", _OURS):
            name = str(router["name"])
            port, current = f"bfd@{name}", router["options"].get("chassis", "")
            members = (
                [each for each in self._members(port) if each in live] if port in ports else []
            )
            if not members and current:
                self._centre.nbctl("remove", "logical_router", name, "options", "chassis")
            elif members and current not in members:
                chassis = f"options:chassis={members[0]}"
                self._centre.nbctl("set", "logical_router", name, chassis)

    def _members(self, group: str) -> list[str]:
        """The chassis of a group, by priority."""
        found = self._centre.rows("ha_chassis_group", f"name={quoted(group)}")
        members = {str(uuid) for each in found for uuid in _several(each["ha_chassis"])}
        rows = [each for each in self._centre.rows("ha_chassis") if each["_uuid"] in members]
        rows.sort(key=lambda each: (-each["priority"], each["chassis_name"]))
        return [str(each["chassis_name"]) for each in rows]

    def add_port(
        self, switch: str, port: str, mac: str, addresses: Iterable[str], node: str
    ) -> None:
        """The port of a pod, `POD.NAMESPACE`, and its place in the node's group.

        Kube-OVN looks once a minute who belongs there.
        """
        texts = [str(ip_interface(each).ip) for each in addresses]
        self._centre.nbctl(
            *("--may-exist", "lsp-add", switch, port),
            *("--", "lsp-set-addresses", port, " ".join([mac, *texts])),
            *("--", "set", "logical_switch_port", port, _OURS),
            *(f"external_ids:ls={switch}", f"external_ids:node={node}"),
            *self._into_group(switch, port, node),
        )

    def _into_group(self, switch: str, port: str, node: str) -> Iterator[str]:
        for each in self._centre.rows("logical_switch", f"name={quoted(switch)}"):
            if each["external_ids"]["vpc"] == DEFAULT_VPC:
                yield from ("--", "--id=@port", "get", "logical_switch_port", port)
                yield from ("--", "add", "port_group", _node_group(node), "ports", "@port")

    def node_of(self, port: str) -> str:
        """The node that a port was made for; empty if there is no such port."""
        rows = self._centre.rows("logical_switch_port", f"name={quoted(port)}")
        return str(rows[0]["external_ids"].get("node", "")) if rows else ""

    def remove_port(self, port: str) -> None:
        """Take the port of a pod away, with its limits."""
        self.set_rate(port, 0, 0)
        self._centre.nbctl("--if-exists", "lsp-del", port)

    def set_rate(self, port: str, ingress_mbit: int, egress_mbit: int) -> None:
        """Limits as the pod sees them; 0 is none."""
        rows = self._centre.rows("logical_switch_port", f"name={quoted(port)}")
        if not rows:
            return
        switch = str(rows[0]["external_ids"]["ls"])
        arguments: list[str] = []
        for direction, match, rate in (
            ("to-lport", f"outport == {quoted(port)}", ingress_mbit),
            ("from-lport", f"inport == {quoted(port)}", egress_mbit),
        ):
            arguments += ["--", "qos-del", switch, direction, "100", match]
            if rate:
                # A burst of 100 ms, or TCP would not get near the rate.
                limits = (f"rate={rate * 1000}", f"burst={rate * 100}")
                arguments += ["--", "qos-add", switch, direction, "100", match, *limits]
        self._centre.nbctl(*arguments[1:])

    def _router_port(self, vpc: str, port: str, networks: Sequence[str]) -> Iterator[str]:
        if self._centre.rows("logical_router_port", f"name={quoted(port)}"):
            texts = ",".join(quoted(each) for each in networks)
            yield from ("--", "set", "logical_router_port", port, f"networks=[{texts}]")
        else:
            yield from ("--", "lrp-add", vpc, port, mac(port), *networks)

    def _ensure_policies(self, vpc: str, subnet: str, cidrs: Iterable[str]) -> None:
        """Packets within the VPC pass the gateways' policies by."""
        wanted = {f"ip{ip_network(each).version}.dst == {each}" for each in cidrs}
        there = self._belonging("logical_router_policy", subnet, "match")
        for match in there.keys() - wanted:
            self._centre.nbctl("lr-policy-del", vpc, there[match])
        for match in wanted - there.keys():
            self._insert(
                *("logical_router_policy", vpc, "policies", subnet),
                *(f"priority={_WITHIN_VPC}", f"match={quoted(match)}", "action=allow"),
            )

    def _ensure_routes(
        self, vpc: str, subnet: str, cidrs: Iterable[str], gateways: Sequence[str]
    ) -> None:
        """A route by source by the subnet's own gateway, or no packet would reach the policies.

        Kube-OVN's is for the subnet's very network. Its OVN ties next hops to BFD in policies; any
        other needs static routes by source for that, which must not share their packets with this
        one: so it is one bit wider.
        """
        of = {ip_interface(each).version: each for each in gateways}
        networks = (ip_network(each) for each in cidrs)
        wanted = {str(_wider(each)): of[each.version] for each in networks if each.version in of}
        there = self._belonging("logical_router_static_route", subnet, "ip_prefix")
        for prefix in there.keys() - wanted.keys():
            self._centre.nbctl("remove", "logical_router", vpc, "static_routes", there[prefix])
        for prefix in wanted.keys() & there.keys():
            nexthop = f"nexthop={quoted(wanted[prefix])}"
            self._centre.nbctl("set", "logical_router_static_route", there[prefix], nexthop)
        for prefix in wanted.keys() - there.keys():
            self._insert(
                *("logical_router_static_route", vpc, "static_routes", subnet, "policy=src-ip"),
                *(f"ip_prefix={quoted(prefix)}", f"nexthop={quoted(wanted[prefix])}"),
            )

    def _belonging(self, table: str, subnet: str, column: str) -> dict[str, str]:
        """The rows of a subnet by a column."""
        rows = self._centre.rows(table, f"external_ids:subnet={quoted(subnet)}")
        return {str(each[column]): str(each["_uuid"]) for each in rows}

    def _insert(self, table: str, vpc: str, column: str, subnet: str, *values: str) -> None:
        ids = (_OURS, f"external_ids:subnet={quoted(subnet)}")
        self._centre.nbctl(
            *("--id=@new", "create", table, *values, *ids),
            *("--", "add", "logical_router", vpc, column, "@new"),
        )


def _several(value: Any) -> list[Any]:
    """A set: one of a single item is printed as the item."""
    return value if isinstance(value, list) else [value]


def _wider(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    return network.supernet() if network.prefixlen else network


def quoted(text: str) -> str:
    """A text as OVN's programs and expressions want it."""
    return f'"{text}"'


def _node_group(node: str) -> str:
    """As Kube-OVN makes it of the name of the node's own port, which the node's annotation has."""
    return f"node-{node}".replace("-", ".")


def mac(name: str) -> str:
    """An Ethernet address of a router port: locally administered, always the same for a name."""
    digest = sha256(name.encode()).digest()
    return ":".join(f"{each:02x}" for each in (0x02, *digest[:5]))
