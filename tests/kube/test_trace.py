"""Which way a packet takes by the resources, and where OVN's rows say otherwise."""

from dataclasses import replace
from typing import Any

import pytest

from kube.finding import Finding, Severity
from kube.owners import KUBE_OVN, GatewayOwner
from kube.routes import BfdSettings, Gateway, Replica, Way, routes
from kube.rows import Policy, RouterPort, Row, StaticRoute
from kube.rowtrace import RouterRows, row_trace, verify
from kube.trace import Trace, Verdict, trace
from tests.support import scenes
from tests.support.scenes import client, gateway, report, workload_pod

_OUT = "203.0.113.5"
_GROUP = GatewayOwner(KUBE_OVN, "ns", "gw").group
_PORT = "bfd@vpc1"


def _pair(*reports: dict[str, Any], **spec: Any) -> scenes.Scene:
    """A gateway with two pods, on two nodes."""
    second = workload_pod("gw-1", ip="192.168.0.3", spec={"nodeName": "node2"})
    status = {"ready": True, "gateways": list(reports)}
    return scenes.scene([gateway(replicas=2, status=status, **spec)], [workload_pod(), second])


def test_it_is_led_to_every_pod_and_shows_as_one_of_them() -> None:
    found = trace(_pair(), client(), _OUT)
    assert (found.verdict, found.gateway, found.priority) == (Verdict.FORWARDED, "ns/gw", 29100)
    assert found.match == f"ip4.src == ${_GROUP}.ipv4"
    assert [(each.internal, each.external) for each in found.hops] == [
        ("192.168.0.2", "172.17.0.2"),
        ("192.168.0.3", "172.17.0.3"),
    ]


def test_a_selected_pod_is_in_the_other_set() -> None:
    labels = {"matchLabels": {"app": "web"}}
    scene = scenes.scene([gateway(policies=[], selectors=[{"podSelector": labels}])])
    found = trace(scene, client(labels={"app": "web"}), _OUT)
    assert found.match == f"ip4.src == ${_GROUP}_ip4"
    assert trace(scene, client(), _OUT).verdict is Verdict.NOT_TAKEN


def test_with_bfd_a_pod_that_says_down_is_not_used() -> None:
    down = {"local": "192.168.0.3", "peer": "10.255.255.255", "state": "Down"}
    scene = _pair(report(), report("gw-1", bfd=[down]), bfd={"enabled": True})
    found = trace(scene, client(), _OUT)
    assert [each.is_used for each in found.hops] == [True, False]
    assert "its session with 10.255.255.255 is Down" in found.hops[1].why
    silent = trace(_pair(bfd={"enabled": True}), client(), _OUT)
    assert [each.is_used for each in silent.hops] == [None, None]


def test_with_bfd_and_no_pod_it_is_dropped_and_without_it_goes_elsewhere() -> None:
    dropped = trace(scenes.scene([gateway(bfd={"enabled": True})], []), client(), _OUT)
    assert (dropped.verdict, dropped.priority) == (Verdict.DROPPED, 29090)
    assert dropped.remedy == "kubectl vegd why -n ns gw"
    leaked = trace(scenes.scene(pods=[]), client(), _OUT)
    assert leaked.verdict is Verdict.NOT_TAKEN
    assert "has no pod that can forward IPv4" in leaked.why


def test_without_bfd_the_ready_ones_are_used_or_all_if_none_is() -> None:
    first = workload_pod(ready=False)
    second = workload_pod("gw-1", ip="192.168.0.3")
    found = trace(scenes.scene(pods=[first, second]), client(), _OUT)
    assert [each.pod for each in found.hops] == ["gw-1"]
    second = workload_pod("gw-1", ip="192.168.0.3", ready=False)
    found = trace(scenes.scene(pods=[first, second]), client(), _OUT)
    assert [each.pod for each in found.hops] == ["gw-0", "gw-1"]


_DEFAULT_VPC = {"vpc": "ovn-cluster", "internalSubnet": "ovn-default"}


def _local(node: str = "node1", **spec: Any) -> Trace:
    """From a pod of the default VPC on a node, with trafficPolicy Local."""
    scene = _pair(trafficPolicy="Local", **(_DEFAULT_VPC | spec))
    groups = {name: f"node.{name}" for name in ("node1", "node2", "node3")}
    router = {} if "vpc" in spec else {"router": "ovn-cluster"}
    return trace(replace(scene, node_groups=groups), client(nodeName=node, **router), _OUT)


def test_with_traffic_policy_local_its_own_node_comes_first() -> None:
    found = _local()
    assert found.priority == 29150
    assert found.match == f"ip4.src == $node.node1_ip4 && ip4.src == ${_GROUP}.ipv4"
    assert [each.pod for each in found.hops] == ["gw-0"]
    assert [each.pod for each in found.aside] == ["gw-1"]
    elsewhere = _local("node3")
    assert (elsewhere.priority, len(elsewhere.hops), elsewhere.aside) == (29100, 2, ())


def test_pods_of_other_vpcs_are_in_no_group_of_their_node() -> None:
    found = _local(vpc="vpc1", internalSubnet="subnet1")
    assert (found.priority, len(found.hops), found.aside) == (29100, 2, ())


@pytest.mark.parametrize(
    ("pod", "destination", "verdict"),
    [
        (client(), "192.168.10.9", Verdict.INSIDE),
        (client(), "10.16.0.9", Verdict.FORWARDED),
        (client(), "2001:db8::1", Verdict.IMPOSSIBLE),
        (client(hostNetwork=True), _OUT, Verdict.IMPOSSIBLE),
        (client("192.168.7.7"), _OUT, Verdict.NOT_TAKEN),
        (client(router="vpc2"), _OUT, Verdict.NOT_TAKEN),
    ],
)
def test_what_does_not_come_to_a_gateway(
    pod: scenes.Client, destination: str, verdict: Verdict
) -> None:
    assert trace(scenes.scene(), pod, destination).verdict is verdict


def test_two_that_claim_it_leave_it_undefined() -> None:
    other = gateway("other", policies=[{"ipBlocks": ["192.168.0.0/25"]}])
    found = trace(scenes.scene([gateway(), other]), client(), _OUT)
    assert found.verdict is Verdict.UNDEFINED
    assert {each.gateway for each in found.taken} == {"ns/gw", "ns/other"}


# OVN's rows.

_INSIDE = RouterPort(
    router="vpc1",
    name="vpc1-subnet1",
    mac="",
    networks=frozenset({"192.168.0.1/24"}),
    external_ids=frozenset(),
)
_SUBNET_ROUTE = StaticRoute(
    router="vpc1", ip_prefix="192.168.0.0/24", nexthop="192.168.0.1", external_ids=frozenset()
)
_DEFAULT = StaticRoute(
    router="vpc1",
    ip_prefix="0.0.0.0/0",
    nexthop="192.168.0.1",
    policy="dst-ip",
    external_ids=frozenset(),
)


def _rows(way: Way = Way.POLICIES, *more: Row, **statuses: str) -> RouterRows:
    """What the controller writes for the gateway of `_pair`, and how OVN sees the sessions."""
    words = {"first": "up", "second": "up"} | statuses
    wish = Gateway(
        namespace="ns",
        name="gw",
        router="vpc1",
        router_port="vpc1-subnet1",
        size=2,
        replicas=tuple(
            Replica(name, "node1", True, (f"192.168.0.{n}",), (f"172.17.0.{n}",))
            for n, name in ((2, "gw-0"), (3, "gw-1"))
        ),
        cidrs=frozenset({"192.168.0.0/24"}),
        bfd=BfdSettings(_PORT, ("10.255.255.255",)),
        way=way,
    )
    rows = routes(wish, KUBE_OVN).rows
    return RouterRows(
        is_there=True,
        rows=(_INSIDE, *(more or (_SUBNET_ROUTE,)), *rows),
        sets={f"{_GROUP}.ipv4": frozenset({"192.168.0.0/24"})},
        sessions={
            (_PORT, "192.168.0.2"): words["first"],
            (_PORT, "192.168.0.3"): words["second"],
        },
    )


def _checked(known: RouterRows, of: Trace | None = None) -> tuple[str, list[str]]:
    traced = of or trace(_pair(bfd={"enabled": True}), client(), _OUT)
    found = row_trace(known, traced.source, traced.destination)
    findings: list[Finding] = list(verify(traced, known, found))
    return found.action, [each.problem for each in findings]


def test_the_rows_of_the_controller_do_as_the_resources_say() -> None:
    assert _checked(_rows()) == ("reroute", [])
    assert _checked(_rows(second="down")) == ("reroute", [])
    # Of the source's routes only those are taken whose session is up.
    assert _checked(_rows(Way.STATIC_ROUTES, _DEFAULT)) == ("route", [])
    assert _checked(_rows(Way.STATIC_ROUTES, _DEFAULT, second="down")) == ("route", [])


def test_static_routes_leave_no_gateway_aside_and_that_is_a_note() -> None:
    near = _local(bfd={"enabled": True})
    assert near.why.endswith("static routes, by any of its pods")
    assert _checked(_rows(Way.STATIC_ROUTES, _DEFAULT, second="down"), near) == ("route", [])
    known = _rows(Way.STATIC_ROUTES, _DEFAULT)
    (finding,) = verify(near, known, row_trace(known, near.source, near.destination))
    assert finding.severity is Severity.NOTE
    assert "leads to 192.168.0.3 on node2, too, though" in finding.problem


@pytest.mark.parametrize("way", [Way.POLICIES, Way.STATIC_ROUTES])
def test_with_every_session_down_it_is_dropped(way: Way) -> None:
    outside = replace(_INSIDE, name="vpc1-join", networks=frozenset({"100.64.0.1/16"}))
    default = replace(_DEFAULT, nexthop="100.64.0.254")
    action, (problem,) = _checked(_rows(way, default, outside, first="down", second="down"))
    assert action == "drop"
    assert "no gateway's session is up (192.168.0.2 down, 192.168.0.3 down)" in problem


def test_a_router_without_a_route_drops_before_it_asks() -> None:
    action, (problem,) = _checked(_rows(Way.POLICIES, _INSIDE))
    assert action == "no route"
    assert "drops the packet before any policy is asked" in problem


def test_a_policy_of_somebody_else_that_comes_first_is_named() -> None:
    theirs = Policy(
        router="vpc1",
        priority=31000,
        match=f"ip4.dst == {_OUT}",
        action="drop",
        external_ids=frozenset(),
    )
    action, (problem,) = _checked(_rows(Way.POLICIES, _SUBNET_ROUTE, theirs))
    assert action == "drop"
    assert problem.startswith(f"policy 31000 ip4.dst == {_OUT}, of no gateway, takes the packet")
    odd = replace(theirs, match="tcp.dst == 80 && (ip4 || ip6)")
    action, (problem,) = _checked(_rows(Way.POLICIES, _SUBNET_ROUTE, odd))
    assert action == "reroute"
    assert "it is not known whether this matches: policy 31000 tcp.dst == 80" in problem


def test_an_address_set_without_the_source_and_missing_or_stale_hops() -> None:
    known = replace(_rows(), sets={})
    action, (problem,) = _checked(known)
    assert action == "route"
    assert "and not ns/gw" in problem
    lone = scenes.scene([gateway(bfd={"enabled": True})])
    _, (problem,) = _checked(_rows(), trace(lone, client(), _OUT))
    assert "leads to 192.168.0.3, which is no pod of ns/gw" in problem
    third = workload_pod("gw-2", ip="192.168.0.4")
    pods = [workload_pod(), workload_pod("gw-1", ip="192.168.0.3"), third]
    more = trace(scenes.scene([gateway(bfd={"enabled": True})], pods), client(), _OUT)
    _, (problem,) = _checked(_rows(), more)
    assert "does not lead to 192.168.0.4 (Pod gw-2)" in problem


def test_ovn_that_says_up_of_a_pod_that_says_down() -> None:
    down = {"local": "192.168.0.3", "peer": "10.255.255.255", "state": "Down"}
    scene = _pair(report(), report("gw-1", bfd=[down]), bfd={"enabled": True})
    _, (problem,) = _checked(_rows(), trace(scene, client(), _OUT))
    assert "sends packets to 192.168.0.3 (session up), whose Pod gw-1 says that its" in problem


def test_a_router_that_is_not_there_and_rows_that_were_left() -> None:
    _, (problem,) = _checked(RouterRows(is_there=False))
    assert problem == "is not there in OVN"
    nobody = trace(scenes.scene([], [], []), client(), _OUT)
    _, (problem,) = _checked(_rows(), nobody)
    assert "leads to the gateway ns/gw all the same" in problem
