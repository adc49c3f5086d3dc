"""One suite for the kernel in memory and the real one, so that the former cannot drift."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dataplane.diff import diff
from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.model import (
    AddressRange,
    Bandwidth,
    DataplaneState,
    InputProtection,
    Link,
    NftTable,
    Sysctl,
    Translation,
)
from dataplane.plan import NftChange, Op, Plan
from dataplane.render import FORWARDING, render
from tests.support.dataplane import build, converge, gateway_intent, policy, with_kernel
from tests.support.dataplane_fake import FakeKernel

Story = Callable[[Kernel], Awaitable[None]]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def play(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    """Runs a story against a kernel that has eth0 and ext0."""
    if request.param == "real":
        top = build(request.getfixturevalue("netns"))
        return lambda story: with_kernel(top.gateway, story)

    def on_fake(story: Story) -> None:
        import asyncio  # noqa: PLC0415 - the real kernel brings its own loop

        asyncio.run(story(FakeKernel("eth0", "ext0")))  # type: ignore[arg-type]

    return on_fake


def test_what_was_applied_is_observed_and_nothing_is_left_to_do(
    play: Callable[[Story], None],
) -> None:
    async def story(kernel: Kernel) -> None:
        desired = render(gateway_intent(bandwidth=Bandwidth(8_000_000, 10_000_000)))
        report = await converge(kernel, desired)
        assert report.ok, [str(error) for _, error in report.failed]
        observed = await kernel.observe(desired)
        assert observed.nft == desired.nft
        assert observed.routes == desired.routes
        assert observed.rules == desired.rules
        assert observed.addresses == desired.addresses
        assert observed.sysctls == desired.sysctls
        assert observed.shapers == desired.shapers
        assert diff(observed, desired) == Plan.empty

    play(story)


def test_a_link_takes_another_mac_and_mtu_and_nothing_is_left_to_do(
    play: Callable[[Story], None],
) -> None:
    async def story(kernel: Kernel) -> None:
        intent = gateway_intent()
        for mac, mtu in ((None, None), ("02:00:00:00:00:0a", 1400), ("02:00:00:00:00:0b", 1420)):
            external = replace(intent.external, mac=mac, mtu=mtu)
            desired = render(replace(intent, external=external))
            report = await converge(kernel, desired)
            assert report.ok, [str(error) for _, error in report.failed]
            observed = await kernel.observe(desired)
            assert diff(observed, desired) == Plan.empty
            (there,) = (each for each in observed.links if each.name == external.interface)
            assert mac in (None, there.mac)
            assert mtu in (None, there.mtu)

    play(story)


def test_policies_come_and_go_without_a_trace(play: Callable[[Story], None]) -> None:
    async def story(kernel: Kernel) -> None:
        few = render(gateway_intent(policies=(policy("vpc", "10.0.0.0/8", "::/0"),)))
        many = render(
            gateway_intent(
                policies=(
                    policy("vpc", "10.0.0.0/8", "::/0"),
                    policy("hole", "10.1.0.0/16", "10.1.9.7/32", "fd00::/64", snat=False),
                    policy("all", "0.0.0.0/0"),
                    policy("last", "240.0.0.0/4", "ffff::/16"),
                )
            )
        )
        for desired in (few, many, few, many):
            report = await converge(kernel, desired)
            assert report.ok, [str(error) for _, error in report.failed]
            assert (await kernel.observe(desired)).nft == desired.nft

    play(story)


def test_every_wish_about_policies_is_observed_as_it_was_made(
    play: Callable[[Story], None],
) -> None:
    pool = Translation(
        (
            AddressRange(ip_address("172.17.0.32"), ip_address("172.17.0.35")),
            AddressRange(ip_address("172.17.0.40"), ip_address("172.17.0.40")),
            AddressRange(ip_address("fd17::32"), ip_address("fd17::33")),
        ),
        (2000, 2999),
    )
    near = tuple(ip_network(each) for each in ("172.17.0.0/16", "172.17.1.0/24", "240.0.0.0/4"))
    rich = gateway_intent(
        policies=(
            replace(policy("pool", "10.0.0.0/8", "fd00::/16"), translation=pool),
            replace(policy("near", "10.0.0.0/8", snat=False), destinations=near),
            replace(policy("rest", "0.0.0.0/0", "::/0"), excluded_destinations=near),
        ),
        translation=Translation(ports=(1024, 1024)),
        input_protection=InputProtection((22, 10669), (53,)),
    )

    async def story(kernel: Kernel) -> None:
        for desired in (render(rich), render(gateway_intent(clamp_mss=False)), render(rich)):
            report = await converge(kernel, desired)
            assert report.ok, [str(error) for _, error in report.failed]
            assert diff(await kernel.observe(desired), desired) == Plan.empty

    play(story)
    play(story)  # a kernel that was opened later lists it the same


def test_everything_of_ours_can_be_taken_away(play: Callable[[Story], None]) -> None:
    async def story(kernel: Kernel) -> None:
        await converge(kernel, render(gateway_intent()))
        nothing = DataplaneState()
        report = await converge(kernel, nothing)
        assert report.ok, [str(error) for _, error in report.failed]
        assert await kernel.observe(nothing) == nothing
        assert "net1" not in await kernel.interfaces()
        assert "eth0" in await kernel.interfaces()

    play(story)


def test_a_link_that_is_not_there_is_named_and_forwarding_stays_off(
    play: Callable[[Story], None],
) -> None:
    async def story(kernel: Kernel) -> None:
        wish = render(gateway_intent())
        desired = DataplaneState(links=frozenset({Link("none0")}), sysctls=wish.sysctls)
        report = await converge(kernel, desired)
        refused = {str(op.object): error for op, error in report.failed}
        assert "none0" in str(refused["link none0 up"])
        assert f"sysctl {FORWARDING[4]} = 1" in refused
        assert Sysctl(FORWARDING[4], "1") not in (await kernel.observe(desired)).sysctls

    play(story)


@pytest.mark.kernel
def test_forwarding_is_not_switched_on_when_the_transaction_is_refused(
    netns: Callable[[str], str],
) -> None:
    top = build(netns)

    async def story(kernel: Kernel) -> None:
        # The table is expected to be there and is not: its parts cannot be changed.
        wrong = NftTable(frozenset({"gone"}))
        broken = NftChange(wrong, NftTable())
        on = Sysctl(FORWARDING[4], "1")
        report = await kernel.apply(Plan((Op("change", broken), Op("change", on))))
        assert [op.object for op, _ in report.failed] == [broken, on]
        assert all(isinstance(error, DataplaneError) for _, error in report.failed)
        observed = await kernel.observe(DataplaneState(sysctls=frozenset({on})))
        assert observed.sysctls == {Sysctl(FORWARDING[4], "0")}

    with_kernel(top.gateway, story)
