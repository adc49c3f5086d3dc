"""What is rendered and planned, without a kernel: exact texts and properties on the fake one."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from hypothesis import given
from hypothesis import strategies as st

from dataplane.diff import diff
from dataplane.model import Bandwidth, DataplaneState, GatewayIntent, Macvlan, Sysctl
from dataplane.plan import NftChange, Plan
from dataplane.render import FORWARDING, render
from dataplane.ruleset import transaction
from tests.support.dataplane import converge, gateway_intent, ipv4_only, policy
from tests.support.dataplane_fake import FakeKernel

_policy_sets = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "fd00::/64", "::/0"]),
    ),
    max_size=4,
).map(
    lambda drawn: tuple(
        policy(f"p{i}", source, snat=snat) for i, (snat, source) in enumerate(drawn)
    )
)
_intents = st.builds(
    lambda policies, last, single, bandwidth, mac, mtu: (
        ipv4_only if single else lambda each: each
    )(
        replace(
            gateway_intent(policies=policies, bandwidth=bandwidth),
            external=replace(gateway_intent().external, mac=mac, mtu=mtu),
            internal=replace(
                gateway_intent().internal,
                addresses=(ip_interface(f"192.168.0.{last}/24"), ip_interface("fd00::2/64")),
            ),
        )
    ),
    _policy_sets,
    st.integers(2, 5),
    st.booleans(),
    st.builds(Bandwidth, *2 * (st.sampled_from([0, 8_000_000, 10_000_000]),)),
    st.sampled_from([None, "02:00:00:00:00:0a", "02:00:00:00:00:0b"]),
    st.sampled_from([None, 1400, 1500]),
)


@given(_intents)
def test_nothing_is_planned_when_all_is_as_wished(intent: GatewayIntent) -> None:
    state = render(intent)
    assert diff(state, state) == Plan.empty
    assert not diff(state, state)


@given(_intents, _intents)
def test_a_plan_leads_from_any_gateway_to_any_other(one: GatewayIntent, two: GatewayIntent) -> None:
    async def story() -> None:
        kernel = FakeKernel("eth0", "ext0")
        for intent in (one, two):
            desired = render(intent)
            assert (await converge(kernel, desired)).ok
            observed = await kernel.observe(desired)
            assert diff(observed, desired) == Plan.empty
            assert observed.nft == desired.nft
            assert observed.routes == desired.routes
            assert observed.rules == desired.rules
            (wish,) = (each for each in desired.links if each.name == "net1")
            (there,) = (each for each in observed.links if each.name == "net1")
            assert wish.mac in (None, there.mac)
            assert wish.mtu in (None, there.mtu)
            assert observed.addresses == desired.addresses

    asyncio.run(story())


def test_first_plan_of_a_gateway_reads_like_this() -> None:
    observed = DataplaneState()
    desired = replace(
        render(ipv4_only(gateway_intent(policies=(policy("vpc", "192.168.0.0/24"),)))),
        nft=None,
    )
    assert diff(observed, desired).lines() == [
        "+ link eth0 up",
        "+ link net1 macvlan bridge on ext0 up",
        "+ address 172.17.0.11/16 dev net1",
        "+ address 192.168.0.2/24 dev eth0",
        "+ address fd00::2/64 dev eth0",
        "+ route 172.17.0.0/16 dev net1 table 1000",
        "+ route 172.17.0.0/16 dev net1 table 1001",
        "+ route 192.168.0.0/24 dev eth0 table 1000",
        "+ route 192.168.0.0/24 dev eth0 table 1001",
        "+ route default via 172.17.0.1 dev net1 table 1001",
        "+ route default via 192.168.0.1 dev eth0 table 1000",
        "+ rule 1001 iif eth0 (IPv4) lookup 1001",
        "+ rule 1002 iif net1 (IPv4) lookup 1000",
        "+ rule 1003 iif lo from 192.168.0.2 lookup 1000",
        "+ rule 1004 iif lo from 172.17.0.11 lookup 1001",
        "~ sysctl net/ipv4/conf/eth0/promote_secondaries = 1",
        "~ sysctl net/ipv4/conf/eth0/rp_filter = 2",
        "~ sysctl net/ipv4/conf/ext0/arp_ignore = 1",
        "~ sysctl net/ipv4/conf/net1/promote_secondaries = 1",
        "~ sysctl net/ipv4/conf/net1/rp_filter = 2",
        "~ sysctl net/ipv4/icmp_errors_use_inbound_ifaddr = 1",
        "~ sysctl net/ipv6/conf/eth0/accept_ra = 0",
        "~ sysctl net/ipv4/ip_forward = 1",
    ]


def test_the_table_comes_first_and_forwarding_last() -> None:
    plan = diff(DataplaneState(), render(gateway_intent()))
    assert isinstance(plan.ops[0].object, NftChange)
    switches = {op.object.path for op in plan.ops[-2:] if isinstance(op.object, Sysctl)}
    assert switches == set(FORWARDING.values())


def test_a_family_without_a_gateway_outside_is_neither_routed_nor_forwarded() -> None:
    state = render(ipv4_only(gateway_intent()))
    assert {route.destination.version for route in state.routes} == {4}
    assert {rule.version for rule in state.rules} == {4}
    assert FORWARDING[6] not in {each.path for each in state.sysctls}
    assert state.nft is not None
    assert not any(each.elements for each in state.nft.sets if each.version == 6)


def test_a_changed_policy_touches_neither_other_chains_nor_any_counter() -> None:
    before = render(gateway_intent()).nft
    more = (*gateway_intent().policies, policy("third", "10.9.0.0/16"))
    commands = transaction(before, render(gateway_intent(policies=more)).nft)
    assert {name for command in commands for name in command} == {"add", "flush"}
    written = {str(c["add"]["rule"]["chain"]) for c in commands if "rule" in c.get("add", {})}
    # What finds the policy of a source is written anew, in the same transaction.
    assert written == {"from4", "back4", "decide4", "policy4-third"}
    flushed = {c["flush"]["chain"]["name"] for c in commands if "flush" in c}
    assert flushed == {"from4", "back4", "decide4"}
    assert not [c for c in commands if "counter" in c.get("add", {}) and "third" not in str(c)]


def test_a_new_gateway_outside_replaces_the_route_before_the_old_one_goes() -> None:
    intent = gateway_intent()
    moved = replace(
        intent,
        external=replace(
            intent.external, gateways=(ip_address("172.17.0.2"), ip_address("fd17::1"))
        ),
    )
    lines = diff(render(intent), render(moved)).lines()
    assert lines == [
        "+ route default via 172.17.0.2 dev net1 table 1001",
        "- route default via 172.17.0.1 dev net1 table 1001",
    ]


def test_a_plan_for_machines_names_action_kind_and_object() -> None:
    plan = diff(DataplaneState(), replace(DataplaneState(), sysctls=frozenset({Sysctl("a", "1")})))
    assert plan.to_json() == [
        {
            "action": "change",
            "kind": "sysctl",
            "lines": ["~ sysctl a = 1"],
            "object": "sysctl a = 1",
        }
    ]


def test_a_macvlan_of_another_parent_is_changed() -> None:
    intent = gateway_intent()
    moved = replace(intent, external=replace(intent.external, macvlan=Macvlan("ext9")))
    assert "~ link net1 macvlan bridge on ext9 up" in diff(render(intent), render(moved)).lines()


@given(_intents, _intents)
def test_no_step_of_a_plan_opens_a_hole(one: GatewayIntent, two: GatewayIntent) -> None:
    """After each operation, as if the apply were killed there: who forwards has the table, whole,
    and what both gateways have is never missing."""

    async def story() -> None:
        kernel = FakeKernel("eth0", "ext0")
        for before, after in ((DataplaneState(), render(one)), (render(one), render(two))):
            kept = (before.routes & after.routes, before.rules & after.rules)
            for op in diff(await kernel.observe(after), after).ops:
                assert (await kernel.apply(Plan((op,)))).ok
                state = kernel.state
                forwards = any(each.path in FORWARDING.values() for each in state.sysctls)
                assert not forwards or state.nft == after.nft
                assert not state.routes or state.nft in (before.nft, after.nft)
                assert kept[0] <= state.routes
                assert kept[1] <= state.rules
                # A next hop is exchanged, never missing in between.
                for route in before.routes:
                    place = (route.destination, route.table)
                    if place in {(each.destination, each.table) for each in after.routes}:
                        assert place in {(e.destination, e.table) for e in state.routes}
            assert not diff(await kernel.observe(after), after)

    asyncio.run(story())
