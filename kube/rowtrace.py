"""Which way a packet takes by the rows of OVN's northbound database. Pure.

A router looks a route up first: the longest prefix wins, of source or destination, and among equal
ones a connected network before a route by destination before one by source (northd's
``build_route_match``). Then its policies are asked by priority, and may send the packet elsewhere
or drop it. A next hop whose BFD session is not up is left out, and a policy or route that has none
left is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

from kube.finding import Finding, Severity
from kube.matching import Packet, matches
from kube.owners import GATEWAY_ID
from kube.rows import Key, Policy, RouterPort, Row, StaticRoute
from kube.trace import Trace, Verdict

_BY_SOURCE, _BY_DESTINATION, _CONNECTED = 0, 1, 2
UP = "up"


@dataclass(frozen=True, slots=True)
class RouterRows:
    """What a database holds of one router, as far as one pod's packets are concerned."""

    is_there: bool
    rows: tuple[Row, ...] = ()
    """Policies, static routes and ports."""
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Members by name, as a match names them."""
    sessions: Mapping[Key, str] = field(default_factory=dict)
    """OVN's status of each BFD session."""


@dataclass(frozen=True, slots=True)
class RowHop:
    """A next hop and what OVN sees of its session; empty if none is named."""

    address: str
    status: str

    @property
    def is_used(self) -> bool:
        """Whether packets are sent to it."""
        return self.status in ("", UP)


@dataclass(frozen=True, slots=True)
class RowTrace:
    """What the rows do with the packet."""

    action: str
    """``reroute``, ``allow``, ``drop``, ``route`` or ``no route``."""
    row: str
    """The row that decides, for people; empty if there is none."""
    gateway: str = ""
    """Whose row it is."""
    hops: tuple[RowHop, ...] = ()
    unread: tuple[str, ...] = ()
    """Rows of a higher priority whose match is not understood."""


@dataclass(frozen=True, slots=True, order=True)
class _Route:
    rank: tuple[int, int]
    row: str
    nexthop: str
    outport: str
    gateway: str = ""
    session: str = ""


def row_trace(known: RouterRows, source: str, destination: str) -> RowTrace:
    """What becomes of a packet at the router."""
    best = _routes(known, source, destination)
    if not best:
        return RowTrace("no route", "")
    outports = {each.outport for each in best}
    packet = Packet(source, destination, outports.pop() if len(outports) == 1 else "")
    unread: list[str] = []
    policies = [each for each in known.rows if isinstance(each, Policy)]
    for policy in sorted(policies, key=lambda each: (-each.priority, each.match)):
        outcome = matches(policy.match, packet, known.sets)
        if outcome is None:
            unread.append(_policy(policy))
        if not outcome:
            continue
        hops = _policy_hops(policy, known.sessions)
        if policy.action == "reroute" and hops and not any(each.is_used for each in hops):
            continue
        if policy.action == "allow":
            break  # it goes on by its route
        owner = _owner(policy)
        return RowTrace(policy.action, _policy(policy), owner, hops, tuple(unread))
    # A gateway may have several slots.
    found = (RowHop(each.nexthop, each.session) for each in best if each.nexthop)
    hops = tuple(dict.fromkeys(found))
    return RowTrace("route", best[0].row, best[0].gateway, hops, tuple(unread))


def _routes(known: RouterRows, source: str, destination: str) -> list[_Route]:
    """The best routes: several of the same rank share the packets."""
    found = sorted(_matching(known, source, destination), reverse=True)
    return [each for each in found if each.rank == found[0].rank]


def _matching(known: RouterRows, source: str, destination: str) -> Iterator[_Route]:
    ports = [each for each in known.rows if isinstance(each, RouterPort)]
    for port in ports:
        for text in port.networks:
            network = ip_interface(text).network
            if _has(str(network), destination):
                rank = (network.prefixlen, _CONNECTED)
                yield _Route(rank, f"network {network} of the port {port.name}", "", port.name)
    for route in (each for each in known.rows if isinstance(each, StaticRoute)):
        by_source = route.policy == "src-ip"
        if route.route_table or not _has(route.ip_prefix, source if by_source else destination):
            continue
        status = "" if route.bfd is None else known.sessions.get(route.bfd, "unknown")
        if status in ("", UP):
            length = ip_network(route.ip_prefix, strict=False).prefixlen
            kind = _BY_SOURCE if by_source else _BY_DESTINATION
            text = f"static route {route.ip_prefix} ({'source' if by_source else 'destination'})"
            outport = _port_towards(ports, route.nexthop)
            yield _Route((length, kind), text, route.nexthop, outport, _owner(route), status)


def _port_towards(ports: list[RouterPort], nexthop: str) -> str:
    for port in ports:
        if any(_has(str(ip_interface(text).network), nexthop) for text in port.networks):
            return port.name
    return ""


def _has(network: str, address: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


def _policy_hops(policy: Policy, sessions: Mapping[Key, str]) -> tuple[RowHop, ...]:
    watched = {str(key[1]): sessions.get(key, "unknown") for key in policy.bfd_sessions}
    return tuple(RowHop(each, watched.get(each, "")) for each in sorted(policy.nexthops))


def _policy(policy: Policy) -> str:
    return f"policy {policy.priority} {policy.match}"


def _owner(row: Row) -> str:
    return dict(row.external_ids).get(GATEWAY_ID, "")


def verify(trace: Trace, known: RouterRows, found: RowTrace) -> Iterator[Finding]:
    """Where OVN does not do what the resources say."""
    about = f"Logical_Router {trace.router}"
    if not known.is_there:
        remedy = "look whether --ovn-nb is the cluster's, and Kube-OVN has made the Vpc"
        yield Finding(Severity.BROKEN, about, "is not there in OVN", remedy)
        return
    for each in found.unread:
        yield Finding(Severity.NOTE, about, f"it is not known whether this matches: {each}")
    if trace.verdict in (Verdict.FORWARDED, Verdict.DROPPED):
        yield from _of_gateway(trace, known, found, about)
    elif found.gateway and trace.verdict is not Verdict.UNDEFINED:
        problem = f"{found.row} leads to the gateway {found.gateway} all the same"
        remedy = "look whether the controller runs, or a row was left behind"
        yield Finding(Severity.DEGRADED, about, problem, remedy)


def _of_gateway(trace: Trace, known: RouterRows, found: RowTrace, about: str) -> Iterator[Finding]:
    runs = "look whether the controller runs, and what it says of the gateway's condition Ready"
    if found.action == "no route":
        problem = f"has no route for {trace.source} to {trace.destination}, so drops the packet"
        problem += " before any policy is asked"
        remedy = "give the Vpc a default route (Vpc.spec.staticRoutes); Kube-OVN makes one by "
        remedy += "source for each Subnet"
        yield Finding(Severity.BROKEN, about, problem, remedy)
    elif found.action == "drop" and found.gateway == trace.gateway:
        hops = sorted(f"{key[1]} {status}" for key, status in _of(trace, known.sessions))
        problem = f"{found.row} drops the packet: no gateway's session is up"
        problem += f" ({', '.join(hops)})" if hops else ""
        remedy = f"kubectl vegd why {_ref(trace.gateway)}"
        yield Finding(Severity.BROKEN, about, problem, remedy)
    elif found.gateway != trace.gateway:
        whose = f"of the gateway {found.gateway}" if found.gateway else "of no gateway"
        problem = f"{found.row or 'the route'}, {whose}, takes the packet ({found.action}), "
        problem += f"and not {trace.gateway}"
        yield Finding(Severity.BROKEN, about, problem, runs)
    else:
        yield from _hops(trace, found, about, runs)


def _of(trace: Trace, sessions: Mapping[Key, str]) -> Iterator[tuple[Key, str]]:
    own = {each.internal for each in trace.hops}
    return ((key, status) for key, status in sessions.items() if key[1] in own)


def _hops(trace: Trace, found: RowTrace, about: str, runs: str) -> Iterator[Finding]:
    wanted = {each.internal: each for each in trace.hops}
    there = {each.address: each for each in found.hops}
    aside = {each.internal: each for each in trace.aside}
    for address in sorted(wanted.keys() - there.keys()):
        if found.action == "route":
            continue  # a static route whose session is down is not taken
        problem = f"{found.row} does not lead to {address} (Pod {wanted[address].pod})"
        yield Finding(Severity.DEGRADED, about, problem, runs)
    for address in sorted(there.keys() & aside.keys()):
        problem = f"{found.row} leads to {address} on {aside[address].node}, too, though the "
        problem += "gateway's trafficPolicy is Local"
        remedy = "the message of the gateway's condition Degraded says why it has no effect"
        yield Finding(Severity.NOTE, about, problem, remedy)
    for address in sorted(there.keys() - wanted.keys() - aside.keys()):
        problem = f"{found.row} leads to {address}, which is no pod of {trace.gateway}"
        yield Finding(Severity.BROKEN, about, problem, runs)
    for address in sorted(wanted.keys() & there.keys()):
        hop, row = wanted[address], there[address]
        if hop.is_used is False and row.is_used:
            problem = f"sends packets to {address} (session {row.status or 'not watched'}), whose "
            problem += f"Pod {hop.pod} {hop.why}"
            remedy = "the two ends disagree: restart ovn-controller on the node of the Vpc's BFD "
            remedy += "port if OVN's status is stuck"
            yield Finding(Severity.BROKEN, about, problem, remedy)


def _ref(gateway: str) -> str:
    namespace, _, name = gateway.partition("/")
    return f"-n {namespace} {name}"
