"""Names and addresses of a lab: unique, in their subnets, and refused where they make no sense."""

import json

import pytest

from vegd.lab.errors import BadRequest
from vegd.lab.topology import (
    Family,
    LabOptions,
    Network,
    RouterKind,
    Topology,
    belongs,
    families_of,
)

_NETWORK = Network(
    subnet1=("10.16.0.1/16", "fd16::1/112"),
    subnet2=("10.2.0.1/24", "10.3.0.1/24", "fd02::1/64"),
    bfd_port=("10.255.255.249/32",),
    outside=("fd17::1/64",),
    gateways=((("10.16.0.7/16", "fd16::7/112"), ("fd17::12/64",)),),
    clients=(("10.2.0.9/24", "10.3.0.9/24", "fd02::9/64"),),
)


@pytest.mark.parametrize("router", RouterKind)
@pytest.mark.parametrize(("gateways", "clients"), [(1, 1), (2, 2), (16, 8), (16, 1)])
def test_no_address_and_no_namespace_is_used_twice(
    router: RouterKind, gateways: int, clients: int
) -> None:
    topology = Topology(LabOptions(router=router, gateways=gateways, clients=clients))
    own = [topology.subnet1, topology.subnet2, topology.bfd_port, topology.outside]
    addresses = [each.ip for pair in own for each in pair]
    addresses += [each.ip for g in topology.gateways for each in (*g.internal, *g.external)]
    addresses += [each.ip for c in topology.clients for each in c.addresses]
    assert len(set(addresses)) == len(addresses)
    namespaces = [topology.namespace(node) for node in topology.nodes]
    assert len(set(namespaces)) == len(namespaces) == 2 + gateways + clients
    macs = [each.mac for each in (*topology.gateways, *topology.clients)]
    assert len(set(macs)) == len(macs)


def test_hosts_are_inside_the_subnets_of_their_routers() -> None:
    topology = Topology(LabOptions(gateways=16, clients=8))
    for gateway in topology.gateways:
        for address, router in zip(gateway.internal, topology.subnet1, strict=True):
            assert address.network == router.network
        for address, outside in zip(gateway.external, topology.outside, strict=True):
            assert address.network == outside.network
    networks = {each.network for each in topology.subnet2}
    for client in topology.clients:
        assert {each.network for each in client.addresses} == networks
        assert client.sources(Family.IPV4)
        assert client.sources(Family.IPV6)


def test_an_address_leads_to_its_gateway() -> None:
    topology = Topology(LabOptions(gateways=3))
    for gateway in topology.gateways:
        for family in Family:
            assert topology.owner(gateway.internal_address(family)) == gateway.name
            assert topology.owner(gateway.external_address(family)) == gateway.name
    assert topology.owner(str(topology.outside[0].ip)) is None


def test_options_survive_json() -> None:
    options = LabOptions("a-b", RouterKind.OVN, 4, 3, 70, 5, _NETWORK)
    assert LabOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_a_lab_takes_the_addresses_of_another_network() -> None:
    topology = Topology(LabOptions(network=_NETWORK))
    (gateway,) = topology.gateways
    assert gateway.external_address(Family.IPV6) == "fd17::12"
    assert topology.owner("10.16.0.7") == "gw1"
    (client,) = topology.clients
    assert client.sources(Family.IPV4) == ["10.2.0.9", "10.3.0.9"]
    assert families_of(topology.outside) == [Family.IPV6]
    assert list(topology.peers()) == [(gateway, Family.IPV4)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prefix": ""}, "prefix: ''"),
        ({"prefix": "Big"}, "prefix: 'Big'"),
        ({"prefix": "a--b"}, "prefix: 'a--b'"),
        ({"prefix": "../x"}, "prefix: '../x'"),
        ({"prefix": "a" * 25}, "24 characters at most"),
        ({"gateways": 0}, "gateways: 0 is not from 1 to 16"),
        ({"gateways": 17}, "gateways: 17 is not from 1 to 16"),
        ({"clients": 9}, "clients: 9 is not from 1 to 8"),
        ({"interval_ms": 0}, "interval-ms: 0 is not from 1 to 60000"),
        ({"multiplier": 256}, "multiplier: 256 is not from 1 to 255"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes: dict[str, object], text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        LabOptions.from_json(LabOptions().to_json() | changes)
    assert text in str(caught.value)
    assert caught.value.exit_status == 2


def test_an_unknown_gateway_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match=r"'gw3' is not a gateway of this lab; it has gw1, gw2"):
        Topology(LabOptions()).gateway("gw3")


@pytest.mark.parametrize(
    ("namespace", "mine"),
    [
        ("a-gw1", True),
        ("a-client12", True),
        ("a-sw", True),
        ("a-node2", True),
        ("a-pod-0fe12345", True),
        ("a-pod-gw1", False),
        ("a-b-gw1", False),
        ("a-gw", False),
        ("xa-gw1", False),
        ("a-gw1-x", False),
        ("a", False),
    ],
)
def test_a_lab_knows_its_namespaces_from_those_of_others(namespace: str, *, mine: bool) -> None:
    assert belongs(namespace, "a") is mine
