"""Links, addresses, routes, rules by netlink, and kernel parameters by /proc/sys. One attempt each.

The only module that knows pyroute2. Errors of the kernel become `Refused` with the object and the
error number; an object that is there already, or gone already, is no error.
"""

import errno
import os
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

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
from dataplane.sources import IPNetwork

_SYSCTLS = Path("/proc/sys")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}
_IFF_UP = 1
_IFA_F_NODAD = 2
_FOR_EVER_S = 2**32 - 1
_RTN_UNICAST = 1
_SCOPE_LINK = 253
_GONE = {errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL}
"""What the kernel says when an object to remove is not there: removed already, or replaced."""
_BURSTS_PER_S, _LEAST_BURST_BYTES = 250, 3200
"""A class may be ahead of its rate by what it sends in 4 ms, or two packets (tc-htb(8), burst)."""
_MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru"}


class Netlink:
    """A netlink socket in the network namespace of the process."""

    def __init__(self, socket: AsyncIPRoute) -> None:
        self._socket = socket

    @classmethod
    async def open(cls) -> "Netlink":
        """Open the socket."""
        socket = AsyncIPRoute()
        await socket.setup_endpoint()
        return cls(socket)

    async def aclose(self) -> None:
        """Close it."""
        self._socket.close()

    async def interfaces(self) -> dict[str, Interface]:
        """All interfaces with their addresses."""
        addresses: dict[int, list[IPInterface]] = {}
        async for message in await self._socket.get_addr():
            addresses.setdefault(message["index"], []).append(_address_of(message))
        return {
            message.get("ifname"): Interface(
                name=message.get("ifname"),
                index=message["index"],
                kind=message.get(("linkinfo", "kind")),
                up=bool(message["flags"] & _IFF_UP),
                mtu=message.get("mtu") or 0,
                addresses=tuple(addresses.get(message["index"], ())),
            )
            async for message in await self._socket.get_links()
        }

    async def observe(self, desired: DataplaneState) -> DataplaneState:
        """What is ours or named by `desired`, without parameters and nftables."""
        names, links = await self._links({link.name for link in desired.links})
        return DataplaneState(
            links=links,
            addresses=await self._addresses(names, desired),
            routes=await self._routes(names),
            rules=await self._rules(desired),
            shapers=await self._shapers(names),
        )

    async def _links(self, wished: set[str]) -> tuple[dict[int, str], frozenset[Link]]:
        names: dict[int, str] = {}
        messages: list[Any] = []
        async for message in await self._socket.get_links():
            names[message["index"]] = message.get("ifname")
            messages.append(message)
        return names, frozenset(
            Link(
                name=message.get("ifname"),
                macvlan=_macvlan_of(message, names),
                mtu=message.get("mtu"),
                up=bool(message["flags"] & _IFF_UP),
                mac=message.get("address"),
                owned=message.get("ifalias") == LINK_ALIAS,
            )
            for message in messages
            if message.get("ifname") in wished or message.get("ifalias") == LINK_ALIAS
        )

    async def _addresses(
        self, names: Mapping[int, str], desired: DataplaneState
    ) -> frozenset[Address]:
        found = set()
        async for message in await self._socket.get_addr():
            address = Address(
                names.get(message["index"], ""),
                _address_of(message),
                owned=message.get("proto") == PROTOCOL,
            )
            if address.owned or address in desired.addresses:
                found.add(address)
        return frozenset(found)

    async def _routes(self, names: Mapping[int, str]) -> frozenset[Route]:
        found = set()
        for table in (TABLE_TO_VPC, TABLE_TO_OUTSIDE):
            for family in _VERSIONS:
                async for message in await self._socket.get_routes(table=table, family=family):
                    if message["type"] == _RTN_UNICAST:
                        found.add(_route_of(message, table, names))
        return frozenset(found)

    async def _rules(self, desired: DataplaneState) -> frozenset[Rule]:
        found = set()
        for family in _VERSIONS:
            async for message in await self._socket.get_rules(family=family):
                rule = _rule_of(message, family)
                if rule.owned or rule in desired.rules:
                    found.add(rule)
        return frozenset(found)

    async def _shapers(self, names: Mapping[int, str]) -> frozenset[Shaper]:
        found = set()
        async for message in await self._socket.get_qdiscs():
            if message["handle"] != QDISC or message.get("kind") != "htb":
                continue
            rate = 0
            async for each in await self._socket.get_classes(index=message["index"]):
                if each["handle"] == SHAPED:
                    rate = each.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS")["rate"] * 8
            found.add(Shaper(names.get(message["index"], ""), rate))
        return frozenset(found)

    async def apply(self, op: Op) -> None:
        """Carry out one operation. Raises Refused."""
        handlers: dict[type, Callable[[Any, str], Any]] = {
            Link: self._apply_link,
            Address: self._apply_address,
            Route: self._apply_route,
            Rule: self._apply_rule,
            Sysctl: self._apply_sysctl,
            Shaper: self._apply_shaper,
        }
        try:
            await handlers[type(op.object)](op.object, op.action)
        except NetlinkError as exc:
            if op.removes and exc.code in _GONE:
                return
            raise Refused(str(op.object), exc.code) from exc
        except OSError as exc:
            number = exc.errno or 0
            # What the kernel says by number has a remedy of its own; what we say stands as it is.
            said = "" if exc.strerror == os.strerror(number) else str(exc.strerror or exc)
            raise Refused(str(op.object), number, said) from exc

    async def _index(self, name: str) -> int:
        for index in await self._socket.link_lookup(ifname=name):
            return int(index)
        raise OSError(errno.ENODEV, f"interface {name} does not exist")

    async def _apply_link(self, link: Link, action: str) -> None:
        if action == "remove":
            await self._socket.link("del", index=await self._index(link.name))
            return
        if action == "change" and link.macvlan is not None:
            _, links = await self._links({link.name})
            there = next((each for each in links if each.name == link.name), None)
            if there is not None and there.macvlan != link.macvlan:
                if not there.owned:
                    raise OSError(errno.EEXIST, "an interface of that name is somebody else's")
                await self._socket.link("del", index=await self._index(link.name))
                action = "add"
        if action == "add":
            if link.macvlan is None:
                raise OSError(errno.ENODEV, f"interface {link.name} does not exist")
            await self._socket.link(
                "add",
                ifname=link.name,
                kind="macvlan",
                link=await self._index(link.macvlan.parent),
                macvlan_mode=link.macvlan.mode,
                ifalias=LINK_ALIAS,
            )
        index = await self._index(link.name)
        if action == "add":
            # The alias is not taken at creation; without it the link would not be ours.
            await self._socket.link("set", index=index, ifalias=LINK_ALIAS)
        settings: dict[str, Any] = {"mtu": link.mtu} if link.mtu else {}
        if link.mac:
            settings["address"] = link.mac
        await self._socket.link("set", index=index, state="up", **settings)

    async def _apply_address(self, address: Address, action: str) -> None:
        # Duplicate address detection would leave an IPv6 address unusable for a second or more;
        # these come from an address management that gives each away once.
        flags: dict[str, Any] = {"flags": _IFA_F_NODAD} if address.address.version == 6 else {}
        if address.deprecated:
            flags |= {"preferred_lft": 0, "valid_lft": _FOR_EVER_S}
        await self._socket.addr(
            "add" if action == "add" else "del",
            index=await self._index(address.interface),
            address=str(address.address.ip),
            prefixlen=address.address.network.prefixlen,
            family=_FAMILIES[address.address.version],
            proto=PROTOCOL,
            **(flags if action == "add" else {}),
        )

    async def _apply_route(self, route: Route, action: str) -> None:
        body: dict[str, Any] = {
            "dst": str(route.destination),
            "oif": await self._index(route.interface),
            "table": route.table,
            "proto": PROTOCOL,
            "family": _FAMILIES[route.destination.version],
        }
        if route.gateway is not None:
            body["gateway"] = str(route.gateway)
        elif route.destination.version == 4:
            body["scope"] = _SCOPE_LINK
        if action == "remove":
            await self._socket.route("del", **body)
            return
        try:
            await self._socket.route("add", **body)
        except NetlinkError as exc:
            # A next hop is exchanged in one step, but only if the route is ours.
            if exc.code != errno.EEXIST or not await self._owns(route):
                raise
            await self._socket.route("replace", **body)

    async def _owns(self, route: Route) -> bool:
        """Whether all routes to the same place in the same table are ours."""
        there = await self._routes({})
        return all(
            each.owned
            for each in there
            if (each.destination, each.table) == (route.destination, route.table)
        )

    async def _apply_rule(self, rule: Rule, action: str) -> None:
        body: dict[str, Any] = {
            "priority": rule.priority,
            "table": rule.table,
            "iifname": rule.iif,
            "family": _FAMILIES[rule.version],
            "protocol": PROTOCOL,
        }
        if rule.source is not None:
            body |= {"src": str(rule.source), "src_len": rule.source.max_prefixlen}
        await self._socket.rule("add" if action == "add" else "del", **body)

    async def _apply_shaper(self, shaper: Shaper, action: str) -> None:
        index = await self._index(shaper.interface)
        if action == "remove":
            await self._socket.tc("del", "htb", index, handle=QDISC)
            return
        if action == "add":
            # Refused if somebody else has a discipline there; the kernel's own gives way.
            await self._socket.tc("add", "htb", index, handle=QDISC, default=0)
        bytes_per_second = shaper.bits_per_second // 8
        await self._socket.tc(
            "replace-class",
            "htb",
            index,
            handle=SHAPED,
            parent=QDISC,
            rate=bytes_per_second,
            burst=max(bytes_per_second // _BURSTS_PER_S, _LEAST_BURST_BYTES),
        )

    async def _apply_sysctl(self, sysctl: Sysctl, _: str) -> None:
        (_SYSCTLS / sysctl.path).write_text(sysctl.value, "ascii")


def read_sysctls(wished: frozenset[Sysctl]) -> frozenset[Sysctl]:
    """The parameters that are wished, as they are."""
    return frozenset(
        Sysctl(each.path, value) for each in wished if (value := read_sysctl(each.path)) is not None
    )


def read_sysctl(path: str) -> str | None:
    """The value of a kernel parameter in this network namespace; None if there is none."""
    try:
        return (_SYSCTLS / path).read_text("ascii").strip()
    except OSError:
        return None


def _address_of(message: Any) -> IPInterface:
    # IFA_LOCAL is the own end of a point-to-point address; elsewhere the two are the same.
    text = message.get("local") or message.get("address")
    return ip_interface(f"{text}/{message['prefixlen']}")


def _macvlan_of(message: Any, names: Mapping[int, str]) -> Macvlan | None:
    if message.get(("linkinfo", "kind")) != "macvlan":
        return None
    mode = message.get(("linkinfo", "data", "macvlan_mode"))
    name = mode if isinstance(mode, str) else _MACVLAN_MODES.get(mode, str(mode))
    return Macvlan(names.get(message.get("link"), "?"), name)


def _route_of(message: Any, table: int, names: Mapping[int, str]) -> Route:
    default = "0.0.0.0" if message["family"] == socket.AF_INET else "::"  # noqa: S104
    destination: IPNetwork = ip_network(f"{message.get('dst') or default}/{message['dst_len']}")
    gateway = message.get("gateway")
    return Route(
        destination,
        ip_address(gateway) if gateway else None,
        names.get(message.get("oif"), ""),
        table,
        owned=message["proto"] == PROTOCOL,
    )


def _rule_of(message: Any, family: socket.AddressFamily) -> Rule:
    source: IPAddress | None = None
    if message.get("src") and message["src_len"] == (32 if family == socket.AF_INET else 128):
        source = ip_address(message.get("src"))
    return Rule(
        _VERSIONS[family],
        message.get("priority") or 0,
        message.get("iifname") or "",
        message.get("table") or 0,
        source,
        owned=message.get("protocol") == PROTOCOL,
    )
