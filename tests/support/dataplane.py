"""A gateway between two namespaces for the tests of the dataplane, and a way to work inside them.

A socket belongs to the namespace of the thread that makes it and stays there, so the tests make
their sockets in a short-lived thread that has entered the namespace, then use them from anywhere.
The real kernel is driven the same way: a whole event loop in such a thread, because threads that
it starts (libnftables runs in one) inherit the namespace. The thread of the test never moves.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

from dataplane.diff import diff
from dataplane.kernel import Kernel
from dataplane.linux import LinuxKernel
from dataplane.model import DataplaneState, GatewayIntent, Macvlan, Policy, Side
from dataplane.plan import ApplyReport, Plan
from dataplane.render import render
from tests.support.netns import fd_path, ip, run, veth

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000

SNAT_CLIENT = {4: "192.168.1.10", 6: "fd01::10"}
DIRECT_CLIENT = {4: "192.168.2.10", 6: "fd02::10"}
STRANGER = {4: "192.168.9.9", 6: "fd09::9"}
EXTERNAL = {4: "172.17.0.11", 6: "fd17::11"}
OUTSIDE = {4: "172.17.0.1", 6: "fd17::1"}
OUTSIDE_PORT = 7007


def gateway_intent(**changes: object) -> GatewayIntent:
    """The gateway of the tests; ``changes`` replace whole fields of the intent."""
    intent = GatewayIntent(
        internal=Side(
            "eth0",
            (ip_interface("192.168.0.2/24"), ip_interface("fd00::2/64")),
            (ip_address("192.168.0.1"), ip_address("fd00::1")),
        ),
        external=Side(
            "net1",
            (ip_interface("172.17.0.11/16"), ip_interface("fd17::11/64")),
            (ip_address("172.17.0.1"), ip_address("fd17::1")),
            macvlan=Macvlan("ext0"),
        ),
        policies=(
            policy("vpc", "192.168.0.0/23", "fd00::/64", "fd01::/64"),
            policy("direct", "192.168.2.0/24", "fd02::/64", snat=False),
        ),
        bfd_peers=(ip_address("10.255.255.255"), ip_address("fdff::1")),
    )
    return replace(intent, **changes)  # type: ignore[arg-type]


def policy(name: str, *sources: str, snat: bool = True) -> Policy:
    """A policy from texts."""
    return Policy(name, snat, tuple(ip_network(source) for source in sources))


def ipv4_only(intent: GatewayIntent) -> GatewayIntent:
    """The same gateway without an IPv6 side outside."""
    external = intent.external
    return replace(
        intent,
        external=replace(
            external,
            addresses=tuple(a for a in external.addresses if a.version == 4),
            gateways=tuple(g for g in external.gateways if g.version == 4),
        ),
    )


def inside_thread(ns: str, work: Callable[[], T]) -> T:
    """What ``work`` returns (or raises) when it runs in a fresh thread in a namespace."""
    outcome: list[T] = []
    problem: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            descriptor = os.open(fd_path(ns), os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
                if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns {ns}: {os.strerror(number)}")
            finally:
                os.close(descriptor)
            outcome.append(work())
        except BaseException as exc:
            problem.append(exc)

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return outcome[0]


def with_kernel(ns: str, work: Callable[[Kernel], Awaitable[T]]) -> T:
    """Run ``work`` with the real kernel of a namespace."""

    async def main() -> T:
        kernel = await LinuxKernel.open()
        try:
            return await work(kernel)
        finally:
            await kernel.aclose()

    return inside_thread(ns, lambda: asyncio.run(main()))


async def converge(kernel: Kernel, desired: DataplaneState) -> ApplyReport:
    """One round: observe, diff, apply."""
    return await kernel.apply(diff(await kernel.observe(desired), desired))


def plan_in(ns: str, desired: DataplaneState) -> Plan:
    """What would have to be done in a namespace."""

    async def work(kernel: Kernel) -> Plan:
        return diff(await kernel.observe(desired), desired)

    return with_kernel(ns, work)


def apply_in(ns: str, desired: DataplaneState) -> ApplyReport:
    """One round in a namespace."""
    return with_kernel(ns, lambda kernel: converge(kernel, desired))


@dataclass(frozen=True)
class Topology:
    """Names of the three namespaces: VPC (router and clients in one), gateway, outside."""

    vpc: str
    gateway: str
    outside: str


def build(netns: Callable[[str], str]) -> Topology:
    """VPC - gateway - outside. The outside knows a way back to the direct sources only."""
    top = Topology(netns("vpc"), netns("gw"), netns("out"))
    veth(top.vpc, "r0", top.gateway, "eth0", ("192.168.0.1/24", "fd00::1/64"))
    veth(top.outside, "o0", top.gateway, "ext0", ("172.17.0.1/16", "fd17::1/64"))
    for clients in (SNAT_CLIENT, DIRECT_CLIENT, STRANGER):
        for version, address in clients.items():
            length = {4: "32", 6: "128"}[version]
            extra = ["nodad"] if version == 6 else []
            ip("address", "add", f"{address}/{length}", "dev", "lo", *extra, ns=top.vpc)
    ip("route", "add", "default", "via", "192.168.0.2", ns=top.vpc)
    ip("-6", "route", "add", "default", "via", "fd00::2", ns=top.vpc)
    ip("route", "add", "192.168.2.0/24", "via", EXTERNAL[4], ns=top.outside)
    ip("-6", "route", "add", "fd02::/64", "via", EXTERNAL[6], ns=top.outside)
    for ns in (top.vpc, top.gateway, top.outside):
        # A strict filter that the machine hands on to new namespaces is not what is tested here.
        run(ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.ip_forward=0")
    return top


def family(version: int) -> socket.AddressFamily:
    """The socket family of an IP version."""
    return socket.AF_INET if version == 4 else socket.AF_INET6


def udp(ns: str, address: str, port: int = 0) -> socket.socket:
    """A UDP socket bound in a namespace, with a short time limit."""
    version = ip_address(address).version

    def make() -> socket.socket:
        channel = socket.socket(family(version), socket.SOCK_DGRAM)
        channel.bind((address, port))
        channel.settimeout(3)
        return channel

    return inside_thread(ns, make)


def packets(ns: str, interface: str) -> socket.socket:
    """A capture of everything that arrives at an interface, from now on."""

    def make() -> socket.socket:
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        channel.bind((interface, 0x0003))
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        channel.setblocking(False)
        return channel

    return inside_thread(ns, make)


def sources(capture: socket.socket) -> set[str]:
    """Source addresses of the IP packets that a capture has received so far."""
    found = set()
    while True:
        try:
            data, (_, protocol, kind, *_) = capture.recvfrom(2048)
        except BlockingIOError:
            return found
        if kind == socket.PACKET_OUTGOING:
            continue
        if protocol == 0x0800:
            found.add(socket.inet_ntop(socket.AF_INET, data[12:16]))
        elif protocol == 0x86DD:
            found.add(socket.inet_ntop(socket.AF_INET6, data[8:24]))


def ready(netns: Callable[[str], str], intent: GatewayIntent | None = None) -> Topology:
    """The three namespaces with the gateway applied."""
    top = build(netns)
    report = apply_in(top.gateway, render(intent or gateway_intent()))
    assert report.ok, [str(error) for _, error in report.failed]
    return top


@contextlib.contextmanager
def conversation(
    top: Topology, client: str, version: int
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets of a client and of the outside host."""
    with udp(top.vpc, client) as ours, udp(top.outside, OUTSIDE[version], OUTSIDE_PORT) as theirs:
        yield ours, theirs


def exchange(ours: socket.socket, theirs: socket.socket, version: int) -> str:
    """Send, answer, and return the address that the outside has seen. The first packet must do."""
    ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
    _, seen = theirs.recvfrom(100)
    theirs.sendto(b"answer", seen)
    assert ours.recv(100) == b"answer"
    return str(seen[0])


def counter(ns: str, name: str) -> int:
    """Packets in a named counter of ours."""
    listing = run(ns, "nft", "list", "counter", "inet", "vegd", name).stdout
    return int(listing.split("packets ")[1].split()[0])


def eventually(condition: Callable[[], T], within_s: float = 5.0) -> T:
    """The first true value of a condition; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s")
        time.sleep(0.02)
