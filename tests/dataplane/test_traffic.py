"""Real packets: VPC - gateway - outside, where the outside knows no way back to the VPC."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from dataplane.diff import diff
from dataplane.kernel import Kernel, PolicyCounter
from dataplane.model import NftTable
from dataplane.plan import NftChange, Op, Plan
from dataplane.render import render
from tests.support.dataplane import (
    DIRECT_CLIENT,
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    STRANGER,
    Topology,
    apply_in,
    build,
    conversation,
    counter,
    eventually,
    exchange,
    family,
    gateway_intent,
    inside_thread,
    ipv4_only,
    packets,
    policy,
    ready,
    sources,
    udp,
    with_kernel,
)
from tests.support.netns import inside, ip, ip_json, run

pytestmark = pytest.mark.kernel

Netns = Callable[[str], str]


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_with_snat_is_seen_with_the_external_address(netns: Netns, version: int) -> None:
    top = ready(netns)
    with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
        assert exchange(ours, theirs, version) == EXTERNAL[version]


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_without_snat_keeps_its_address_and_can_be_called(
    netns: Netns, version: int
) -> None:
    top = ready(netns)
    with conversation(top, DIRECT_CLIENT[version], version) as (ours, theirs):
        assert exchange(ours, theirs, version) == DIRECT_CLIENT[version]
    with (
        udp(top.vpc, DIRECT_CLIENT[version], 9000) as called,
        udp(top.outside, OUTSIDE[version]) as caller,
    ):
        caller.sendto(b"hello", (DIRECT_CLIENT[version], 9000))
        assert called.recv(100) == b"hello"


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_with_snat_cannot_be_called_from_outside(netns: Netns, version: int) -> None:
    top = ready(netns)
    network = {4: "192.168.1.0/24", 6: "fd01::/64"}[version]
    ip(f"-{version}", "route", "add", network, "via", EXTERNAL[version], ns=top.outside)
    with (
        udp(top.vpc, SNAT_CLIENT[version], 9000) as called,
        udp(top.outside, OUTSIDE[version]) as caller,
    ):
        # The outside learns the neighbour first; who answers is a test of its own.
        with udp(top.gateway, EXTERNAL[version]) as gateway:
            gateway.sendto(b"first", caller.getsockname()[:2])
            assert caller.recv(100) == b"first"
        caller.sendto(b"hello", (SNAT_CLIENT[version], 9000))
        eventually(lambda: counter(top.gateway, "drop-uninvited"))
        called.setblocking(False)
        with pytest.raises(BlockingIOError):
            called.recv(100)


def test_the_parent_of_a_macvlan_does_not_answer_for_its_addresses(netns: Netns) -> None:
    top = ready(netns)
    own = hardware_address(top.gateway, "net1")
    request = struct.pack(
        "!HHBBH6s4s6s4s",
        *(1, 0x0800, 6, 4, 1),  # Ethernet, IPv4, lengths, request (RFC 826)
        hardware_address(top.outside, "o0"),
        socket.inet_aton(OUTSIDE[4]),
        bytes(6),
        socket.inet_aton(EXTERNAL[4]),
    )

    def make() -> socket.socket:
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806))
        channel.bind(("o0", 0x0806))
        channel.settimeout(3)
        return channel

    answering = set()
    with inside_thread(top.outside, make) as channel:
        channel.sendto(request, ("o0", 0x0806, 0, 0, b"\xff" * 6))
        # net1 hears a broadcast after its parent has, so once it has answered, all have.
        while own not in answering:
            answer = channel.recv(100)
            if answer[6:8] == b"\0\2" and answer[14:18] == socket.inet_aton(EXTERNAL[4]):
                answering.add(answer[8:14])
    assert answering == {own}


def hardware_address(ns: str, interface: str) -> bytes:
    """The MAC address of an interface."""
    return bytes.fromhex(ip_json("link", "show", interface, ns=ns)[0]["address"].replace(":", ""))


@pytest.mark.parametrize(("version", "client"), [(4, "192.168.0.1"), (6, "fd00::1")])
def test_a_source_on_the_internal_link_itself_is_shown_translated(
    netns: Netns, version: int, client: str
) -> None:
    inside = policy("inside", "192.168.0.0/28", "fd00::/120")
    top = ready(netns, gateway_intent(policies=(inside,)))
    with conversation(top, client, version) as (ours, theirs):
        assert exchange(ours, theirs, version) == EXTERNAL[version]


def test_a_strict_reverse_path_filter_of_the_host_is_made_loose(netns: Netns) -> None:
    """The larger of all/rp_filter and the interface's counts (ip-sysctl, rp_filter): no value of
    ours can switch the filter of the host off, but loose, 2, is larger than strict."""
    top = build(netns)
    names = ("all", "default", "eth0", "ext0")
    strict = [f"net.ipv4.conf.{name}.rp_filter=1" for name in names]
    run(top.gateway, "sysctl", "-qw", *strict)
    assert apply_in(top.gateway, render(gateway_intent())).ok

    def value(name: str) -> int:
        return int(run(top.gateway, "sysctl", "-n", f"net.ipv4.conf.{name}.rp_filter").stdout)

    # What belongs to the whole host stays as it is.
    assert [value(name) for name in names] == [1, 1, 2, 1]
    assert [max(value("all"), value(name)) for name in ("eth0", "net1")] == [2, 2]
    for client, seen in ((SNAT_CLIENT[4], EXTERNAL[4]), (DIRECT_CLIENT[4], DIRECT_CLIENT[4])):
        with conversation(top, client, 4) as (ours, theirs):
            assert exchange(ours, theirs, 4) == seen


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_of_no_policy_is_dropped_and_counted(netns: Netns, version: int) -> None:
    top = ready(netns)
    with packets(top.outside, "o0") as capture, udp(top.vpc, STRANGER[version]) as ours:
        for _ in range(3):
            ours.sendto(b"out", (OUTSIDE[version], OUTSIDE_PORT))
        eventually(lambda: counter(top.gateway, "drop-uncovered") >= 3)
        assert STRANGER[version] not in sources(capture)


def test_a_gateway_of_one_family_forwards_that_one_only(netns: Netns) -> None:
    top = ready(netns, ipv4_only(gateway_intent()))
    with conversation(top, SNAT_CLIENT[4], 4) as (ours, theirs):
        assert exchange(ours, theirs, 4) == EXTERNAL[4]
    with packets(top.outside, "o0") as capture, udp(top.vpc, SNAT_CLIENT[6]) as ours:
        ours.sendto(b"out", (OUTSIDE[6], OUTSIDE_PORT))
        assert SNAT_CLIENT[6] not in sources(capture)


def test_counters_say_what_passed_and_survive_a_change_of_policies(netns: Netns) -> None:
    top = ready(netns)
    with conversation(top, SNAT_CLIENT[4], 4) as (ours, theirs):
        for _ in range(3):
            exchange(ours, theirs, 4)

    def of_vpc() -> dict[str, PolicyCounter]:
        async def read(kernel: Kernel) -> tuple[PolicyCounter, ...]:
            return await kernel.counters()

        every = with_kernel(top.gateway, read)
        return {each.direction: each for each in every if (each.policy, each.family) == ("vpc", 4)}

    before = of_vpc()
    assert (before["out"].packets, before["out"].bytes) == (3, 3 * (28 + 3))
    assert (before["in"].packets, before["in"].bytes) == (3, 3 * (28 + 6))
    more = (*gateway_intent().policies, policy("third", "10.0.0.0/8"))
    assert apply_in(top.gateway, render(gateway_intent(policies=more))).ok
    assert of_vpc() == before


def test_a_flow_that_stays_allowed_is_not_cut_by_a_change_of_policies(netns: Netns) -> None:
    top = ready(netns)
    with conversation(top, SNAT_CLIENT[4], 4) as (ours, theirs):
        ours.sendto(b"ask", (OUTSIDE[4], OUTSIDE_PORT))
        _, first = theirs.recvfrom(100)
        more = (policy("narrow", "192.168.1.0/24"), *gateway_intent().policies)
        assert apply_in(top.gateway, render(gateway_intent(policies=more))).ok
        theirs.sendto(b"late answer", first)
        assert ours.recv(100) == b"late answer"
        ours.sendto(b"again", (OUTSIDE[4], OUTSIDE_PORT))
        assert theirs.recvfrom(100)[1] == first


@pytest.mark.parametrize("version", [4, 6])
def test_H7_bfd_is_not_tracked_in_either_direction(netns: Netns, version: int) -> None:
    top = ready(netns)
    own, peer = {4: ("192.168.0.2", "192.168.0.1"), 6: ("fd00::2", "fd00::1")}[version]
    with (
        udp(top.gateway, own, 3784) as gateway,
        udp(top.vpc, peer, 3784) as router,
        udp(top.vpc, peer, 5000) as other,
        udp(top.gateway, own, 5001) as listener,
    ):
        gateway.sendto(b"bfd", (peer, 3784))
        router.recv(100)
        router.sendto(b"bfd", (own, 3784))
        gateway.recv(100)
        other.sendto(b"tracked", (own, 5001))
        listener.recv(100)
        table = run(top.gateway, "cat", "/proc/net/nf_conntrack", check=False).stdout
        if not table:
            table = run(top.gateway, "conntrack", "-L", "-f", f"ipv{version}").stdout
    assert "dport=5001" in table
    assert "3784" not in table


@pytest.mark.parametrize("version", [4, 6])
def test_a_reset_without_a_connection_does_not_leave_untranslated(
    netns: Netns, version: int
) -> None:
    top = ready(netns)
    client, server = SNAT_CLIENT[version], OUTSIDE[version]
    pair = b"".join(socket.inet_pton(family(version), each) for each in (client, server))
    header = struct.pack("!HHIIBBHHH", 40000, 80, 1, 1, 5 << 4, 0x04, 0, 0, 0)
    summed = pair + struct.pack("!HH", 6, len(header)) + header  # RFC 9293 §3.1, pseudo header
    total = sum(word for (word,) in struct.iter_unpack("!H", summed))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    reset = header[:16] + struct.pack("!H", ~total & 0xFFFF) + header[18:]

    def make() -> socket.socket:
        raw = socket.socket(family(version), socket.SOCK_RAW, socket.IPPROTO_TCP)
        raw.bind((client, 0))
        return raw

    with packets(top.outside, "o0") as capture, inside_thread(top.vpc, make) as raw:
        raw.sendto(reset, (server, 0))
        eventually(lambda: counter(top.gateway, "drop-untranslated"))
        assert client not in sources(capture)


FLOOD = """
import itertools, socket, sys
client, server = sys.argv[1:]
kind = socket.AF_INET6 if ":" in client else socket.AF_INET
for number in itertools.count():
    with socket.socket(kind, socket.SOCK_DGRAM) as flow:
        flow.bind((client, 0))
        try:
            flow.sendto(b"flood", (server, 7007))
        except OSError:
            pass
"""


def test_nothing_leaves_untranslated_while_the_gateway_is_applied_under_traffic(
    netns: Netns,
) -> None:
    top = build(netns)
    # The worst start: forwarding is already on when the daemon comes.
    run(top.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    floods = [
        subprocess.Popen(
            inside(top.vpc, sys.executable, "-c", FLOOD, client[version], OUTSIDE[version])
        )
        for client in (SNAT_CLIENT, STRANGER)
        for version in (4, 6)
    ]
    seen: set[str] = set()
    try:
        with packets(top.outside, "o0") as capture:
            for _ in range(2):
                assert apply_in(top.gateway, render(gateway_intent())).ok
            eventually(lambda: seen.update(sources(capture)) or set(EXTERNAL.values()) <= seen, 15)
    finally:
        for flood in floods:
            os.kill(flood.pid, signal.SIGKILL)
            flood.wait()
    assert not seen & {*SNAT_CLIENT.values(), *STRANGER.values()}


def test_nothing_leaves_untranslated_when_the_table_is_refused(
    netns: Netns,
) -> None:
    top = build(netns)
    run(top.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    desired = render(gateway_intent())

    async def story(kernel: Kernel) -> None:
        plan = diff(await kernel.observe(desired), desired)
        # A version of the table that is not there: the kernel refuses to change it.
        gone = NftTable(frozenset({"gone"}))
        refused = Op("add", NftChange(gone, NftTable()))
        others = (op for op in plan.ops if not isinstance(op.object, NftChange))
        assert not (await kernel.apply(Plan((refused, *others)))).ok

    with_kernel(top.gateway, story)
    with packets(top.outside, "o0") as capture, udp(top.vpc, SNAT_CLIENT[4]) as ours:
        for _ in range(5):
            with contextlib.suppress(OSError):
                ours.sendto(b"out", (OUTSIDE[4], OUTSIDE_PORT))
        # Seen last, after whatever the VPC has sent. It needs no route of ours.
        ip("address", "replace", "172.17.0.99/16", "dev", "ext0", ns=top.gateway)
        with udp(top.gateway, "172.17.0.99") as marker:
            marker.sendto(b"end", (OUTSIDE[4], 9))
        got: set[str] = set()
        eventually(lambda: got.update(sources(capture)) or "172.17.0.99" in got)
        assert SNAT_CLIENT[4] not in got


def third_way(netns: Netns, top: Topology) -> str:
    """A management network of the host, with its own default route in table main."""
    elsewhere = netns("mgmt")
    ip(
        "link",
        "add",
        "mgmt0",
        "netns",
        top.gateway,
        "type",
        "veth",
        "peer",
        "name",
        "m0",
        "netns",
        elsewhere,
    )
    ip("address", "add", "198.51.100.1/24", "dev", "m0", ns=elsewhere)
    ip("link", "set", "m0", "up", ns=elsewhere)
    ip("address", "add", "198.51.100.2/24", "dev", "mgmt0", ns=top.gateway)
    ip("link", "set", "mgmt0", "up", ns=top.gateway)
    ip("route", "add", "default", "via", "198.51.100.1", ns=top.gateway)
    return elsewhere


def test_a_default_route_of_the_host_elsewhere_does_not_matter(netns: Netns) -> None:
    top = build(netns)
    third_way(netns, top)
    assert apply_in(top.gateway, render(gateway_intent())).ok
    with conversation(top, SNAT_CLIENT[4], 4) as (ours, theirs):
        assert exchange(ours, theirs, 4) == EXTERNAL[4]


def test_nothing_of_the_vpc_leaves_by_a_third_link_when_the_external_one_is_down(
    netns: Netns,
) -> None:
    top = build(netns)
    elsewhere = third_way(netns, top)
    assert apply_in(top.gateway, render(gateway_intent())).ok
    ip("link", "set", "net1", "down", ns=top.gateway)
    with packets(elsewhere, "m0") as capture, udp(top.vpc, SNAT_CLIENT[4]) as ours:
        for _ in range(5):
            with contextlib.suppress(OSError):
                ours.sendto(b"out", (OUTSIDE[4], OUTSIDE_PORT))
        # A packet of the gateway itself comes last and shows that the capture has all before it.
        with udp(top.gateway, "198.51.100.2") as marker:
            marker.sendto(b"end", ("198.51.100.1", 9))
        got: set[str] = set()
        eventually(lambda: got.update(sources(capture)) or "198.51.100.2" in got)
        assert SNAT_CLIENT[4] not in got


@pytest.mark.parametrize("version", [4, 6])
def test_a_client_behind_the_router_is_told_that_its_packet_is_too_big(
    netns: Netns, version: int
) -> None:
    top = ready(netns)
    ip("link", "set", "net1", "mtu", "1300", ns=top.gateway)
    with udp(top.vpc, SNAT_CLIENT[version]) as ours:
        if version == 4:
            ours.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: set DF
            ours.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        else:
            ours.setsockopt(socket.IPPROTO_IPV6, 23, 2)
            ours.setsockopt(socket.IPPROTO_IPV6, 25, 1)
        ours.sendto(b"x" * 1400, (OUTSIDE[version], OUTSIDE_PORT))
        with pytest.raises(OSError, match="Message too long"):
            ours.recv(100)
