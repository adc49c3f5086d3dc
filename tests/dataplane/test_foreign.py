"""On the real kernel: what others made survives, and what we found wrong there is put right."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from dataplane.diff import diff
from dataplane.kernel import Kernel
from dataplane.model import DataplaneState, GatewayIntent, Macvlan
from dataplane.plan import Plan
from dataplane.render import render
from tests.support.dataplane import (
    apply_in,
    build,
    converge,
    gateway_intent,
    plan_in,
    policy,
    with_kernel,
)
from tests.support.netns import ip, ip_json, run, veth

pytestmark = pytest.mark.kernel

Netns = Callable[[str], str]


def with_external_gateway(intent: GatewayIntent, *gateways: str) -> GatewayIntent:
    """The same gateway with other next hops outside."""
    hops = tuple(ip_address(each) for each in gateways)
    return replace(intent, external=replace(intent.external, gateways=hops))


def with_external_addresses(intent: GatewayIntent, *addresses: str) -> GatewayIntent:
    """The same gateway with other addresses outside."""
    own = tuple(ip_interface(each) for each in addresses)
    return replace(intent, external=replace(intent.external, addresses=own))


def test_tables_rules_routes_and_addresses_of_others_survive_everything(netns: Netns) -> None:
    gw = build(netns).gateway
    run(gw, "nft", "add table inet other; add chain inet other c; add rule inet other c counter")
    run(gw, "nft", "add table ip nat; add chain ip nat keep")
    ip("address", "add", "192.168.0.77/24", "dev", "eth0", ns=gw)
    ip("link", "set", "eth0", "up", ns=gw)
    ip("route", "add", "198.51.100.0/24", "via", "192.168.0.1", ns=gw)
    ip("route", "add", "198.51.100.0/24", "via", "192.168.0.1", "table", "1000", ns=gw)
    ip("rule", "add", "from", "203.0.113.7", "lookup", "77", "priority", "1003", ns=gw)

    def theirs() -> list[str]:
        listings = (
            ("nft", "list", "table", "inet", "other"),
            ("nft", "list", "table", "ip", "nat"),
            ("ip", "address", "show", "to", "192.168.0.77"),
            ("ip", "route", "show", "198.51.100.0/24"),
            ("ip", "route", "show", "198.51.100.0/24", "table", "1000"),
            ("ip", "rule", "show", "from", "203.0.113.7"),
        )
        return [run(gw, *command).stdout for command in listings]

    before = theirs()
    assert all(before)
    assert apply_in(gw, render(gateway_intent())).ok
    assert theirs() == before
    assert apply_in(gw, render(gateway_intent(policies=(policy("new", "10.0.0.0/8"),)))).ok
    assert theirs() == before
    assert apply_in(gw, DataplaneState()).ok
    assert theirs() == before


def test_an_address_that_a_cni_has_put_there_satisfies_the_wish_and_stays(netns: Netns) -> None:
    gw = build(netns).gateway
    ip("address", "add", "192.168.0.2/24", "dev", "eth0", ns=gw)
    desired = render(gateway_intent())
    assert "+ address 192.168.0.2/24 dev eth0" not in plan_in(gw, desired).lines()
    assert apply_in(gw, desired).ok
    assert apply_in(gw, DataplaneState()).ok
    assert "192.168.0.2" in run(gw, "ip", "address", "show", "dev", "eth0").stdout


@pytest.mark.parametrize(
    "damage",
    [
        "ip rule del priority 1001",
        "ip -6 rule del priority 1002",
        "ip route del default table 1001",
        "ip -6 route flush table 1000",
        "ip address del 172.17.0.11/16 dev net1",
        "ip link set net1 down",
        "ip link del net1",
        "sysctl -qw net.ipv4.ip_forward=0",
        "nft flush chain inet vegd guard",
        "nft delete table inet vegd",
        "nft add rule inet vegd forward accept",
        "nft add element inet vegd sources4-24 { 198.51.100.0 : 5 }",
        "nft delete element inet vegd sources4-23 { 192.168.0.0 }",
        "nft add set inet vegd mine { type ipv4_addr; }",
    ],
)
def test_damage_by_hand_is_put_right(netns: Netns, damage: str) -> None:
    gw = build(netns).gateway
    desired = render(gateway_intent())
    assert apply_in(gw, desired).ok
    run(gw, *damage.split())
    assert plan_in(gw, desired)
    report = apply_in(gw, desired)
    assert report.ok, [str(error) for _, error in report.failed]
    assert plan_in(gw, desired) == Plan.empty


def test_a_route_to_the_same_place_in_our_table_by_somebody_else_is_not_overwritten(
    netns: Netns,
) -> None:
    gw = build(netns).gateway
    desired = render(gateway_intent())
    ip("address", "add", "172.17.0.11/16", "dev", "ext0", ns=gw)
    ip("link", "set", "ext0", "up", ns=gw)
    ip("route", "add", "default", "via", "172.17.0.9", "dev", "ext0", "table", "1001", ns=gw)
    apply_in(gw, desired)
    assert "172.17.0.9" in run(gw, "ip", "route", "show", "table", "1001").stdout


@pytest.mark.parametrize(
    "hops", [("172.17.0.2", "fd17::1"), ("172.17.0.1", "fd17::2")], ids=["IPv4", "IPv6"]
)
def test_a_gateway_outside_is_exchanged_in_one_round(netns: Netns, hops: tuple[str, str]) -> None:
    gw = build(netns).gateway
    assert apply_in(gw, render(gateway_intent())).ok
    moved = render(with_external_gateway(gateway_intent(), *hops))
    report = apply_in(gw, moved)
    assert report.ok, [str(error) for _, error in report.failed]
    assert plan_in(gw, moved) == Plan.empty


def test_an_address_is_exchanged_for_another_of_its_subnet_in_one_round(netns: Netns) -> None:
    gw = build(netns).gateway
    assert apply_in(gw, render(gateway_intent())).ok
    moved = render(with_external_addresses(gateway_intent(), "172.17.0.12/16", "fd17::12/64"))
    report = apply_in(gw, moved)
    assert report.ok, [str(error) for _, error in report.failed]
    assert plan_in(gw, moved) == Plan.empty


def test_an_address_is_kept_while_the_one_to_follow_it_is_refused(netns: Netns) -> None:
    gw = build(netns).gateway
    assert apply_in(gw, render(gateway_intent())).ok
    # The same IPv6 address with another length, of somebody else: the kernel takes it only once.
    ip("address", "add", "fd17::12/128", "dev", "net1", "nodad", ns=gw)
    moved = render(with_external_addresses(gateway_intent(), "172.17.0.11/16", "fd17::12/64"))
    report = apply_in(gw, moved)
    assert [str(op) for op, _ in report.failed][0] == "+ address fd17::12/64 dev net1"
    assert "fd17::11/64" in run(gw, "ip", "-6", "address", "show", "dev", "net1").stdout


def test_a_policy_for_the_very_last_address_can_be_taken_away(netns: Netns) -> None:
    gw = build(netns).gateway
    last = (*gateway_intent().policies, policy("last", "255.255.255.255/32"))
    assert apply_in(gw, render(gateway_intent(policies=last))).ok
    assert apply_in(gw, render(gateway_intent())).ok


@pytest.mark.parametrize(
    "event",
    [
        "ip link set eth0 mtu 1400",
        "ip address add 192.168.0.99/24 dev eth0",
        "ip rule del priority 1001",
        "ip -6 rule del priority 1001",
        "ip -6 route flush table 1001",
        "nft flush chain inet vegd guard",
        "sysctl -qw net.ipv4.ip_forward=0",
    ],
)
def test_a_change_by_somebody_else_is_noticed(netns: Netns, event: str) -> None:
    gw = build(netns).gateway

    async def story(kernel: Kernel) -> bool:
        assert (await converge(kernel, render(gateway_intent()))).ok
        # Link-local addresses that have just been checked are news, too; wait for the last of them.
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(run, gw, "ip", "address", "show", "tentative")).stdout:
                await asyncio.sleep(0.05)
        noticed = asyncio.Event()

        async def follow() -> None:
            async for _ in kernel.changes():
                noticed.set()

        following = asyncio.create_task(follow())
        # The generator subscribes when it is first asked. A harmless change of our own, repeated
        # until it is heard, shows that it has; then the echoes have to die down.
        async with asyncio.timeout(5):
            while not noticed.is_set():
                await asyncio.to_thread(run, gw, "ip", "link", "set", "lo", "mtu", "65535")
                await asyncio.to_thread(run, gw, "ip", "link", "set", "lo", "mtu", "65536")
            while noticed.is_set():
                noticed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(noticed.wait(), 0.3)
        await asyncio.to_thread(run, gw, *event.split())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(noticed.wait(), 3)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return noticed.is_set()

    assert with_kernel(gw, story)


def test_following_changes_can_be_ended_by_closing(netns: Netns) -> None:
    gw = build(netns).gateway

    async def story(kernel: Kernel) -> None:
        changes = kernel.changes()
        first = asyncio.ensure_future(anext(changes))
        async with asyncio.timeout(5):
            while not first.done():
                await asyncio.to_thread(run, gw, "ip", "link", "set", "lo", "mtu", "65535")
                await asyncio.to_thread(run, gw, "ip", "link", "set", "lo", "mtu", "65536")
        assert isinstance(changes, AsyncGenerator)
        await changes.aclose()

    with_kernel(gw, story)


def test_opening_and_closing_leaves_no_descriptor_behind(netns: Netns) -> None:
    gw = build(netns).gateway

    async def nothing(kernel: Kernel) -> None:
        desired = render(gateway_intent())
        diff(await kernel.observe(desired), desired)

    def descriptors() -> int:
        gc.collect()  # what an earlier test has left to the collector is not counted here
        return len(list(Path("/proc/self/fd").iterdir()))

    with_kernel(gw, nothing)
    before = descriptors()
    for _ in range(5):
        with_kernel(gw, nothing)
    assert descriptors() == before


def test_a_macvlan_moves_to_another_parent_and_gets_everything_back_in_two_rounds(
    netns: Netns,
) -> None:
    top = build(netns)
    gw = top.gateway
    veth(top.outside, "o9", gw, "ext9")
    assert apply_in(gw, render(gateway_intent())).ok
    intent = gateway_intent()
    moved = render(replace(intent, external=replace(intent.external, macvlan=Macvlan("ext9"))))
    for _ in range(2):
        assert apply_in(gw, moved).ok
    assert plan_in(gw, moved) == Plan.empty
    assert ip_json("link", "show", "net1", ns=gw)[0]["link"] == "ext9"


def test_a_link_of_somebody_else_under_the_name_of_our_macvlan_is_not_replaced(
    netns: Netns,
) -> None:
    top = build(netns)
    veth(top.outside, "o9", top.gateway, "net1")
    report = apply_in(top.gateway, render(gateway_intent()))
    refused = [str(error) for op, error in report.failed if "macvlan" in str(op)]
    assert len(refused) == 1
    assert "somebody else" in refused[0]
    shown = run(top.gateway, "ip", "-d", "link", "show", "net1").stdout
    assert "veth" in shown
    assert run(top.gateway, "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "0\n"
