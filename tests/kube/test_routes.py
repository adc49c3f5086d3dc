"""Which rows a gateway wants."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.owners import KUBE_OVN, LENT, VEGD, GatewayOwner
from kube.routes import BfdSettings, Gateway, Reason, Replica, SelectedPod, Way, routes
from kube.rows import AddressSet, Bfd, Policy, PortGroup, StaticRoute
from kube.slots import Slot

BFD = BfdSettings("bfd@vpc1", ("10.255.255.255", "fdff::1"))
A = Replica("a", "node1", True, ("192.168.0.2", "fd00::2"), ("172.17.0.2", "fd17::2"))
B = Replica("b", "node2", True, ("192.168.0.3", "fd00::3"), ("172.17.0.3", "fd17::3"))
GATEWAY = Gateway(
    namespace="default",
    name="gateway8",
    router="vpc1",
    size=2,
    replicas=(A, B),
    cidrs=frozenset({"192.168.1.0/24", "fd01::/64"}),
    bfd=BFD,
    router_port="vpc1-subnet1",
)


def policies(gateway: Gateway, priority: int, version: int = 4) -> list[Policy]:
    return [
        row
        for row in routes(gateway, KUBE_OVN).rows
        if isinstance(row, Policy)
        and row.priority == priority
        and row.external_ids == owner().ids(version)
    ]


def of(gateway: Gateway, kind: type) -> list[object]:
    return [row for row in routes(gateway, KUBE_OVN).rows if isinstance(row, kind)]


def owner() -> GatewayOwner:
    return GatewayOwner(KUBE_OVN, "default", "gateway8")


def reasons(gateway: Gateway) -> list[Reason]:
    return [notice.reason for notice in routes(gateway, KUBE_OVN).notices]


def test_names_are_made_of_a_hash_of_namespace_and_name() -> None:
    assert owner().group == "VEG.52658dc04e05"
    names = {row.name for row in routes(GATEWAY, KUBE_OVN).rows if isinstance(row, AddressSet)}
    ends = (".ipv4", "_ip4", ".ipv6", "_ip6")
    assert names == {f"VEG.52658dc04e05{end}" for end in ends}


def test_beside_kube_ovn_no_name_and_no_mark_is_one_of_theirs() -> None:
    theirs, ours = routes(GATEWAY, KUBE_OVN).rows, routes(GATEWAY, VEGD).rows
    assert len(theirs) == len(ours)
    shared = {row.ref for row in theirs} & {row.ref for row in ours}
    assert {ref.table for ref in shared} == {"BFD"}, "only the pods tell their sessions apart"
    mark = GatewayOwner(KUBE_OVN, "default", "gateway8")
    assert not any(mark.owns(row) for row in ours)


def test_a_session_sends_as_the_gateway_receives() -> None:
    timers = BfdSettings("bfd@vpc1", BFD.addresses, min_tx_ms=200, min_rx_ms=300, multiplier=5)
    sessions = of(replace(GATEWAY, bfd=timers), Bfd)
    assert len(sessions) == 4
    for row in sessions:
        assert isinstance(row, Bfd)
        assert (row.min_tx, row.min_rx, row.detect_mult) == (300, 200, 5)


def test_a_multiplier_that_no_packet_carries_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"bfd\.multiplier: 256 .* use 1 to 255"):
        BfdSettings("bfd@vpc1", ("10.255.255.255",), multiplier=256)


def test_packets_go_to_every_gateway_and_are_dropped_when_none_is_up() -> None:
    for version, hops in ((4, {"192.168.0.2", "192.168.0.3"}), (6, {"fd00::2", "fd00::3"})):
        for row in policies(GATEWAY, 29100, version):
            assert (row.action, row.nexthops) == ("reroute", hops)
            assert row.bfd_sessions == {("bfd@vpc1", hop) for hop in hops}
        dropped = {row.match for row in policies(GATEWAY, 29090, version)}
        assert dropped == {row.match for row in policies(GATEWAY, 29100, version)}
        assert len(dropped) == 2


def test_without_replicas_everything_is_dropped() -> None:
    gateway = replace(GATEWAY, replicas=())
    assert not policies(gateway, 29100)
    assert not of(gateway, Bfd)
    assert len(policies(gateway, 29090)) == len(policies(gateway, 29090, 6)) == 2


def test_without_bfd_nothing_is_dropped_and_no_session_named() -> None:
    gateway = replace(GATEWAY, bfd=None)
    assert not policies(gateway, 29090)
    assert not of(gateway, Bfd)
    assert all(not row.bfd_sessions for row in policies(gateway, 29100))


def test_without_bfd_a_gateway_that_is_not_ready_is_left_unless_all_are() -> None:
    sick = replace(A, ready=False)
    gateway = replace(GATEWAY, bfd=None, replicas=(sick, B))
    assert {row.nexthops for row in policies(gateway, 29100)} == {frozenset({"192.168.0.3"})}
    gateway = replace(gateway, replicas=(sick, replace(B, ready=False)))
    (hops,) = {row.nexthops for row in policies(gateway, 29100)}
    assert hops == {"192.168.0.2", "192.168.0.3"}


def test_where_bfd_watches_readiness_does_not_count() -> None:
    gateway = replace(GATEWAY, replicas=(replace(A, ready=False), B))
    (hops,) = {row.nexthops for row in policies(gateway, 29100)}
    assert hops == {"192.168.0.2", "192.168.0.3"}


_GROUPS = {"node1": "node.one", "node2": "node.two"}


def test_local_prefers_all_gateways_of_the_clients_node() -> None:
    third = Replica("c", "node1", True, ("192.168.0.4",), ("172.17.0.4",))
    gateway = replace(
        GATEWAY,
        replicas=(A, B, third),
        is_local=True,
        node_groups=_GROUPS,
    )
    local = {row.match: row.nexthops for row in policies(gateway, 29150)}
    start = "ip4.src == $node.one_ip4 && ip4.src == $VEG.52658dc04e05"
    assert local[f"{start}.ipv4"] == local[f"{start}_ip4"] == {"192.168.0.2", "192.168.0.4"}
    assert len(local) == 4
    assert len(policies(gateway, 29100)) == 2, "a node without a gateway uses any"
    assert not reasons(gateway)


def test_local_on_a_node_without_a_port_group_is_told() -> None:
    gateway = replace(GATEWAY, is_local=True, node_groups={"node1": "node.one"})
    assert set(reasons(gateway)) == {Reason.NODE_WITHOUT_PORT_GROUP}
    assert {row.nexthops for row in policies(gateway, 29150)} == {frozenset({"192.168.0.2"})}


def test_local_in_another_vpc_than_the_default_one_is_told() -> None:
    gateway = replace(GATEWAY, is_local=True, is_grouped=False, node_groups=_GROUPS)
    assert reasons(gateway) == [Reason.LOCAL_NOT_POSSIBLE, Reason.LOCAL_NOT_POSSIBLE]
    assert len(policies(gateway, 29150)) == 4, "for pods in a VLAN"
    assert not reasons(replace(gateway, is_local=False))


def test_selectors_make_a_port_group_in_place_of_the_empty_sets() -> None:
    pods = (SelectedPod("web.a"), SelectedPod("web.b"))
    gateway = replace(GATEWAY, has_selectors=True, pods=pods)
    assert of(gateway, PortGroup) == [
        PortGroup(
            name="VEG.52658dc04e05",
            ports=frozenset({"web.a", "web.b"}),
            external_ids=owner().ids(6),
        )
    ]
    assert len(of(gateway, AddressSet)) == 2


def test_defect_7_a_bfd_port_of_one_family_leaves_the_other_to_readiness_and_says_so() -> None:
    one = replace(BFD, addresses=("10.255.255.255",))
    gateway = replace(GATEWAY, bfd=one, replicas=(replace(A, ready=False), B))
    assert reasons(gateway) == [Reason.BFD_PORT_LACKS_FAMILY]
    for row in policies(gateway, 29100, 6):
        assert row.nexthops == {"fd00::3"}, "a gateway that is not ready may be dead"
        assert not row.bfd_sessions
    assert len(policies(gateway, 29090, 6)) == 2


def test_defect_7_a_gateway_with_one_family_outside_is_no_way_out_for_the_other() -> None:
    outside = tuple(replace(each, external=each.external[:1]) for each in (A, B))
    gateway = replace(GATEWAY, replicas=outside)
    assert reasons(gateway) == [Reason.NO_WAY_OUT]
    assert not policies(gateway, 29100, 6)
    assert len(policies(gateway, 29090, 6)) == 2, "dropped, not let out another way"
    assert len(policies(gateway, 29100, 4)) == 2


def test_a_family_without_sources_is_no_fault() -> None:
    inside = tuple(replace(each, external=each.external[:1]) for each in (A, B))
    assert not reasons(replace(GATEWAY, replicas=inside, cidrs=frozenset({"192.168.1.0/24"})))


def test_static_routes_tie_each_source_to_each_session() -> None:
    pods = (SelectedPod("web.a", ("192.168.1.7", "fd01::7")),)
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES, has_selectors=True, pods=pods)
    found = of(gateway, StaticRoute)
    assert all(isinstance(row, StaticRoute) and row.policy == "src-ip" for row in found)
    pairs = {(row.ip_prefix, row.nexthop) for row in found if isinstance(row, StaticRoute)}
    assert pairs == {
        (prefix, hop)
        for prefixes, hops in (
            (("192.168.1.0/24", "192.168.1.7/32"), ("192.168.0.2", "192.168.0.3")),
            (("fd01::/64", "fd01::7/128"), ("fd00::2", "fd00::3")),
        )
        for prefix in prefixes
        for hop in hops
    }
    for row in found:
        assert isinstance(row, StaticRoute)
        assert row.bfd == ("bfd@vpc1", row.nexthop)
        family = "ipv6" if ":" in row.nexthop else "ip"
        assert row.selection_fields == {
            f"{family}_src",
            f"{family}_dst",
            "ip_proto",
            "tp_src",
            "tp_dst",
        }
        assert not row.options, "OVN would keep sending to a gateway that is dead"


def by_prefix(gateway: Gateway) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in of(gateway, StaticRoute):
        assert isinstance(row, StaticRoute)
        assert row.bfd == ("bfd@vpc1", row.nexthop)
        assert row.slot == len(found.setdefault(row.ip_prefix, []))
        found[row.ip_prefix].append(row.nexthop)
    return found


def test_the_slots_of_a_gateway_that_leaves_are_anothers_at_once() -> None:
    gateway = replace(
        GATEWAY,
        way=Way.STATIC_ROUTES,
        replicas=(replace(A, leaving=True), B),
        slots={
            (4, 0): Slot("192.168.0.2"),
            (4, 1): Slot("192.168.0.3"),
            (6, 0): Slot("fd00::2"),
            (6, 1): Slot("fd00::3"),
        },
        up=frozenset({"192.168.0.2", "192.168.0.3", "fd00::2", "fd00::3"}),
    )
    assert by_prefix(gateway) == {
        "192.168.1.0/24": ["192.168.0.3", "192.168.0.3"],
        "fd01::/64": ["fd00::3", "fd00::3"],
    }
    lent = [row.slot for row in of(gateway, StaticRoute) if row.external_ids >= LENT]  # type: ignore[attr-defined]
    assert lent == [0, 0], "the next gateway gets it"
    assert {row.dst_ip for row in of(gateway, Bfd) if isinstance(row, Bfd)} == {
        "192.168.0.3",
        "fd00::3",
    }


def test_the_last_gateway_is_used_and_watched_until_another_is_up() -> None:
    """Where there is one replica its pod leaves before the next one comes."""
    gateway = replace(
        GATEWAY,
        way=Way.STATIC_ROUTES,
        replicas=(replace(A, leaving=True), B),
        cidrs=frozenset({"192.168.1.0/24"}),
        slots={(4, 0): Slot("192.168.0.2")},
        up=frozenset({"192.168.0.2"}),
        size=1,
    )
    assert by_prefix(gateway) == {
        "192.168.1.0/24": ["192.168.0.2"],
        "192.168.0.3/32": ["192.168.0.3"],
        "fd00::3/128": ["fd00::3"],
    }
    sessions = {row.dst_ip for row in of(gateway, Bfd) if isinstance(row, Bfd)}
    assert {"192.168.0.2", "192.168.0.3"} <= sessions


def test_that_the_last_pod_leaves_is_no_lack_of_addresses() -> None:
    for way in (Way.POLICIES, Way.STATIC_ROUTES):
        assert not reasons(replace(GATEWAY, way=way, replicas=(replace(A, leaving=True),)))


def test_a_gateway_without_a_slot_has_a_route_of_its_own_for_its_session() -> None:
    c = replace(A, name="c", internal=("192.168.0.4", "fd00::4"))
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES, replicas=(A, B, c))
    assert by_prefix(gateway) == {
        "192.168.1.0/24": ["192.168.0.2", "192.168.0.3"],
        "192.168.0.4/32": ["192.168.0.4"],
        "fd01::/64": ["fd00::2", "fd00::3"],
        "fd00::4/128": ["fd00::4"],
    }
    policy = {row.ip_prefix: row.policy for row in of(gateway, StaticRoute)}  # type: ignore[attr-defined]
    assert policy["192.168.0.4/32"] == policy["fd00::4/128"] == "dst-ip"
    nobody = replace(GATEWAY, way=Way.STATIC_ROUTES, cidrs=frozenset(), has_selectors=True)
    assert set(by_prefix(nobody)) == {
        "192.168.0.2/32",
        "192.168.0.3/32",
        "fd00::2/128",
        "fd00::3/128",
    }, "its pods are ready when their sessions are, and nobody has to be there for that"


def test_with_static_routes_only_what_they_have_led_to_the_gateways_passes() -> None:
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES)
    sets = [f"ip4.src == $VEG.52658dc04e05{end}" for end in (".ipv4", "_ip4")]
    allowed = policies(gateway, 29100)
    assert {row.action for row in allowed} == {"allow"}
    assert [row.match for row in allowed] == [
        f'{each} && outport == "vpc1-subnet1"' for each in sets
    ]
    assert [row.match for row in policies(gateway, 29090)] == sets


def test_static_routes_know_no_nodes_and_that_is_told() -> None:
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES, is_local=True)
    assert set(reasons(gateway)) == {Reason.LOCAL_NOT_POSSIBLE}


def test_static_routes_of_pods_take_what_stays_inside_as_well_and_that_is_told() -> None:
    pods = (SelectedPod("web.a", ("192.168.1.7",)),)
    gateway = replace(GATEWAY, way=Way.STATIC_ROUTES, has_selectors=True, pods=pods)
    (notice,) = routes(gateway, KUBE_OVN).notices
    assert notice.reason is Reason.INSIDE_GOES_OUTSIDE
    assert notice.text.startswith("IPv4")
    assert not reasons(replace(gateway, way=Way.POLICIES))


def test_a_trial_leads_no_packet_anywhere_and_drops_what_it_asks_for() -> None:
    gateway = replace(GATEWAY, way=Way.TRIAL)
    for version in (4, 6):
        (question,) = policies(gateway, 29100, version)
        assert question.match.endswith("&& 0"), "no packet matches"
        assert len(question.bfd_sessions) == 2
        assert len(policies(gateway, 29090, version)) == 2
    assert not of(gateway, StaticRoute)
    assert len(of(gateway, Bfd)) == 4


def test_the_way_means_nothing_to_a_family_without_bfd() -> None:
    one = replace(BFD, addresses=("10.255.255.255",))
    gateway = replace(GATEWAY, bfd=one, way=Way.TRIAL)
    assert [row.match for row in policies(gateway, 29100, 6)] == [
        "ip6.src == $VEG.52658dc04e05.ipv6",
        "ip6.src == $VEG.52658dc04e05_ip6",
    ]


def test_networks_keep_their_spelling_and_next_hops_get_the_usual_one() -> None:
    pod = replace(A, internal=("fd00:0:0::2",))
    gateway = replace(GATEWAY, replicas=(pod,), cidrs=frozenset({"192.168.20.5", "10.0.0.1/8"}))
    (networks,) = [
        row for row in of(gateway, AddressSet) if isinstance(row, AddressSet) and row.addresses
    ]
    assert networks.addresses == {"192.168.20.5", "10.0.0.1/8"}
    assert {row.dst_ip for row in of(gateway, Bfd) if isinstance(row, Bfd)} == {"fd00::2"}


@given(
    st.permutations([A, B, replace(A, name="c", internal=("192.168.0.9",))]), st.sampled_from(Way)
)
def test_the_order_of_the_pods_changes_nothing(pods: list[Replica], way: Way) -> None:
    base = replace(
        GATEWAY, replicas=(A, B, replace(A, name="c", internal=("192.168.0.9",))), way=way
    )
    assert routes(replace(base, replicas=tuple(pods)), KUBE_OVN) == routes(base, KUBE_OVN)
