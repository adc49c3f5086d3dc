"""The BFD port of a VPC and who holds it."""

from hypothesis import given
from hypothesis import strategies as st

from kube.bfd_port import BfdPort, by_priority, chassis, mac, rows
from kube.owners import KUBE_OVN, PortOwner
from kube.rows import HaGroup, RouterPort, Switch, SwitchPort, as_map

NODES = {f"node{n}": f"chassis{n}" for n in range(1, 6)}
PORT = BfdPort(
    vpc="vpc1", addresses=("10.255.255.255", "fdff::1"), chassis=("c2", "c1"), has_stub=False
)


def test_three_chassis_are_enough_unless_nodes_are_selected() -> None:
    assert chassis(NODES, selects=False, current=()) == ("chassis1", "chassis2", "chassis3")
    assert len(chassis(NODES, selects=True, current=())) == 5


def test_who_is_in_the_group_keeps_its_place() -> None:
    current = ("chassis5", "chassis2", "chassis4")
    assert chassis(NODES, selects=False, current=current) == current
    joined = {"node0": "chassis0", **NODES}
    assert chassis(joined, selects=False, current=current) == current


def test_who_may_not_stay_is_replaced_at_the_end() -> None:
    left = {node: name for node, name in NODES.items() if name != "chassis5"}
    current = ("chassis5", "chassis2", "chassis4")
    assert chassis(left, selects=False, current=current) == ("chassis2", "chassis4", "chassis1")


@given(
    st.sets(st.sampled_from(sorted(NODES))), st.booleans(), st.permutations(sorted(NODES.values()))
)
def test_a_second_look_changes_nothing(chosen: set[str], selects: bool, current: list[str]) -> None:
    nodes = {node: NODES[node] for node in chosen}
    first = chassis(nodes, selects=selects, current=current)
    assert chassis(nodes, selects=selects, current=first) == first
    assert set(first) <= set(nodes.values())


def test_the_group_has_its_members_by_priority() -> None:
    group, router_port = rows(PORT, KUBE_OVN)
    assert isinstance(group, HaGroup)
    assert isinstance(router_port, RouterPort)
    assert group.ha_chassis == {("c2", 100), ("c1", 99)}
    assert by_priority(group) == ("c2", "c1")
    assert router_port.ha_chassis_group == group.name == "bfd@vpc1"
    assert router_port.options == as_map({"bfd-only": "true"})
    assert router_port.networks == {"10.255.255.255", "fdff::1"}
    assert mac("bfd@vpc1") == mac("bfd@vpc1") != mac("bfd@vpc2")


def test_stock_ovn_gets_a_switch_behind_the_port() -> None:
    port = BfdPort(vpc="vpc1", addresses=(), chassis=(), has_stub=True)
    stubs = [row for row in rows(port, KUBE_OVN) if isinstance(row, Switch | SwitchPort)]
    assert [row.name for row in stubs] == ["stub-bfd@vpc1", "stub-bfd@vpc1"]


def test_no_other_port_of_the_router_is_taken_for_ours() -> None:
    owner = PortOwner(KUBE_OVN, "vpc1")
    _, port = rows(PORT, KUBE_OVN)
    assert owner.owns(port)
    other = RouterPort(
        router="vpc1",
        name="vpc1-subnet1",
        mac="02:00:00:00:00:01",
        networks=frozenset({"192.168.0.1/24"}),
        external_ids=port.external_ids,
    )
    assert not owner.owns(other)
