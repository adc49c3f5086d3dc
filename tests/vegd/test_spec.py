"""Each mistake gets its message, all of them at once, and none that only follows from another."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from socket import gethostname

import pytest

from tests.vegd.spec_documents import ABSENT, changed, faults_of, good, without_addresses
from vegd.spec import Drain, GatewaySpec, Listen, Metrics, SpecError, load

_TTL = "give 1 to 255; 254 for a router of OVN"
_MS = "give 1 to 60000 (milliseconds)"
_HOST = "give the interface an address of a host"
_ROUTER = "write the address of the router"
_LISTEN = "write HOST:PORT, :PORT or [IPV6]:PORT, for example 127.0.0.1:10669"
_IFNAME = "a kernel interface name has 1 to 15 bytes without spaces, '/' and ':'"

STRUCTURE = [
    ({"polices": []}, "polices: is not a known field; did you mean policies?"),
    (
        {"zzz": 1},
        "zzz: is not a known field; the fields here are name, internal, external, policies, bfd, "
        "drain, metrics",
    ),
    ({"internal": ABSENT}, "internal: is missing; describe the VPC side: interface, gateways"),
    (
        {"internal": "eth0"},
        "internal: 'eth0' is not a mapping; write its fields as FIELD: VALUE, one a line "
        "(interface, addresses, gateways, mtu)",
    ),
    (
        {"internal.interface": ABSENT},
        "internal.interface: is missing; name the interface, for example eth0",
    ),
    (
        {"internal.mtu": None},
        "internal.mtu: has no value; give 68 to 65535 (bytes), or remove the line",
    ),
    (
        {"policies": {"name": "a"}},
        "policies: a mapping is not a list; list policies, or write [] to forward nothing",
    ),
    (
        {"policies.0.snat": "yes"},
        "policies[0].snat: 'yes' is neither true nor false; write true or false",
    ),
    (
        {"policies.0.name": 5},
        "policies[0].name: 5 is not a text; write 1 to 64 letters, digits, '.', '_' or '-', "
        "in quotes if it is a number",
    ),
    (
        {"policies.0.name": "a b"},
        "policies[0].name: 'a b' cannot be a name; use 1 to 64 letters, digits, '.', '_' or '-'",
    ),
    (
        {"policies.0.ipBlocks": []},
        "policies[0].ipBlocks: is an empty list; list the sources, for example "
        '[192.168.0.0/24, "fd00::/64"]',
    ),
    ({"bfd.minTX": 0}, f"bfd.minTX: 0 is out of range; {_MS}"),
    ({"bfd.minRX": 60_001}, f"bfd.minRX: 60001 is out of range; {_MS}"),
    ({"bfd.minTX": "fast"}, f"bfd.minTX: 'fast' is not a whole number; {_MS}"),
    (
        {"bfd.minTX": "100"},
        "bfd.minTX: '100' is not a whole number; write the number without quotes",
    ),
    ({"bfd.minTX": 0.5}, f"bfd.minTX: 0.5 is not a whole number; {_MS}"),
    ({"bfd.minTX": True}, f"bfd.minTX: true is not a whole number; {_MS}"),
    ({"bfd.multiplier": 0}, "bfd.multiplier: 0 is out of range; give 1 to 255 (packets)"),
    ({"bfd.multiplier": 256}, "bfd.multiplier: 256 is out of range; give 1 to 255 (packets)"),
    ({"bfd.minTTL": 0}, f"bfd.minTTL: 0 is out of range; {_TTL}"),
    ({"bfd.peers.0.minTTL": 256}, f"bfd.peers[0].minTTL: 256 is out of range; {_TTL}"),
    (
        {"bfd.peers": []},
        "bfd.peers: is an empty list; list the routers, each as {address: ADDRESS}, or remove bfd",
    ),
    (
        {"bfd.peers": ABSENT},
        "bfd.peers: is missing; list the routers, each as {address: ADDRESS}, or remove bfd",
    ),
    (
        {"bfd.peers.0": {}},
        "bfd.peers[0].address: is missing; write the address of the router's BFD port",
    ),
    (
        {"drain": {"forwardFor": 3601}},
        "drain.forwardFor: 3601 is out of range; give 0 to 3600 (seconds)",
    ),
    (
        {"drain": {"forwardFor": -1}},
        "drain.forwardFor: -1 is out of range; give 0 to 3600 (seconds)",
    ),
    (
        {"external.macvlan.mode": "bridged"},
        "external.macvlan.mode: 'bridged' is not one of the possible words; "
        "write bridge, private, vepa or passthru",
    ),
    ({"external.mtu": 67}, "external.mtu: 67 is out of range; give 68 to 65535 (bytes)"),
    ({"external.mtu": 65_536}, "external.mtu: 65536 is out of range; give 68 to 65535 (bytes)"),
]

TEXTS = [
    (
        {"policies.0.ipBlocks.0": "10.0.0.0/33"},
        "policies[0].ipBlocks[0]: '10.0.0.0/33' is not a prefix; write ADDRESS/LENGTH with a "
        "length of 0 to 32, for example 10.0.0.0/24",
    ),
    (
        {"policies.0.ipBlocks.1": "fd00::/129"},
        "policies[0].ipBlocks[1]: 'fd00::/129' is not a prefix; write ADDRESS/LENGTH with a "
        "length of 0 to 128, for example fd00::/64",
    ),
    (
        {"policies.0.ipBlocks.0": "10.0.0.0/255.255.0.0"},
        "policies[0].ipBlocks[0]: '10.0.0.0/255.255.0.0' is not a prefix; write ADDRESS/LENGTH "
        "with a length of 0 to 32, for example 10.0.0.0/24",
    ),
    (
        {"policies.0.ipBlocks.0": "vpc"},
        "policies[0].ipBlocks[0]: 'vpc' is not a prefix; write ADDRESS/LENGTH, for example "
        "10.0.0.0/24 or fd00::/64",
    ),
    (
        {"policies.0.ipBlocks.0": "192.168.0.7/24"},
        "policies[0].ipBlocks[0]: '192.168.0.7/24' has bits set behind the prefix length; "
        "write 192.168.0.0/24",
    ),
    (
        {"policies.0.ipBlocks.0": "224.0.0.0/4"},
        "policies[0].ipBlocks[0]: '224.0.0.0/4' is multicast, which no forwarded packet comes "
        "from; remove it",
    ),
    (
        {"internal.addresses.0": "192.168.0.2"},
        "internal.addresses[0]: '192.168.0.2' has no prefix length; add the length of its subnet, "
        "such as 192.168.0.2/24",
    ),
    (
        {"internal.addresses.0": "eth0"},
        "internal.addresses[0]: 'eth0' is not an address of an interface; write ADDRESS/LENGTH, "
        "as 192.168.0.2/24 or fd00::2/64 (in quotes)",
    ),
    ({"internal.addresses.0": 7}, "internal.addresses[0]: 7 is not a text; write ADDRESS/LENGTH"),
    (
        {"internal.gateways.0": "192.168.0.1/24"},
        "internal.gateways[0]: '192.168.0.1/24' has a prefix length; write the address alone: "
        "192.168.0.1",
    ),
    (
        {"internal.gateways.0": "router"},
        "internal.gateways[0]: 'router' is not an IP address; write one such as 192.168.0.1 or "
        "fd00::1 (in quotes)",
    ),
    (
        {"internal.gateways.1": "fe80::1%eth0"},
        "internal.gateways[1]: 'fe80::1%eth0' names a zone after '%'; write fe80::1; "
        "the interface is known",
    ),
    (
        {"bfd.peers.1.address": "::ffff:10.0.0.1"},
        "bfd.peers[1].address: '::ffff:10.0.0.1' is an IPv4 address in IPv6 form; write 10.0.0.1",
    ),
    (
        {"internal.interface": "a" * 16},
        f"internal.interface: '{'a' * 16}' is not an interface name; {_IFNAME}",
    ),
    (
        {"internal.interface": "a/b"},
        f"internal.interface: 'a/b' is not an interface name; {_IFNAME}",
    ),
    (
        {"internal.interface": "a b"},
        f"internal.interface: 'a b' is not an interface name; {_IFNAME}",
    ),
    ({"internal.interface": ".."}, f"internal.interface: '..' is not an interface name; {_IFNAME}"),
    ({"internal.interface": ""}, f"internal.interface: '' is not an interface name; {_IFNAME}"),
    (
        {"internal.interface": "ß" * 8},
        f"internal.interface: '{'ß' * 8}' is not an interface name; {_IFNAME}",
    ),
    (
        {"internal.interface": "lo"},
        "internal.interface: 'lo' is the loopback interface; name the one that packets go through",
    ),
    ({"metrics": {"listen": "localhost"}}, f"metrics.listen: 'localhost' has no port; {_LISTEN}"),
    (
        {"metrics": {"listen": "300.1.1.1:80"}},
        f"metrics.listen: '300.1.1.1:80' names no host; {_LISTEN}",
    ),
    (
        {"metrics": {"listen": "[10.0.0.1]:80"}},
        f"metrics.listen: '[10.0.0.1]:80' names no host; {_LISTEN}",
    ),
    (
        {"metrics": {"listen": ":0"}},
        "metrics.listen: ':0' has no usable port; give a port from 1 to 65535 after the last colon",
    ),
    (
        {"metrics": {"listen": ":65536"}},
        "metrics.listen: ':65536' has no usable port; give a port from 1 to 65535 after the last "
        "colon",
    ),
    (
        {"metrics": {"listen": "::1:80"}},
        "metrics.listen: '::1:80' is ambiguous; put the IPv6 address in brackets, for example "
        "'[::1]:80'",
    ),
]

SIDES = [
    (
        {"internal.addresses.2": "192.168.0.2/25"},
        "internal.addresses[2]: '192.168.0.2/25' is given twice, first as internal.addresses[0]; "
        "remove one of them",
    ),
    (
        {"internal.addresses.0": "192.168.0.0/24"},
        "internal.addresses[0]: '192.168.0.0/24' is the network address of 192.168.0.0/24; "
        "use another address of that subnet",
    ),
    (
        {"internal.addresses.0": "192.168.0.255/24"},
        "internal.addresses[0]: '192.168.0.255/24' is the broadcast address of 192.168.0.0/24; "
        "use another address of that subnet",
    ),
    (
        {"internal.addresses.1": "fd00::/64"},
        "internal.addresses[1]: 'fd00::/64' is the subnet-router anycast address of fd00::/64; "
        "use another address of that subnet",
    ),
    (
        {"internal.addresses.2": "224.0.0.5/24"},
        f"internal.addresses[2]: '224.0.0.5/24' is a multicast address; {_HOST}",
    ),
    (
        {"internal.addresses.2": "127.0.0.1/8"},
        f"internal.addresses[2]: '127.0.0.1/8' is a loopback address; {_HOST}",
    ),
    (
        {"internal.addresses.2": "0.0.0.0/8"},
        f"internal.addresses[2]: '0.0.0.0/8' is the unspecified address; {_HOST}",
    ),
    (
        {"internal.addresses.2": "fe80::2/64"},
        "internal.addresses[2]: 'fe80::2/64' is a link-local address; remove it, the kernel sets "
        "these itself; list global or unique local ones",
    ),
    (
        {"internal.gateways.0": "192.168.9.1"},
        "internal.gateways[0]: '192.168.9.1' is outside the internal subnets (192.168.0.0/24, "
        "fd00::/64); write a router in one of them, or correct the addresses",
    ),
    (
        {"internal.gateways.0": "192.168.0.2"},
        f"internal.gateways[0]: '192.168.0.2' is an address of the gateway itself; {_ROUTER}",
    ),
    (
        {"internal.gateways.0": "192.168.0.255"},
        "internal.gateways[0]: '192.168.0.255' is the broadcast address of 192.168.0.0/24; "
        f"{_ROUTER}",
    ),
    (
        {"internal.gateways.0": "224.0.0.1"},
        f"internal.gateways[0]: '224.0.0.1' is a multicast address; {_ROUTER}",
    ),
    (
        {"internal.gateways.2": "192.168.0.3"},
        "internal.gateways[2]: '192.168.0.3' is a second IPv4 gateway beside 192.168.0.1; "
        "keep one of each family",
    ),
    (
        {"external.interface": "eth0"},
        "external.interface: 'eth0' is the internal interface too; name two different interfaces",
    ),
    (
        {"external.macvlan.parent": "net1"},
        "external.macvlan.parent: 'net1' is the external interface itself; name the interface "
        "below it, which exists already",
    ),
    (
        {"external.addresses": ABSENT},
        "external.addresses: is missing beside macvlan; list its addresses, for nobody else gives "
        "any to an interface that vegd creates",
    ),
    (
        {"external.addresses.2": "192.168.0.130/25"},
        "external.addresses[2]: '192.168.0.130/25' is in a subnet that overlaps the internal "
        "192.168.0.0/24; use different subnets inside and outside, or correct the prefix lengths",
    ),
    (
        {"internal.mtu": 1279},
        "internal.mtu: 1279 is too small for IPv6, which this side has; give 1280 to 65535 (bytes)",
    ),
]

POLICIES = [
    (
        {"policies.1.name": "vpc"},
        "policies[1].name: 'vpc' is the name of policies[0] too; give each its own name",
    ),
    (
        {"policies.0.ipBlocks.2": "192.168.0.0/24"},
        "policies[0].ipBlocks[2]: '192.168.0.0/24' is given twice, first as "
        "policies[0].ipBlocks[0]; remove one",
    ),
    (
        {"policies.1.ipBlocks.0": "192.168.0.0/24"},
        "policies[1].ipBlocks[0]: '192.168.0.0/24' is given with SNAT and without, also as "
        "policies[0].ipBlocks[0]; keep it in one of the policies",
    ),
    (
        {"policies.0.ipBlocks.2": "172.17.5.0/24"},
        "policies[0].ipBlocks[2]: '172.17.5.0/24' overlaps the external network 172.17.0.0/16, "
        "which is no source in the VPC; list networks of the VPC only",
    ),
    (
        {"external.gateways": ["172.17.0.1"]},
        "policies[0].ipBlocks[1]: 'fd00::/64' cannot be forwarded: there is no external IPv6 "
        "gateway; add one, or remove the IPv6 sources",
    ),
    (
        {"external.addresses": ["172.17.0.11/16"], "external.gateways.1": "fe80::1"},
        "policies[0].ipBlocks[1]: 'fd00::/64' cannot be forwarded: there is no external IPv6 "
        "address; add one, or remove the IPv6 sources",
    ),
    (
        {"internal.addresses": ["192.168.0.2/24"], "internal.gateways.1": "fe80::1", "bfd": ABSENT},
        "policies[0].ipBlocks[1]: 'fd00::/64' cannot be forwarded: there is no internal IPv6 "
        "address; add one, or remove the IPv6 sources",
    ),
]

BFD = [
    (
        {"bfd.multiplier": 255, "bfd.minTX": 3000},
        "bfd.multiplier: 255 makes a detection time of 765 s (255 x 3000 ms); "
        "keep the product within 600 s",
    ),
    (
        {"bfd.peers.1": {"address": "fdff::1", "minRX": 60_000, "multiplier": 11}},
        "bfd.peers[1].multiplier: 11 makes a detection time of 660 s (11 x 60000 ms); "
        "keep the product within 600 s",
    ),
    (
        {"bfd.peers.2": {"address": "10.255.255.255"}},
        "bfd.peers[2].address: '10.255.255.255' is given twice, first as bfd.peers[0].address; "
        "remove one of them",
    ),
    (
        {"bfd.peers.2": {"address": "10.255.255.255", "local": "192.168.0.2"}},
        "bfd.peers[2].address: '10.255.255.255' is given twice, first as bfd.peers[0].address; "
        "remove one of them",
    ),
    (
        {"bfd.peers.0.address": "192.168.0.2"},
        "bfd.peers[0].address: '192.168.0.2' is an address of the gateway itself; "
        "write the router's BFD address",
    ),
    (
        {"bfd.peers.0.address": "224.0.0.1"},
        "bfd.peers[0].address: '224.0.0.1' is a multicast address; write the router's BFD address",
    ),
    (
        {"bfd.peers.0.address": "0.0.0.0"},
        "bfd.peers[0].address: '0.0.0.0' is the unspecified address; write the router's BFD address",
    ),
    (
        {"bfd.peers.1.address": "fe80::1"},
        "bfd.peers[1].address: 'fe80::1' is a link-local address; write a global or unique local "
        "address of the router",
    ),
    (
        {"bfd.peers.0.local": "192.168.0.9"},
        "bfd.peers[0].local: '192.168.0.9' is not an internal address; list it in "
        "internal.addresses, or leave local out",
    ),
    (
        {"bfd.peers.0.local": "fd00::2"},
        "bfd.peers[0].local: 'fd00::2' is of another family than the peer 10.255.255.255; "
        "give both of one family, or leave local out",
    ),
    (
        {
            "internal.addresses": ["192.168.0.2/24"],
            "internal.gateways": ["192.168.0.1"],
            "policies.0.ipBlocks": ["192.168.0.0/24"],
        },
        "bfd.peers[1].address: 'fdff::1' cannot be reached: there is no internal IPv6 address; "
        "add one, or remove the peer",
    ),
    (
        {"internal.gateways": ["192.168.0.1"], "policies.0.ipBlocks": ["192.168.0.0/24"]},
        "bfd.peers[1].address: 'fdff::1' cannot be reached: there is no internal IPv6 gateway; "
        "add one, or remove the peer",
    ),
]

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
    assert spec.bfd.timers_of(spec.bfd.peers[0]) == (100, 200, 3, 254, False)
    assert spec.bfd.timers_of(spec.bfd.peers[1]) == (100, 200, 3, 255, False)


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
            {"policies": []},
            "policies: no source is listed, so nothing is forwarded; list the sources to forward",
        ),
        (
            {"drain": {"forwardFor": 5}},
            "drain.forwardFor: 5 is short: OVN may act on AdminDown up to 5 s late, and packets "
            "that it sends after the end are lost; give 6 or more, unless the router is not OVN",
        ),
        (
            {"bfd.minTX": 2100},
            "drain.forwardFor: 6 is less than the 6.3 s in which a peer notices silence; "
            "give 7 or more, or make BFD faster",
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
