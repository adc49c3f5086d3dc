"""Links, addresses, routes, rules by netlink, and kernel parameters by /proc/sys. One attempt each.

Errors of the kernel become `Refused` with the object and the error number; an object that is there
already, or gone already, is no error. The kernel answers in the call, so nothing here is awaited.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from dataplane import rtnetlink as rt
from dataplane.errors import Refused
from dataplane.model import (
    Address,
    DataplaneState,
    Interface,
    IPAddress,
    IPInterface,
    Link,
    Macvlan,
    Route,
    Rule,
    Shaper,
    Sysctl,
)
from dataplane.ownership import LINK_ALIAS, PROTOCOL, QDISC, SHAPED, TABLE_TO_OUTSIDE, TABLE_TO_VPC
from dataplane.plan import Op
from dataplane.rtnetlink import FAMILIES, Found, Routing, group, named, nested, number
from dataplane.sources import IPNetwork
from dataplane.sysctls import serve_at_once, write
from dataplane.wire import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute, attributes

_NEW = NLM_F_CREATE | NLM_F_EXCL
_IFF_UP = 1
_IFA_F_NODAD = 2
_FOR_EVER_S = 2**32 - 1
_CACHE_INFO = struct.Struct("=IIII")
"""Preferred and valid lifetime; two times that only the kernel tells."""
_MAIN = 254
"""The routing table that everybody uses (RT_TABLE_MAIN)."""
_RT_TABLE_COMPAT = 252
"""The number is in an attribute, as it is larger than the header's field."""
_RTN_UNICAST = _FR_ACT_TO_TBL = 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_GONE = {errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL}
"""What the kernel says when an object to remove is not there: removed already, or replaced."""
_MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru"}

_TC_H_ROOT = 2**32 - 1
_HTB_PARMS, _HTB_INIT = 1, 2
_HTB_GLOBAL = struct.Struct("=IIIII")
"""Version, rate to quantum, default class, debug, packets past the classes."""
_HTB_CLASS = struct.Struct("=" + 2 * "BBHhHI" + "IIIII")
"""Rate and ceiling (cell, link layer, overhead, alignment, least size, bytes per second); the
bursts of both in ticks; quantum, level, priority."""
_HTB_RATE = 5
_ETHERNET = 1
_TICK_NS = 64
_BURSTS_PER_S, _LEAST_BURST_BYTES = 250, 3200
"""A class may be ahead of its rate by what it sends in 4 ms, or two packets (tc-htb(8), burst)."""


class Netlink:
    """A netlink socket in the network namespace of the process."""

    def __init__(self) -> None:
        """Open the socket."""
        self._routing = Routing()

    def close(self) -> None:
        """Close it."""
        self._routing.close()

    def interfaces(self) -> dict[str, Interface]:
        """All interfaces with their addresses."""
        addresses: dict[int, list[IPInterface]] = {}
        for each in self._routing.addresses():
            addresses.setdefault(each.fields[-1], []).append(_address_of(each))
        interfaces = {}
        for each in self._routing.links():
            _, _, index, flags, _ = each.fields
            info = attributes(each.attributes.get(rt.IFLA_LINKINFO, b""))
            name = each.text(rt.IFLA_IFNAME)
            interfaces[name] = Interface(
                name=name,
                index=index,
                kind=rt.text(info.get(rt.IFLA_INFO_KIND, b"")) or None,
                up=bool(flags & _IFF_UP),
                mtu=each.number(rt.IFLA_MTU) or 0,
                addresses=tuple(addresses.get(index, ())),
            )
        return interfaces

    def default_gateways(self) -> tuple[IPAddress, ...]:
        """The next hops of the default routes of the main table, the preferred first."""
        found = []
        for version in FAMILIES:
            for each in self._routing.routes(version, _MAIN):
                gateway = each.address(rt.RTA_GATEWAY)
                if each.fields[1] == 0 and gateway is not None:
                    found.append((each.number(rt.RTA_PRIORITY) or 0, gateway))
        return tuple(gateway for _, gateway in sorted(found, key=lambda each: each[0]))

    def observe(self, desired: DataplaneState) -> DataplaneState:
        """What is ours or named by `desired`, without parameters and nftables."""
        names, links = self._links({link.name for link in desired.links})
        return DataplaneState(
            links=links,
            addresses=self._addresses(names, desired),
            routes=self._routes(names),
            rules=self._rules(desired),
            shapers=self._shapers(names),
        )

    def _links(self, wished: set[str]) -> tuple[dict[int, str], frozenset[Link]]:
        found = self._routing.links()
        names = {each.fields[2]: each.text(rt.IFLA_IFNAME) for each in found}
        return names, frozenset(
            Link(
                name=each.text(rt.IFLA_IFNAME),
                macvlan=_macvlan_of(each, names),
                mtu=each.number(rt.IFLA_MTU),
                up=bool(each.fields[3] & _IFF_UP),
                mac=each.attributes.get(rt.IFLA_ADDRESS, b"").hex(":") or None,
                owned=each.text(rt.IFLA_IFALIAS) == LINK_ALIAS,
            )
            for each in found
            if each.text(rt.IFLA_IFNAME) in wished or each.text(rt.IFLA_IFALIAS) == LINK_ALIAS
        )

    def _addresses(self, names: Mapping[int, str], desired: DataplaneState) -> frozenset[Address]:
        found = set()
        for each in self._routing.addresses():
            address = Address(
                names.get(each.fields[-1], ""),
                _address_of(each),
                owned=each.number(rt.IFA_PROTO) == PROTOCOL,
            )
            if address.owned or address in desired.addresses:
                found.add(address)
        return frozenset(found)

    def _routes(self, names: Mapping[int, str]) -> frozenset[Route]:
        return frozenset(
            _route_of(each, table, version, names)
            for table in (TABLE_TO_VPC, TABLE_TO_OUTSIDE)
            for version in FAMILIES
            for each in self._routing.routes(version, table)
            if each.fields[-2] == _RTN_UNICAST
        )

    def _rules(self, desired: DataplaneState) -> frozenset[Rule]:
        found = [
            _rule_of(each, version) for version in FAMILIES for each in self._routing.rules(version)
        ]
        return frozenset(rule for rule in found if rule.owned or rule in desired.rules)

    def _shapers(self, names: Mapping[int, str]) -> frozenset[Shaper]:
        found = set()
        for each in self._routing.disciplines():
            _, index, handle, _, _ = each.fields
            if handle != QDISC or each.text(rt.TCA_KIND) != "htb":
                continue
            rate = 0
            for inner in self._routing.classes(index):
                if inner.fields[2] == SHAPED:
                    options = attributes(inner.attributes[rt.TCA_OPTIONS])
                    rate = _HTB_CLASS.unpack_from(options[_HTB_PARMS])[_HTB_RATE] * 8
            found.add(Shaper(names.get(index, ""), rate))
        return frozenset(found)

    def apply(self, op: Op) -> None:
        """Carry out one operation. Raises Refused."""
        handlers: dict[type, Callable[[Any, str], None]] = {
            Link: self._apply_link,
            Address: self._apply_address,
            Route: self._apply_route,
            Rule: self._apply_rule,
            Sysctl: write,
            Shaper: self._apply_shaper,
        }
        try:
            handlers[type(op.object)](op.object, op.action)
        except OSError as exc:
            number = exc.errno or 0
            if op.removes and number in _GONE:
                return
            # What the kernel says by number has a remedy of its own; what we say stands as it is.
            said = "" if exc.strerror == os.strerror(number) else str(exc.strerror or exc)
            raise Refused(str(op.object), number, said) from exc

    def _apply_link(self, link: Link, action: str) -> None:
        if action == "remove":
            self._remove_link(link.name)
            return
        if action == "change" and link.macvlan is not None:
            _, links = self._links({link.name})
            there = next((each for each in links if each.name == link.name), None)
            if there is not None and there.macvlan != link.macvlan:
                if not there.owned:
                    raise OSError(errno.EEXIST, "an interface of that name is somebody else's")
                self._remove_link(link.name)
                action = "add"
        if action == "add":
            if link.macvlan is None:
                raise OSError(errno.ENODEV, f"interface {link.name} does not exist")
            self._add_macvlan(link.name, link.macvlan)
            serve_at_once(link.name)
        settings = number(rt.IFLA_MTU, link.mtu) if link.mtu else b""
        if link.mac:
            settings += attribute(rt.IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        header = rt.LINK.pack(0, 0, _index(link.name), _IFF_UP, _IFF_UP)
        self._routing.request(rt.RTM_NEWLINK, header + settings)

    def _remove_link(self, name: str) -> None:
        self._routing.request(rt.RTM_DELLINK, rt.LINK.pack(0, 0, _index(name), 0, 0))

    def _add_macvlan(self, name: str, wish: Macvlan) -> None:
        modes = {mode: value for value, mode in _MACVLAN_MODES.items()}
        body = (
            rt.LINK.pack(0, 0, 0, 0, 0)
            + named(rt.IFLA_IFNAME, name)
            + number(rt.IFLA_LINK, _index(wish.parent))
            + group(
                rt.IFLA_LINKINFO,
                named(rt.IFLA_INFO_KIND, "macvlan"),
                group(rt.IFLA_INFO_DATA, number(rt.IFLA_MACVLAN_MODE, modes[wish.mode])),
            )
        )
        self._routing.request(rt.RTM_NEWLINK, body, _NEW)
        # The alias is not taken at creation; without it the link would not be ours.
        header = rt.LINK.pack(0, 0, _index(name), 0, 0)
        self._routing.request(rt.RTM_NEWLINK, header + named(rt.IFLA_IFALIAS, LINK_ALIAS))

    def _apply_address(self, address: Address, action: str) -> None:
        interface, index = address.address, _index(address.interface)
        body = _address_body(interface, index)
        if action == "remove":
            self._routing.request(rt.RTM_DELADDR, body)
            return
        if interface.version == 6:
            # Duplicate address detection would leave an IPv6 address unusable for a second or more;
            # these come from an address management that gives each away once.
            body += number(rt.IFA_FLAGS, _IFA_F_NODAD)
        if address.deprecated:
            body += attribute(rt.IFA_CACHEINFO, _CACHE_INFO.pack(0, _FOR_EVER_S, 0, 0))
        try:
            self._routing.request(rt.RTM_NEWADDR, body, _NEW)
        except OSError as exc:
            # An interface has an IPv6 address once, whatever its prefix length.
            there = self._ours(interface, index)
            if exc.errno != errno.EEXIST or there is None:
                raise
            self._routing.request(rt.RTM_DELADDR, _address_body(there, index))
            self._routing.request(rt.RTM_NEWADDR, body, _NEW)

    def _ours(self, wish: IPInterface, index: int) -> IPInterface | None:
        """An address of ours on an interface as it is there, with a prefix length of its own."""
        for each in self._routing.addresses():
            if each.fields[-1] == index and each.number(rt.IFA_PROTO) == PROTOCOL:
                there = _address_of(each)
                if there.ip == wish.ip:
                    return there
        return None

    def _apply_route(self, route: Route, action: str) -> None:
        destination = route.destination
        on_link = route.gateway is None and destination.version == 4
        body = rt.ROUTE.pack(
            FAMILIES[destination.version],
            destination.prefixlen,
            0,
            0,
            _RT_TABLE_COMPAT,
            PROTOCOL,
            _SCOPE_LINK if on_link else _SCOPE_UNIVERSE,
            _RTN_UNICAST,
            0,
        )
        body += number(rt.RTA_TABLE, route.table) + number(rt.RTA_OIF, _index(route.interface))
        body += attribute(rt.RTA_DST, destination.network_address.packed)
        if route.gateway is not None:
            body += attribute(rt.RTA_GATEWAY, route.gateway.packed)
        if action == "remove":
            self._routing.request(rt.RTM_DELROUTE, body)
            return
        try:
            self._routing.request(rt.RTM_NEWROUTE, body, _NEW)
        except OSError as exc:
            # A next hop is exchanged in one step, but only if the route is ours.
            if exc.errno != errno.EEXIST or not self._owns(route):
                raise
            self._routing.request(rt.RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_REPLACE)

    def _owns(self, route: Route) -> bool:
        """Whether all routes to the same place in the same table are ours."""
        there = self._routes({})
        return all(
            each.owned
            for each in there
            if (each.destination, each.table) == (route.destination, route.table)
        )

    def _apply_rule(self, rule: Rule, action: str) -> None:
        length = rule.source.max_prefixlen if rule.source is not None else 0
        body = rt.ROUTE.pack(
            FAMILIES[rule.version], 0, length, 0, _RT_TABLE_COMPAT, 0, 0, _FR_ACT_TO_TBL, 0
        )
        body += number(rt.FRA_PRIORITY, rule.priority) + number(rt.FRA_TABLE, rule.table)
        body += named(rt.FRA_IIFNAME, rule.iif) + number(rt.FRA_PROTOCOL, PROTOCOL, 1)
        if rule.source is not None:
            body += attribute(rt.FRA_SRC, rule.source.packed)
        if action == "add":
            self._routing.request(rt.RTM_NEWRULE, body, _NEW)
        else:
            self._routing.request(rt.RTM_DELRULE, body)

    def _apply_shaper(self, shaper: Shaper, action: str) -> None:
        index = _index(shaper.interface)
        kind = named(rt.TCA_KIND, "htb")
        root = rt.TRAFFIC.pack(0, index, QDISC, _TC_H_ROOT, 0) + kind
        if action == "remove":
            self._routing.request(rt.RTM_DELQDISC, root)
            return
        if action == "add":
            # Refused if somebody else has a discipline there; the kernel's own gives way.
            start = attribute(_HTB_INIT, _HTB_GLOBAL.pack(3, 10, 0, 0, 0))
            self._routing.request(rt.RTM_NEWQDISC, root + group(rt.TCA_OPTIONS, start), _NEW)
        rate = shaper.bits_per_second // 8
        burst_bytes = max(rate // _BURSTS_PER_S, _LEAST_BURST_BYTES)
        ticks = burst_bytes * 1_000_000_000 // rate // _TICK_NS
        limit = (0, _ETHERNET, 0, 0, 0, rate)
        options = attribute(_HTB_PARMS, _HTB_CLASS.pack(*limit, *limit, ticks, ticks, 0, 0, 0))
        inner = rt.TRAFFIC.pack(0, index, SHAPED, QDISC, 0) + kind
        self._routing.request(
            rt.RTM_NEWTCLASS, inner + group(rt.TCA_OPTIONS, options), NLM_F_CREATE
        )


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as exc:
        raise OSError(errno.ENODEV, f"interface {name} does not exist") from exc


def _address_body(interface: IPInterface, index: int) -> bytes:
    return (
        rt.ADDRESS.pack(FAMILIES[interface.version], interface.network.prefixlen, 0, 0, index)
        + attribute(rt.IFA_LOCAL, interface.ip.packed)
        + attribute(rt.IFA_ADDRESS, interface.ip.packed)
        + number(rt.IFA_PROTO, PROTOCOL, 1)
    )


def _address_of(found: Found) -> IPInterface:
    # IFA_LOCAL is the own end of a point-to-point address; elsewhere the two are the same.
    address = found.address(rt.IFA_LOCAL) or found.address(rt.IFA_ADDRESS)
    return ip_interface(f"{address}/{found.fields[1]}")


def _macvlan_of(found: Found, names: Mapping[int, str]) -> Macvlan | None:
    info = found.attributes.get(rt.IFLA_LINKINFO, b"")
    if rt.text(attributes(info).get(rt.IFLA_INFO_KIND, b"")) != "macvlan":
        return None
    mode = int.from_bytes(nested(info, rt.IFLA_INFO_DATA)[rt.IFLA_MACVLAN_MODE], sys.byteorder)
    parent = names.get(found.number(rt.IFLA_LINK) or 0, "?")
    return Macvlan(parent, _MACVLAN_MODES.get(mode, str(mode)))


def _route_of(found: Found, table: int, version: int, names: Mapping[int, str]) -> Route:
    default = "0.0.0.0" if version == 4 else "::"  # noqa: S104
    destination: IPNetwork = ip_network(f"{found.address(rt.RTA_DST) or default}/{found.fields[1]}")
    protocol = found.fields[5]
    return Route(
        destination,
        found.address(rt.RTA_GATEWAY),
        names.get(found.number(rt.RTA_OIF) or 0, ""),
        table,
        owned=protocol == PROTOCOL,
    )


def _rule_of(found: Found, version: int) -> Rule:
    source: IPAddress | None = found.address(rt.FRA_SRC)
    if source is not None and found.fields[2] != source.max_prefixlen:
        source = None
    return Rule(
        version,
        found.number(rt.FRA_PRIORITY) or 0,
        found.text(rt.FRA_IIFNAME),
        found.number(rt.FRA_TABLE) or 0,
        source,
        owned=found.number(rt.FRA_PROTOCOL) == PROTOCOL,
    )
