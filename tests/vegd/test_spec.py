"""Each mistake gets its message, all of them at once, and none that only follows from another."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from socket import gethostname

import pytest

from tests.vegd.spec_documents import ABSENT, changed, faults_of, good, without_addresses
from tests.vegd.spec_mistakes import STRUCTURE, TEXTS
from tests.vegd.spec_mistakes_together import BFD, POLICIES, SIDES
from vegd.spec import Drain, GatewaySpec, Listen, Metrics, SpecError, load

ALL = STRUCTURE + TEXTS + SIDES + POLICIES + BFD


@pytest.mark.parametrize(("changes", "message"), ALL, ids=[message for _, message in ALL])
def test_one_mistake_gets_one_message(changes: dict[str, object], message: str) -> None:
    assert faults_of(changed(changes)) == [message]


def test_a_sound_document_has_no_faults_and_its_values_are_parsed() -> None:
    spec = GatewaySpec.parse(good())
    assert spec.warnings() == ()
    assert spec.internal.addresses is not None
    assert spec.internal.addresses[0] == IPv4Interface("192.168.0.2/24")
    assert spec.external.gateways[0] == IPv4Address("172.17.0.1")
    assert spec.policies[0].ip_blocks[0] == IPv4Network("192.168.0.0/24")
    assert spec.policies[0].snat is True
    assert spec.bfd is not None
    assert spec.bfd.timers_of(spec.bfd.peers[0]) == (100, 200, 3, 254, False, 1)
    assert spec.bfd.timers_of(spec.bfd.peers[1]) == (100, 200, 3, 255, False, 1)


def test_what_is_left_out_has_its_default() -> None:
    spec = GatewaySpec.parse(
        {
            "internal": {"interface": "eth0", "gateways": ["192.168.0.1"]},
            "external": {"interface": "net1", "gateways": ["172.17.0.1"]},
            "policies": [{"name": "a", "ipBlocks": ["10.0.0.7"]}],
        }
    )
    assert spec.name == gethostname()
    assert spec.internal.addresses is None
    assert spec.bfd is None
    assert spec.drain == Drain(forward_for=6)
    assert spec.metrics == Metrics(listen=Listen("", 10669))
    assert spec.policies[0].snat is False
    assert spec.policies[0].ip_blocks == (IPv4Network("10.0.0.7/32"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"policies.0.ipBlocks": ["0.0.0.0/0", "::/0"]},
        {"internal.addresses.0": "192.168.0.0/31", "internal.gateways.0": "192.168.0.1"},
        {"internal.gateways.1": "fe80::1"},
        {"policies.1.ipBlocks": ["192.168.0.128/25"]},
        {"bfd.peers.2": {"address": "10.255.255.254"}},
        {
            "internal.addresses.2": "192.168.0.3/24",
            "bfd.peers.2": {"address": "10.255.255.255", "local": "192.168.0.3"},
        },
        {"bfd.peers.2": {"address": "10.255.255.255", "multihop": True}},
        {"bfd.peers.2": {"address": "10.255.255.255", "interface": "eth0"}},
        {"bfd.peers.2": {"address": "fe80::1", "interface": "eth0", "local": "fe80::2"}}
        | {"bfd.peers.3": {"address": "fe80::1", "interface": "eth1"}},
        {"bfd.peers.2": {"address": "10.9.9.9", "interface": "eth1", "local": "10.9.9.1"}},
        {"metrics": {"listen": "[::1]:1"}},
        {"metrics": {"listen": "localhost:65535"}},
        {"internal.interface": "bond0.100"},
        {"external.macvlan.mode": "passthru"},
        {"internal.mtu": 1280},
        {"bfd.multiplier": 10, "bfd.minTX": 60_000, "drain": {"forwardFor": 600}},
    ],
    ids=str,
)
def test_what_is_unusual_and_right_is_accepted(changes: dict[str, object]) -> None:
    assert faults_of(changed(changes)) == []


def test_a_thousand_policies_are_fine() -> None:
    policies = [
        {"name": f"p{i}", "snat": bool(i % 2), "ipBlocks": [f"10.{i // 250}.{i % 250}.0/24"]}
        for i in range(1000)
    ]
    assert faults_of(changed({"policies": policies})) == []


def test_a_peer_without_snat_needs_no_external_address() -> None:
    document = changed(
        {
            "external.addresses": ["172.17.0.11/16"],
            "external.gateways.1": "fe80::1",
            "policies": [{"name": "direct", "snat": False, "ipBlocks": ["fd00::/64"]}],
        }
    )
    assert faults_of(document) == []


def test_every_mistake_is_told_at_once() -> None:
    document = changed(
        {
            "nam": "x",
            "internal.interface": "a b",
            "internal.addresses.0": "192.168.0.0/24",
            "external.gateways.0": "172.18.0.1",
            "policies.1.ipBlocks.0": "192.168.2.1/24",
            "bfd.minTX": 0,
            "bfd.peers.1.address": "224.0.0.1",
        }
    )
    assert [fault.partition(":")[0] for fault in faults_of(document)] == [
        "nam",
        "internal.interface",
        "policies[1].ipBlocks[0]",
        "bfd.minTX",
        "internal.addresses[0]",
        "external.gateways[0]",
        "bfd.peers[1].address",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        # The faulty entry could have been what the gateway, the policy or the peer needs.
        {"internal.addresses.1": "fd00::2"},
        {"internal.gateways.1": "fd00:::1"},
        {"external.addresses": "172.17.0.11/16"},
        {"external.gateways": ["172.17.0.1", 6]},
        {"internal": "eth0"},
        {"external": ABSENT},
        {"external.macvlan": "ext0"},
        # A misspelt field is not missing as well.
        {"internal.interfaces": "eth0", "internal.interface": ABSENT},
        # Timers that are not known have no product.
        {"bfd.minTX": -5, "bfd.multiplier": 255, "bfd.minRX": 2000},
        {"policies.0.snat": "on", "policies.1.ipBlocks": ["192.168.3.0/24"]},
    ],
    ids=str,
)
def test_a_mistake_hides_what_only_follows_from_it(changes: dict[str, object]) -> None:
    assert len(faults_of(changed(changes))) == 1


def test_the_places_stay_right_behind_a_faulty_entry() -> None:
    document = changed({"policies.0.ipBlocks": ["x", "10.0.0.0/24", "10.0.0.0/24"]})
    assert [fault.partition(" ")[0] for fault in faults_of(document)] == [
        "policies[0].ipBlocks[0]:",
        "policies[0].ipBlocks[2]:",
    ]


def test_without_addresses_the_checks_that_need_them_wait_for_the_facts() -> None:
    document = without_addresses()
    document["internal"]["gateways"] = ["10.9.9.9", "fd09::9"]
    document["bfd"]["peers"][0]["local"] = "10.1.1.1"
    assert faults_of(document) == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"external.gateways": ["172.17.0.1"], "external.addresses": ["172.17.0.11/16"]},
            (
                "policies[0].ipBlocks[1]: 'fd00::/64' is not forwarded: there is no external IPv6 "
                "gateway; add one, or remove the IPv6 sources"
            ),
        ),
        (
            {"policies": []},
            "policies: no source is listed, so nothing is forwarded; list the sources to forward",
        ),
        (
            {"drain": {"forwardFor": 5}},
            (
                "drain.forwardFor: 5 is short: OVN may act on AdminDown up to 5 s late, and "
                "packets "
                "that it sends after the end are lost; give 6 or more, unless the router is not OVN"
            ),
        ),
        (
            {"bfd.minTX": 2100},
            (
                "drain.forwardFor: 6 is less than the 6.3 s in which a peer notices silence; "
                "give 7 or more, or make BFD faster"
            ),
        ),
    ],
)
def test_what_is_odd_but_allowed_is_a_warning(changes: dict[str, object], warning: str) -> None:
    spec = GatewaySpec.parse(changed(changes))
    assert [str(each) for each in spec.warnings()] == [warning]


def test_without_bfd_the_drain_time_is_nobodys_business() -> None:
    spec = GatewaySpec.parse(changed({"bfd": ABSENT, "drain": {"forwardFor": 0}}))
    assert spec.warnings() == ()


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: cannot be read: No such file or directory; check the path and its permissions"
    )
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (Path("/"), "/: cannot be read: Is a directory"),
        (Path("a\0b"), "a\0b: cannot be read: there can be no such file"),
        (Path("/dev/zero"), "/dev/zero: is larger than 4,000,000 bytes"),
    ],
    ids=["directory", "null byte", "endless"],
)
def test_a_path_that_cannot_be_read_is_a_fault(path: Path, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value).startswith(problem)


def test_each_fault_of_a_file_begins_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("name: a b\nname: c\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()] == [
        "name: is given twice, in lines 1 and 2; keep one of them",
        "name: 'a b' cannot be a name; use 1 to 64 letters, digits, '.', '_' or '-'",
        "internal: is missing; describe the VPC side: interface, gateways",
        "external: is missing; describe the outside: interface, addresses, gateways",
    ]


def test_a_source_that_is_listed_in_vain_gives_a_warning() -> None:
    document = changed(
        {
            "policies.1.ipBlocks": ["192.168.0.0/24", "fd00::/64"],
            "policies.1.destinationCIDRs": ["10.0.0.0/8"],
            "policies.2": {"name": "late", "snat": True, "ipBlocks": ["192.168.0.0/24"]},
        }
    )
    assert [str(each) for each in GatewaySpec.parse(document).warnings()] == [
        (
            "policies[1].ipBlocks[1]: 'fd00::/64' has no effect: destinationCIDRs has no IPv6 "
            "network; list the IPv6 destinations, too"
        ),
        (
            "policies[2].ipBlocks[0]: '192.168.0.0/24' has no effect: policies[0].ipBlocks[0] "
            "decides for all destinations; remove it, or give that policy destinationCIDRs"
        ),
    ]
