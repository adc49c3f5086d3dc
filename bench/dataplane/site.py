"""VPC, gateway and outside in three namespaces, and the three ways to run the gateway."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import NamedTuple, TypeVar

from bench.support.namespaces import Namespace, namespaces, veth
from dataplane.diff import diff
from dataplane.linux import LinuxKernel
from dataplane.model import (
    AddressRange,
    DataplaneState,
    GatewayIntent,
    Policy,
    Side,
    Translation,
)
from dataplane.plan import ApplyReport
from dataplane.render import render

PLAIN, KUBE_OVN, VEGD, NO_SNAT = "plain routing", "Kube-OVN", "vegd", "vegd, no SNAT"
CLIENT = "192.168.1.10"
DIRECT = "192.168.2.10"
TARGETS = ip_network("10.9.0.0/24")
"""All of them are the outside host's own."""
_POOL = ip_address("172.17.0.32")

T = TypeVar("T")


class Site(NamedTuple):
    """Names follow the packet."""

    vpc: Namespace
    gateway: Namespace
    outside: Namespace


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """VPC - gateway - outside; the gateway has interfaces and nothing else."""
    with namespaces("vpc", "gw", "out") as (vpc, gateway, outside):
        veth(vpc, "r0", gateway, "eth0")
        veth(outside, "o0", gateway, "ext0")
        own = [f"address add {each}/32 dev lo" for each in (CLIENT, DIRECT)]
        vpc.ip(["address add 192.168.0.1/24 dev r0", *own, "route add default via 192.168.0.2"])
        outside.ip(
            [
                "address add 172.17.0.1/16 dev o0",
                f"route add local {TARGETS} dev lo",
                "route add 192.168.0.0/16 via 172.17.0.11",
            ]
        )
        for each in (vpc, gateway, outside):
            each.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__ip_forward=0)
        yield Site(vpc, gateway, outside)


def intent(policies: tuple[Policy, ...] = (), external_addresses: int = 0) -> GatewayIntent:
    """A gateway for CLIENT with SNAT, for DIRECT without, and for what is named."""
    pool = (AddressRange(_POOL, _POOL + external_addresses - 1),) if external_addresses else ()
    return GatewayIntent(
        internal=Side("eth0", (ip_interface("192.168.0.2/24"),), (ip_address("192.168.0.1"),)),
        external=Side("ext0", (ip_interface("172.17.0.11/16"),), (ip_address("172.17.0.1"),)),
        policies=policies
        or (
            Policy("vpc", True, (IPv4Network("192.168.1.0/24"),)),
            Policy("direct", False, (IPv4Network("192.168.2.0/24"),)),
        ),
        translation=Translation(pool),
    )


def many(count: int) -> GatewayIntent:
    """One policy with so many single addresses."""
    sources = tuple(IPv4Network((0x0A000000 + number, 32)) for number in range(count))
    return intent((Policy("many", True, sources),))


def with_kernel(gateway: Namespace, work: Callable[[LinuxKernel], Awaitable[T]]) -> T:
    """Do something with the dataplane of a gateway."""

    async def main() -> T:
        kernel = await LinuxKernel.open()
        try:
            return await work(kernel)
        finally:
            await kernel.aclose()

    return gateway.call(lambda: asyncio.run(main()))


async def converge(kernel: LinuxKernel, desired: DataplaneState) -> ApplyReport:
    """One round, as the agent makes it. Raises RuntimeError when something was refused."""
    report = await kernel.apply(diff(await kernel.observe(desired), desired))
    if not report.ok:
        raise RuntimeError("; ".join(f"{op}: {error}" for op, error in report.failed))
    return report


def set_up(gateway: Namespace, system: str) -> None:
    """Make a gateway of it."""
    if system in {VEGD, NO_SNAT}:
        with_kernel(gateway, lambda kernel: converge(kernel, render(intent())))
        return
    gateway.ip(
        [
            "address add 192.168.0.2/24 dev eth0",
            "address add 172.17.0.11/16 dev ext0",
            "route add default via 172.17.0.1",
            "route add 192.168.0.0/16 via 192.168.0.1",
        ]
    )
    gateway.sysctl(net__ipv4__ip_forward=1)
    if system == KUBE_OVN:
        _as_kube_ovn_does(gateway)


def _as_kube_ovn_does(gateway: Namespace) -> None:
    """What its init container leaves behind: routing by interface, a mark that nobody tests, and
    masquerading of everything."""
    gateway.ip(
        [
            "route add default via 192.168.0.1 table 1000",
            "rule add priority 1001 iif eth0 lookup default",
            "rule add priority 1002 iif ext0 lookup 1000",
            "rule add priority 1003 iif lo from 192.168.0.2 lookup 1000",
            "rule add priority 1004 iif lo from 172.17.0.11 lookup default",
        ]
    )
    rules = (
        "*nat",
        ":VEG-MASQUERADE - [0:0]",
        "-A PREROUTING -i eth0 -j MARK --set-xmark 0x4000/0x4000",
        "-A POSTROUTING -j VEG-MASQUERADE",
        "-A VEG-MASQUERADE -j MARK --set-xmark 0x0/0xffffffff",
        "-A VEG-MASQUERADE -j MASQUERADE --random-fully",
        "COMMIT\n",
    )
    gateway.run(["iptables-restore"], "\n".join(rules))
