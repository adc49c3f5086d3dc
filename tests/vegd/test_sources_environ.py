"""The environment of Kube-OVN's containers: what it means, and each mistake under its variable."""

import json
from ipaddress import ip_address, ip_interface, ip_network
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dataplane.model import Interface
from dataplane.ownership import TABLE_TO_OUTSIDE, TABLE_TO_VPC
from dataplane.render import render
from vegd.compile import Intent, compile  # noqa: A004  the design's word
from vegd.facts import NodeFacts
from vegd.sources.environ import Gateway, Routing, read
from vegd.spec import GatewaySpec, SpecError, parse_bytes

PODS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "fixtures/kube_ovn/pods.json").read_text()
)
Environment = dict[str, str]

INSIDE = {"INTERNAL_GATEWAY_IPV4": "192.168.0.1"}
GOOD = {**INSIDE, "EXTERNAL_GATEWAY_IPV4": "172.17.0.1", "NO_SNAT_SOURCES_IPV4": ""}
OLD = {
    **INSIDE,
    "INTERNAL_ROUTE_DST_IPV4": "10.1.0.0/24,10.2.0.0/24",
    "SNAT_SOURCES_IPV4": "10.1.0.0/24",
}
BFD = {
    "POD_IPS": "192.168.0.5",
    "BFD_PEER_IPS": "10.255.255.255",
    "BFD_MIN_TX": "300",
    "BFD_MIN_RX": "200",
    "BFD_MULTI": "5",
}


def _facts(*defaults: str, **interfaces: list[str]) -> NodeFacts:
    there = {"lo": ["127.0.0.1/8", "::1/128"], **interfaces}
    return NodeFacts(
        {
            name: Interface(name, index, None, True, 1500, tuple(map(ip_interface, addresses)))
            for index, (name, addresses) in enumerate(there.items(), 1)
        },
        default_gateways=tuple(map(ip_address, defaults)),
    )


POD = _facts(
    "172.17.0.1",
    "fd17::1",
    eth0=["192.168.0.5/24", "fd00::5/64", "fe80::1/64"],
    net1=["172.17.0.11/16", "fd17::11/64", "fe80::2/64"],
)


def _spec(environment: Environment, facts: NodeFacts = POD) -> GatewaySpec:
    gateway = read(environment, facts)
    assert isinstance(gateway, Gateway)
    # What is left to the main container says the same.
    assert parse_bytes(json.dumps(gateway.document).encode()) == (gateway.spec, ())
    return gateway.spec


def _policies(spec: GatewaySpec) -> dict[str, tuple[bool, list[str], list[str]]]:
    return {
        policy.name: (
            policy.snat,
            [str(each) for each in policy.ip_blocks],
            [str(each) for each in policy.excluded_destinations or ()],
        )
        for policy in spec.policies
    }


def _given(environment: Environment, side: str) -> dict[int, str]:
    named = {version: environment.get(f"{side}_GATEWAY_IPV{version}") for version in (4, 6)}
    return {version: value for version, value in named.items() if value}


@pytest.mark.parametrize("case", PODS)
def test_every_recorded_pod_becomes_the_gateway_that_its_controller_meant(case: str) -> None:
    pod = PODS[case]
    facts = _facts(eth0=pod["eth0"], net1=pod["net1"])
    environment = pod["init"] | pod["main"]
    inside, outside = _given(environment, "INTERNAL"), _given(environment, "EXTERNAL")
    spec = _spec(environment, facts)
    assert spec.warnings() == () or inside.keys() != outside.keys()
    compiled = compile(spec, facts)
    assert isinstance(compiled, Intent)
    intent = compiled.dataplane
    assert (intent.internal.interface, intent.external.interface) == ("eth0", "net1")
    assert (intent.internal.addresses, intent.external.addresses) == ((), ())
    assert intent.internal.macvlan is intent.external.macvlan is None
    forwarded = inside.keys() & outside.keys()
    lacking = [
        f"IPv{n} is not forwarded: no external IPv{n} address on net1"
        for n in inside.keys() - forwarded
    ]
    assert list(compiled.notes) == lacking

    state = render(intent)
    defaults = {
        (route.table, str(route.gateway), route.interface)
        for route in state.routes
        if route.destination.prefixlen == 0
    }
    assert defaults == {
        *((TABLE_TO_VPC, inside[version], "eth0") for version in forwarded),
        *((TABLE_TO_OUTSIDE, outside[version], "net1") for version in forwarded),
    }
    direct = [
        ip_network(text)
        for version in (4, 6)
        for text in environment.get(f"NO_SNAT_SOURCES_IPV{version}", "").split(",")
        if text
    ]
    by_snat = {policy.snat: policy for policy in intent.policies}
    assert {each.version for each in by_snat[True].sources} == set(inside)
    assert all(each.prefixlen == 0 for each in by_snat[True].sources)
    assert list(by_snat[True].excluded_destinations) == direct
    assert (list(by_snat[False].sources) if False in by_snat else []) == direct

    peers = environment.get("BFD_PEER_IPS", "").split(",")
    own = environment.get("POD_IPS", "").split(",")
    pairs = {(a, b) for a, b in product(own, peers) if a and b and (":" in a) == (":" in b)}
    sessions = compiled.sessions
    assert {(each.key.local, each.key.peer) for each in sessions} == pairs
    assert {(each.desired_min_tx_us, each.required_min_rx_us) for each in sessions} == (
        {(int(environment["BFD_MIN_TX"]) * 1000, int(environment["BFD_MIN_RX"]) * 1000)}
        if pairs
        else set()
    )
    assert {(each.detect_mult, each.min_ttl) for each in sessions} == (
        {(int(environment["BFD_MULTI"]), 254)} if pairs else set()
    )


def test_the_recordings_hold_what_the_test_above_is_about() -> None:
    environments = [pod["init"] | pod["main"] for pod in PODS.values()]
    assert {case.partition("/")[0] for case in PODS} == {"master", "v1.14.0", "v1.15.24", "v1.16.2"}
    assert any(each.get("EXTERNAL_GATEWAY_IPV6") == "" for each in environments)
    assert any(each.get("NO_SNAT_SOURCES_IPV6") for each in environments)
    assert any("INTERNAL_GATEWAY_IPV4" not in each for each in environments)
    assert any("," in each.get("BFD_PEER_IPS", "") for each in environments)


def test_interfaces_are_found_by_the_next_hops_whatever_they_are_called() -> None:
    facts = _facts(net1=["192.168.0.5/24"], net2=["10.9.9.9/8"], eth0=["172.17.0.11/16"])
    spec = _spec(GOOD, facts)
    assert (spec.internal.interface, spec.external.interface) == ("net1", "eth0")


def test_of_two_interfaces_that_reach_a_next_hop_the_longer_prefix_counts() -> None:
    facts = _facts(wide=["192.168.0.9/16"], eth0=["192.168.0.5/24"], net1=["172.17.0.11/16"])
    assert _spec(GOOD, facts).internal.interface == "eth0"


def test_sources_without_snat_are_no_destinations_with_snat_either() -> None:
    direct = "192.168.0.0/25,10.0.0.7,10.0.0.7/32,10.1.0.9/24"
    spec = _spec({**GOOD, "NO_SNAT_SOURCES_IPV4": direct})
    networks = ["192.168.0.0/25", "10.0.0.7/32", "10.1.0.0/24"]
    assert _policies(spec) == {
        "no-snat": (False, networks, []),
        "snat": (True, ["0.0.0.0/0"], networks),
    }


def test_the_older_list_is_what_has_snat_and_the_rest_of_the_vpc_passes_as_it_is() -> None:
    spec = _spec(OLD)
    assert _policies(spec) == {
        "snat": (True, ["10.1.0.0/24"], []),
        "no-snat": (False, ["10.2.0.0/24", "192.168.0.0/24", "fd00::/64"], []),
    }
    assert spec.internal.gateways == (ip_address("192.168.0.1"),)


@pytest.mark.parametrize(
    ("changes", "direct"),
    [
        ({"SNAT_SOURCES_IPV4": ""}, ["10.1.0.0/24", "10.2.0.0/24", "192.168.0.0/24"]),
        # What is within a network with SNAT has SNAT, as under one rule for that network.
        ({"SNAT_SOURCES_IPV4": "10.0.0.0/8"}, ["192.168.0.0/24"]),
        ({"SNAT_SOURCES_IPV4": "192.168.0.0/24,10.0.0.0/8"}, None),
        ({"SNAT_SOURCES_IPV4": "10.2.0.128/25"}, ["10.1.0.0/24", "10.2.0.0/24", "192.168.0.0/24"]),
    ],
)
def test_the_older_lists_may_be_empty_and_overlap(
    changes: Environment, direct: list[str] | None
) -> None:
    facts = _facts("172.17.0.1", eth0=["192.168.0.5/24"], net1=["172.17.0.11/16"])
    policies = _policies(_spec(OLD | changes, facts))
    assert policies.get("no-snat", (False, None, []))[1] == direct


def test_the_older_form_goes_out_by_the_preferred_default_route() -> None:
    environment = {**OLD, "INTERNAL_GATEWAY_IPV6": "fd00::1"}
    spec = _spec(environment, _replaced_defaults("fe80::99", "172.17.0.1", "192.168.0.77"))
    assert spec.external.gateways == (ip_address("172.17.0.1"),)
    assert _spec(environment).external.gateways == (ip_address("172.17.0.1"), ip_address("fd17::1"))
    # Without IPv6 inside its way out is nobody's.
    assert _spec(OLD).external.gateways == (ip_address("172.17.0.1"),)
    assert _spec({**GOOD, "EXTERNAL_GATEWAY_IPV6": "fd99::1"}) == _spec(GOOD)
    named = {**OLD, "EXTERNAL_GATEWAY_IPV4": "172.17.0.99"}
    assert _spec(named).external.gateways == (ip_address("172.17.0.99"),)


def _replaced_defaults(*defaults: str) -> NodeFacts:
    return NodeFacts(POD.interfaces, default_gateways=tuple(map(ip_address, defaults)))


def test_with_bgp_packets_are_only_routed() -> None:
    both = {**GOOD, "INTERNAL_GATEWAY_IPV6": "fd00::1", "ENABLE_BGP": "true"}
    assert read(both, POD) == Routing("eth0", (4, 6))
    assert read({**INSIDE, "ENABLE_BGP": "true"}, POD) == Routing("eth0", (4,))
    assert isinstance(read({**GOOD, "ENABLE_BGP": ""}, POD), Gateway)


def test_without_the_timers_those_of_the_resource_hold() -> None:
    spec = _spec({**GOOD, "POD_IPS": "192.168.0.5", "BFD_PEER_IPS": "10.255.255.255"})
    assert spec.bfd is not None
    assert spec.bfd.timers_of(spec.bfd.peers[0]) == (1000, 1000, 3, 254, False, 1)
    assert _spec({**GOOD, **BFD, "BFD_PEER_IPS": ""}).bfd is None


_MISTAKES: list[tuple[Environment, str]] = [
    (
        {"INTERNAL_GATEWAY_IPV4": ""},
        (
            "INTERNAL_GATEWAY_IPV4: is missing, and INTERNAL_GATEWAY_IPV6 too; "
            "give the internal subnet a gateway"
        ),
    ),
    (
        {"INTERNAL_GATEWAY_IPV4": "192.168.0.1/24"},
        (
            "INTERNAL_GATEWAY_IPV4: '192.168.0.1/24' has a prefix length; "
            "write the address alone: 192.168.0.1"
        ),
    ),
    (
        {"INTERNAL_GATEWAY_IPV4": "gateway"},
        (
            "INTERNAL_GATEWAY_IPV4: 'gateway' is not an IP address; "
            "write one such as 192.168.0.1 or fd00::1"
        ),
    ),
    (
        {"EXTERNAL_GATEWAY_IPV4": "fd17::1"},
        "EXTERNAL_GATEWAY_IPV4: 'fd17::1' is an IPv6 address; give the IPv4 gateway of the subnet",
    ),
    (
        {"EXTERNAL_GATEWAY_IPV4": ""},
        (
            "EXTERNAL_GATEWAY_IPV4: is missing, and no other family has a gateway on both sides; "
            "give the external subnet a gateway of that family"
        ),
    ),
    (
        {"EXTERNAL_GATEWAY_IPV4": "", "EXTERNAL_GATEWAY_IPV6": "fd17::1"},
        (
            "EXTERNAL_GATEWAY_IPV4: is missing, and no other family has a gateway on both sides; "
            "give the external subnet a gateway of that family"
        ),
    ),
    (
        {"EXTERNAL_GATEWAY_IPV4": "172.99.0.1"},
        (
            "EXTERNAL_GATEWAY_IPV4: '172.99.0.1' is in no subnet of an interface "
            "(eth0 192.168.0.5/24, eth0 fd00::5/64, net1 172.17.0.11/16, net1 fd17::11/64); "
            "attach the pod to the subnet of that gateway"
        ),
    ),
    (
        {"EXTERNAL_GATEWAY_IPV4": "192.168.0.254"},
        (
            "EXTERNAL_GATEWAY_IPV4: '192.168.0.254' is reached through eth0, "
            "as INTERNAL_GATEWAY_IPV4 is; use an external subnet other than the internal one"
        ),
    ),
    (
        {"INTERNAL_GATEWAY_IPV6": "fd17::7"},
        (
            "INTERNAL_GATEWAY_IPV6: 'fd17::7' is reached through net1, and INTERNAL_GATEWAY_IPV4 "
            "through eth0; take both families from one subnet"
        ),
    ),
    (
        {"NO_SNAT_SOURCES_IPV4": "10.0.0.0/8,10.0.0.0/33"},
        (
            "NO_SNAT_SOURCES_IPV4: '10.0.0.0/33' is not a prefix; "
            "write ADDRESS/LENGTH with a length of 0 to 32, for example 10.0.0.0/24"
        ),
    ),
    (
        {"NO_SNAT_SOURCES_IPV4": "fd00::/64"},
        "NO_SNAT_SOURCES_IPV4: 'fd00::/64' is an IPv6 network; list IPv4 networks there",
    ),
    (
        {"SNAT_SOURCES_IPV4": "10.0.0.0/8", "NO_SNAT_SOURCES_IPV4": "10.1.0.0/16"},
        (
            "NO_SNAT_SOURCES_IPV4: '10.1.0.0/16' is given beside the older SNAT_SOURCES or "
            "INTERNAL_ROUTE_DST; give the variables of one version of Kube-OVN"
        ),
    ),
    (
        {"ENABLE_EVPN": "true", "ENABLE_BGP": "true"},
        (
            "ENABLE_EVPN: 'true' asks for EVPN, which vegd does not do; "
            "remove evpnConf from the gateway, or leave it to Kube-OVN's own image"
        ),
    ),
    (
        {**BFD, "BFD_MULTI": "256"},
        "BFD_MULTI: 256 is out of range; give 1 to 255 (packets)",
    ),
    (
        {**BFD, "BFD_MIN_TX": "1s"},
        "BFD_MIN_TX: '1s' is no whole number; give one without a unit",
    ),
    (
        {**BFD, "BFD_MIN_RX": "0"},
        "BFD_MIN_RX: 0 is out of range; give 1 to 60000 (milliseconds)",
    ),
    (
        {**BFD, "BFD_PEER_IPS": "10.255.255.255,router"},
        "BFD_PEER_IPS: 'router' is not an IP address; write one such as 192.168.0.1 or fd00::1",
    ),
    (
        {**BFD, "BFD_PEER_IPS": "fdff::1"},
        (
            "POD_IPS: '192.168.0.5' has no address of the family of a peer in BFD_PEER_IPS; "
            "give the VPC's BFD port an address of a family of the internal subnet"
        ),
    ),
    (
        {**BFD, "BFD_PEER_IPS": "224.0.0.1"},
        "BFD_PEER_IPS: '224.0.0.1' is a multicast address; write the router's BFD address",
    ),
]


@pytest.mark.parametrize(
    ("changes", "message"),
    _MISTAKES,
    ids=[f"{n}-{list(c)[-1]}" for n, (c, _) in enumerate(_MISTAKES)],
)
def test_one_mistake_gets_one_line_under_its_variable(changes: Environment, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        read(GOOD | changes, POD)
    assert str(raised.value).splitlines() == [message]
    assert raised.value.exit_status == 2


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(SpecError) as raised:
        read({"INTERNAL_GATEWAY_IPV4": "a", "EXTERNAL_GATEWAY_IPV6": "b"}, POD)
    assert [fault.path for fault in raised.value.faults] == [
        "INTERNAL_GATEWAY_IPV4",
        "EXTERNAL_GATEWAY_IPV6",
    ]
