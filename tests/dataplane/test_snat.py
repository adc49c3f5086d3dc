"""What the outside sees of whom: pools, ports, destinations, and who decides where they overlap."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from dataplane.model import AddressRange, InputProtection, Policy, Translation
from dataplane.render import render
from tests.support.dataplane import (
    DIRECT_CLIENT,
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    Topology,
    apply_in,
    conversation,
    counter,
    eventually,
    exchange,
    family,
    gateway_intent,
    inside_thread,
    plan_in,
    policy,
    ready,
    udp,
)
from tests.support.netns import ip

pytestmark = pytest.mark.kernel

Netns = Callable[[str], str]
POOL = {4: ("172.17.0.32", "172.17.0.33"), 6: ("fd17::32", "fd17::33")}
ELSEWHERE = {4: "198.51.100.1", 6: "fd98::1"}
CLIENTS = {4: "192.168.1.0/24", 6: "fd01::/64"}
families = pytest.mark.parametrize("version", [4, 6])


def span(first: str, last: str | None = None) -> AddressRange:
    """Addresses from texts."""
    return AddressRange(ip_address(first), ip_address(last or first))


def translated(translation: Translation, *sources: str) -> Policy:
    """A policy with SNAT of its own."""
    return replace(policy("pool", *(sources or CLIENTS.values())), translation=translation)


def elsewhere(top: Topology) -> None:
    """A second address of the outside host, behind the first."""
    for version, address in ELSEWHERE.items():
        length, extra = {4: ("32", []), 6: ("128", ["nodad"])}[version]
        ip("address", "add", f"{address}/{length}", "dev", "lo", *extra, ns=top.outside)


@contextlib.contextmanager
def towards(top: Topology, client: str, place: str) -> Iterator[Callable[[], str]]:
    """Ask a place of the outside from a client; gives the address that it has seen."""
    with udp(top.vpc, client) as ours, udp(top.outside, place, OUTSIDE_PORT) as theirs:

        def ask() -> str:
            ours.sendto(b"ask", (place, OUTSIDE_PORT))
            seen = theirs.recvfrom(100)[1]
            theirs.sendto(b"answer", seen)
            assert ours.recv(100) == b"answer"
            return str(seen[0])

        yield ask


@families
def test_an_address_of_a_pool_becomes_one_of_the_interface_and_back_under_a_conversation(
    netns: Netns, version: int
) -> None:
    pool = Translation(tuple(span(POOL[v][0]) for v in (4, 6)))
    before = gateway_intent(policies=(translated(pool),))
    lengths = {4: 16, 6: 64}
    own = tuple(ip_interface(f"{POOL[v][0]}/{lengths[v]}") for v in (4, 6))
    addresses = (*before.external.addresses, *own)
    after = replace(before, external=replace(before.external, addresses=addresses))
    top = ready(netns, before)
    with towards(top, SNAT_CLIENT[version], OUTSIDE[version]) as ask:
        for intent in (before, after, before):
            report = apply_in(top.gateway, render(intent))
            assert report.ok, [str(error) for _, error in report.failed]
            assert not plan_in(top.gateway, render(intent))
            assert ask() == POOL[version][0]


@families
def test_a_policy_shows_its_own_pool_and_ports_and_the_others_do_not(
    netns: Netns, version: int
) -> None:
    pool = Translation(tuple(span(*POOL[v]) for v in (4, 6)), (40_000, 40_019))
    rest = policy("rest", "0.0.0.0/0", "::/0")
    top = ready(netns, gateway_intent(policies=(rest, translated(pool))))
    seen = set()
    with udp(top.outside, OUTSIDE[version], OUTSIDE_PORT) as theirs:
        for _ in range(12):
            with udp(top.vpc, SNAT_CLIENT[version]) as ours:
                ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
                address, port, *_ = theirs.recvfrom(100)[1]
                theirs.sendto(b"answer", (address, port))
                assert ours.recv(100) == b"answer"
                assert 40_000 <= port <= 40_019
                seen.add(address)
    assert len(seen) == 1, "a source keeps its external address"
    assert seen <= set(POOL[version])
    with conversation(top, DIRECT_CLIENT[version], version) as (ours, theirs):
        assert exchange(ours, theirs, version) == EXTERNAL[version]


@families
def test_sources_spread_over_a_pool_of_several_ranges(netns: Netns, version: int) -> None:
    pool = Translation(tuple(span(each) for pair in POOL.values() for each in pair))
    top = ready(netns, gateway_intent(policies=(translated(pool),), translation=pool))
    seen = set()
    for last in range(1, 17):
        client = {4: f"192.168.1.{100 + last}", 6: f"fd01::{100 + last}"}[version]
        extra = ["nodad"] if version == 6 else []
        length = {4: "32", 6: "128"}[version]
        ip("address", "add", f"{client}/{length}", "dev", "lo", *extra, ns=top.vpc)
        with conversation(top, client, version) as (ours, theirs):
            seen.add(exchange(ours, theirs, version))
    assert seen == set(POOL[version])


@families
def test_ports_alone_limit_the_address_of_the_interface(netns: Netns, version: int) -> None:
    ports_only = Translation(ports=(50_000, 50_003))
    top = ready(netns, gateway_intent(translation=ports_only))
    with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
        ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
        address, port, *_ = theirs.recvfrom(100)[1]
    assert address == EXTERNAL[version]
    assert 50_000 <= port <= 50_003


@families
def test_no_snat_toward_some_destinations_and_snat_toward_the_rest(
    netns: Netns, version: int
) -> None:
    to = tuple(each.network for each in gateway_intent().external.addresses)
    near = replace(policy("near", *CLIENTS.values(), snat=False), destinations=to)
    top = ready(netns, gateway_intent(policies=(policy("far", *CLIENTS.values()), near)))
    elsewhere(top)
    ip(f"-{version}", "route", "add", CLIENTS[version], "via", EXTERNAL[version], ns=top.outside)
    with towards(top, SNAT_CLIENT[version], OUTSIDE[version]) as ask:
        assert ask() == SNAT_CLIENT[version]
    with towards(top, SNAT_CLIENT[version], ELSEWHERE[version]) as ask:
        assert ask() == EXTERNAL[version]
    for way in ("out", "in"):
        assert counter(top.gateway, f"{way}{version}-near") == 1
        assert counter(top.gateway, f"{way}{version}-far") == 1


@families
def test_an_excluded_destination_falls_to_the_shorter_prefix(netns: Netns, version: int) -> None:
    pool = Translation(tuple(span(POOL[v][0]) for v in (4, 6)))
    away = tuple(each.network for each in gateway_intent().external.addresses)
    narrow = replace(translated(pool), excluded_destinations=away)
    everything = policy("everything", "0.0.0.0/0", "::/0")
    top = ready(netns, gateway_intent(policies=(narrow, everything)))
    elsewhere(top)
    with towards(top, SNAT_CLIENT[version], ELSEWHERE[version]) as ask:
        assert ask() == POOL[version][0]
    with towards(top, SNAT_CLIENT[version], OUTSIDE[version]) as ask:
        assert ask() == EXTERNAL[version]


@families
def test_a_destination_that_no_policy_names_is_dropped(netns: Netns, version: int) -> None:
    to = tuple(each.network for each in gateway_intent().external.addresses)
    near = replace(policy("near", *CLIENTS.values()), destinations=to)
    top = ready(netns, gateway_intent(policies=(near,)))
    elsewhere(top)
    with udp(top.vpc, SNAT_CLIENT[version]) as ours:
        ours.sendto(b"ask", (ELSEWHERE[version], OUTSIDE_PORT))
        eventually(lambda: counter(top.gateway, "drop-uncovered"))


def segment_sizes(top: Topology, version: int) -> tuple[int, int]:
    """The largest segment that each end of a connection was told: the client, the outside."""

    def tcp(ns: str, address: str, port: int) -> socket.socket:
        def make() -> socket.socket:
            channel = socket.socket(family(version), socket.SOCK_STREAM)
            channel.bind((address, port))
            channel.settimeout(5)
            return channel

        return inside_thread(ns, make)

    with (
        tcp(top.outside, OUTSIDE[version], OUTSIDE_PORT) as listener,
        tcp(top.vpc, SNAT_CLIENT[version], 0) as client,
    ):
        listener.listen()
        client.connect((OUTSIDE[version], OUTSIDE_PORT))
        server, _ = listener.accept()
        with server:
            sizes = [
                each.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) for each in (client, server)
            ]
    return sizes[0], sizes[1]


@families
def test_both_ends_are_told_a_segment_size_that_fits_the_narrower_side(
    netns: Netns, version: int
) -> None:
    top = ready(netns)
    ip("link", "set", "net1", "mtu", "1300", ns=top.gateway)
    headers = {4: 20, 6: 40}[version] + 20 + 12  # with time stamps
    assert max(segment_sizes(top, version)) == 1300 - headers


def test_the_segment_size_is_left_alone_if_asked(netns: Netns) -> None:
    top = ready(netns, gateway_intent(clamp_mss=False))
    ip("link", "set", "net1", "mtu", "1300", ns=top.gateway)
    assert max(segment_sizes(top, 4)) > 1300


@families
def test_protected_input_takes_what_is_named_and_counts_what_it_drops(
    netns: Netns, version: int
) -> None:
    own, router = {4: ("192.168.0.2", "192.168.0.1"), 6: ("fd00::2", "fd00::1")}[version]
    peers = (ip_address(router),)
    protection = InputProtection(udp_ports=(7000,))
    top = ready(netns, gateway_intent(bfd_peers=peers, input_protection=protection))
    with (
        udp(top.vpc, router) as peer,
        udp(top.vpc, SNAT_CLIENT[version]) as stranger,
        udp(top.gateway, own, 3784) as bfd,
        udp(top.gateway, own, 7000) as allowed,
        udp(top.gateway, own, 7001) as closed,
    ):
        for port in (7001, 7000, 3784):
            peer.sendto(b"peer", (own, port))
        stranger.sendto(b"stranger", (own, 3784))
        assert bfd.recv(100) == b"peer"
        assert allowed.recv(100) == b"peer"
        eventually(lambda: counter(top.gateway, "drop-input") >= 2)
        closed.setblocking(False)
        bfd.setblocking(False)
        for channel in (closed, bfd):
            with pytest.raises(BlockingIOError):
                channel.recv(100)
        # Answers to what the gateway asks come in.
        closed.setblocking(True)
        closed.sendto(b"ask", peer.getsockname()[:2])
        peer.sendto(b"answer", peer.recvfrom(100)[1])
        assert closed.recv(100) == b"answer"
