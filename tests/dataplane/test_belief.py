"""What was dumped is believed until the kernel tells of a change, and no longer."""

from collections.abc import Callable

import pytest

from dataplane.diff import diff
from dataplane.kernel import Kernel
from dataplane.model import Bandwidth, DataplaneState
from dataplane.plan import Plan
from dataplane.render import render
from tests.support.dataplane import build, converge, gateway_intent, with_kernel
from tests.support.netns import run

pytestmark = pytest.mark.kernel

DAMAGE = (
    "ip link set net1 down",
    "ip address del 172.17.0.11/16 dev net1",
    "ip -6 address del fd17::11/64 dev net1",
    "ip route del default table 1001",
    "ip -6 route del default table 1001",
    "ip route change default via 172.17.0.9 dev net1 table 1001 proto 86",
    "ip rule del iif eth0 priority 1001",
    "ip -6 rule del iif eth0 priority 1001",
    "tc qdisc del dev net1 root",
    "tc class change dev net1 parent 8600: classid 8600:1 htb rate 1mbit",
    "sysctl -qw net.ipv4.conf.ext0.arp_ignore=0",
    "nft delete element inet vegd sources4-23 { 192.168.0.0 }",
    "nft delete table inet vegd",
)
WISH = render(gateway_intent(bandwidth=Bandwidth(8_000_000, 10_000_000)))


async def settled(kernel: Kernel) -> DataplaneState:
    """Apply until nothing is left to do and nothing new is heard; what was observed then."""
    for _ in range(100):
        await converge(kernel, WISH)
        seen = await kernel.observe(WISH)
        if not diff(seen, WISH) and (await kernel.observe(WISH)).routes is seen.routes:
            return seen
    raise AssertionError("never settled")


def test_each_change_by_hand_is_seen_by_the_very_next_look(netns: Callable[[str], str]) -> None:
    gw = build(netns).gateway

    async def story(kernel: Kernel) -> None:
        for command in DAMAGE:
            await settled(kernel)
            run(gw, *command.split())
            assert diff(await kernel.observe(WISH), WISH) != Plan.empty, command

    with_kernel(gw, story)


def test_without_news_nothing_is_dumped_until_the_belief_is_too_old(
    netns: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gw = build(netns).gateway

    async def story(kernel: Kernel) -> None:
        seen, interfaces = await settled(kernel), await kernel.interfaces()
        assert (await kernel.observe(WISH)).routes is seen.routes
        assert await kernel.interfaces() is interfaces
        less = render(gateway_intent())
        assert (await kernel.observe(less)).shapers == WISH.shapers, "another wish, another look"
        monkeypatch.setattr("dataplane.linux._BELIEVE_S", 0)
        run(gw, "ip", "link", "set", "lo", "alias", "news")
        later = await kernel.observe(WISH)
        assert later.routes is not seen.routes
        assert (await kernel.observe(WISH)).routes is not later.routes
        assert later == seen

    with_kernel(gw, story)
