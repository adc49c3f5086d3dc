"""What was dumped is believed until the kernel tells of a change, and no longer."""

import asyncio
from collections.abc import Callable

import pytest

from dataplane.diff import diff
from dataplane.kernel import Kernel
from dataplane.linux import LinuxKernel
from dataplane.model import Bandwidth, DataplaneState
from dataplane.nftables import Json, Nftables
from dataplane.plan import Plan
from dataplane.render import render
from tests.support.dataplane import build, converge, gateway_intent, policy, with_kernel
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
    """Apply until nothing is left to do and nothing new is heard for a while (the kernel tells late
    that an address is no duplicate); what was observed then."""
    for _ in range(100):
        await converge(kernel, WISH)
        seen = await kernel.observe(WISH)
        await asyncio.sleep(0.2)
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
    monkeypatch.setattr("dataplane.linux._BELIEVE_S", 1000)

    async def story(kernel: Kernel) -> None:
        for _ in range(20):  # the kernel may have late news at any time
            seen, interfaces = await settled(kernel), await kernel.interfaces()
            again = (await kernel.observe(WISH)).routes
            if again is seen.routes and await kernel.interfaces() is interfaces:
                break
        else:
            pytest.fail("dumped without news")
        less = render(gateway_intent())
        assert (await kernel.observe(less)).shapers == WISH.shapers, "another wish, another look"
        monkeypatch.setattr("dataplane.linux._BELIEVE_S", 0)
        run(gw, "ip", "link", "set", "lo", "alias", "news")
        later = await kernel.observe(WISH)
        assert later.routes is not seen.routes
        assert (await kernel.observe(WISH)).routes is not later.routes
        assert later == seen

    with_kernel(gw, story)


STEAL = "nft delete element inet vegd sources4-23 { 192.168.0.0 }"
OTHER = "nft add table inet somebody"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("command", [STEAL, OTHER])
def test_what_others_do_during_a_transaction_of_ours_is_found_though_nothing_is_heard(
    netns: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, when: str, command: str
) -> None:
    gw = build(netns).gateway
    whole, listed = Nftables._run, []

    async def disturbed(self: Nftables, commands: list[Json]) -> tuple[int, Json, str]:
        listed.append("list" in commands[0])
        if when == "before" and not listed[-1]:
            run(gw, *command.split())
        answer = await whole(self, commands)
        if when == "after" and not listed[-1]:
            run(gw, *command.split())
        return answer

    async def story(kernel: Kernel) -> None:
        await settled(kernel)
        monkeypatch.setattr(Nftables, "_run", disturbed)
        policies = (*gateway_intent().policies, policy("third", "192.168.7.0/24"))
        wish = render(gateway_intent(policies=policies))
        await converge(kernel, wish)
        assert listed == [False]
        seen = await kernel.observe(wish)
        assert listed == [False, True], "the table was looked at again"
        assert bool(diff(seen, wish)) is (command == STEAL)
        assert (await kernel.observe(wish)).nft is seen.nft

    with_kernel(gw, story)


def test_a_change_of_ours_is_no_news_and_that_of_somebody_else_is(
    netns: Callable[[str], str],
) -> None:
    gw = build(netns).gateway

    async def story(kernel: Kernel) -> None:
        assert isinstance(kernel, LinuxKernel)
        await settled(kernel)
        news = asyncio.Event()

        async def follow() -> None:
            async for _ in kernel._nftables.changes():
                news.set()

        following = asyncio.create_task(follow())
        async with asyncio.timeout(60):
            while len(kernel._nftables._watches) < 2:
                await asyncio.sleep(0)
        policies = (*gateway_intent().policies, policy("third", "192.168.7.0/24"))
        for wish in (render(gateway_intent(policies=policies)), WISH):
            report = await converge(kernel, wish)
            assert "nft" in {op.kind for op in report.applied}
        # What was told of is there at once: delivery is part of the transaction.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not news.is_set()
        run(gw, *STEAL.split())
        async with asyncio.timeout(60):
            await news.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    with_kernel(gw, story)
