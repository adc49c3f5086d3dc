"""Mistakes that show when fields are seen together, each with the one message it must get."""

from ipaddress import IPv4Address

from tests.vegd.spec_documents import ABSENT
from tests.vegd.spec_mistakes import Mistakes

_HOST = "give the interface an address of a host"
_ROUTER = "write the address of the router"

SIDES: Mistakes = [
    (
        {"internal.addresses.2": "192.168.0.2/25"},
        (
            "internal.addresses[2]: '192.168.0.2/25' is given twice, first as "
            "internal.addresses[0]; "
            "remove one of them"
        ),
    ),
    (
        {"internal.addresses.0": "192.168.0.0/24"},
        (
            "internal.addresses[0]: '192.168.0.0/24' is the network address of 192.168.0.0/24; "
            "use another address of that subnet"
        ),
    ),
    (
        {"internal.addresses.0": "192.168.0.255/24"},
        (
            "internal.addresses[0]: '192.168.0.255/24' is the broadcast address of 192.168.0.0/24; "
            "use another address of that subnet"
        ),
    ),
    (
        {"internal.addresses.1": "fd00::/64"},
        (
            "internal.addresses[1]: 'fd00::/64' is the subnet-router anycast address of fd00::/64; "
            "use another address of that subnet"
        ),
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
        (
            "internal.addresses[2]: 'fe80::2/64' is a link-local address; remove it, the kernel "
            "sets "
            "these itself; list global or unique local ones"
        ),
    ),
    (
        {"internal.gateways.0": "192.168.9.1"},
        (
            "internal.gateways[0]: '192.168.9.1' is outside the internal subnets (192.168.0.0/24, "
            "fd00::/64); write a router in one of them, or correct the addresses"
        ),
    ),
    (
        {"internal.gateways.0": "192.168.0.2"},
        f"internal.gateways[0]: '192.168.0.2' is an address of the gateway itself; {_ROUTER}",
    ),
    (
        {"internal.gateways.0": "192.168.0.255"},
        (
            "internal.gateways[0]: '192.168.0.255' is the broadcast address of 192.168.0.0/24; "
            f"{_ROUTER}"
        ),
    ),
    (
        {"internal.gateways.0": "224.0.0.1"},
        f"internal.gateways[0]: '224.0.0.1' is a multicast address; {_ROUTER}",
    ),
    (
        {"internal.gateways.2": "192.168.0.3"},
        (
            "internal.gateways[2]: '192.168.0.3' is a second IPv4 gateway beside 192.168.0.1; "
            "keep one of each family"
        ),
    ),
    (
        {"external.interface": "eth0"},
        "external.interface: 'eth0' is the internal interface too; name two different interfaces",
    ),
    (
        {"external.macvlan.parent": "net1"},
        (
            "external.macvlan.parent: 'net1' is the external interface itself; name the interface "
            "below it, which exists already"
        ),
    ),
    (
        {"external.addresses": ABSENT},
        (
            "external.addresses: is missing beside macvlan; list its addresses, for nobody else "
            "gives "
            "any to an interface that vegd creates"
        ),
    ),
    (
        {"external.addresses.2": "192.168.0.130/25"},
        (
            "external.addresses[2]: '192.168.0.130/25' is in a subnet that overlaps the internal "
            "192.168.0.0/24; use different subnets inside and outside, or correct the prefix "
            "lengths"
        ),
    ),
    (
        {"internal.mtu": 1279},
        "internal.mtu: 1279 is too small for IPv6, which this side has; give 1280 to 65535 (bytes)",
    ),
]

POLICIES: Mistakes = [
    (
        {"policies.1.name": "vpc"},
        "policies[1].name: 'vpc' is the name of policies[0] too; give each its own name",
    ),
    (
        {"policies.0.ipBlocks.2": "192.168.0.0/24"},
        (
            "policies[0].ipBlocks[2]: '192.168.0.0/24' is given twice, first as "
            "policies[0].ipBlocks[0]; remove one"
        ),
    ),
    (
        {"policies.1.snatTo": {"ports": 80}},
        (
            "policies[1].snatTo: is given although the policy is without SNAT; write snat: true, "
            "or remove snatTo"
        ),
    ),
    (
        {"policies.0.snatTo": {"addresses": ["172.17.0.0/30"]}},
        (
            "policies[0].snatTo.addresses[0]: '172.17.0.0-172.17.0.3' is the network address of "
            "172.17.0.0/16; list addresses of hosts of the outside"
        ),
    ),
    (
        {"external.snat": {"addresses": ["172.17.0.1-172.17.0.9"]}},
        (
            "external.snat.addresses[0]: '172.17.0.1-172.17.0.9' has the gateway 172.17.0.1 in "
            "it; list addresses that are the gateway's own"
        ),
    ),
    (
        {"external.snat": {"addresses": ["192.168.0.7"]}},
        (
            "external.snat.addresses[0]: '192.168.0.7' overlaps the internal network "
            "192.168.0.0/24; list addresses of the outside"
        ),
    ),
    (
        {"external.snat": {"addresses": ["10.0.0.0/21"]}},
        "external.snat.addresses: 2048 is the number of addresses, too many; list at most 1024",
    ),
    (
        {"policies.0.ipBlocks.2": "172.17.5.0/24"},
        (
            "policies[0].ipBlocks[2]: '172.17.5.0/24' overlaps the external network 172.17.0.0/16, "
            "which is no source in the VPC; list networks of the VPC only"
        ),
    ),
    (
        {
            "external.gateways": ["172.17.0.1"],
            "policies": [{"name": "six", "ipBlocks": ["fd00::/64"]}],
        },
        (
            "policies[0].ipBlocks[0]: 'fd00::/64' cannot be forwarded: there is no external IPv6 "
            "gateway; add one, or remove the IPv6 sources"
        ),
    ),
    (
        {"external.addresses": ["172.17.0.11/16"], "external.gateways.1": "fe80::1"},
        (
            "policies[0].ipBlocks[1]: 'fd00::/64' cannot be forwarded: there is no external IPv6 "
            "address; add one, or remove the IPv6 sources"
        ),
    ),
    (
        {"internal.addresses": ["192.168.0.2/24"], "internal.gateways.1": "fe80::1", "bfd": ABSENT},
        (
            "policies[0].ipBlocks[1]: 'fd00::/64' cannot be forwarded: there is no internal IPv6 "
            "address; add one, or remove the IPv6 sources"
        ),
    ),
]

BFD: Mistakes = [
    (
        {"bfd.multiplier": 255, "bfd.minTX": 3000},
        (
            "bfd.multiplier: 255 makes a detection time of 765 s (255 x 3000 ms); "
            "keep the product within 600 s"
        ),
    ),
    (
        {"bfd.peers.1": {"address": "fdff::1", "minRX": 60_000, "multiplier": 11}},
        (
            "bfd.peers[1].multiplier: 11 makes a detection time of 660 s (11 x 60000 ms); "
            "keep the product within 600 s"
        ),
    ),
    (
        {"bfd.peers.2": {"address": "10.255.255.255"}},
        (
            "bfd.peers[2].address: '10.255.255.255' is given twice, first as bfd.peers[0].address; "
            "remove one of them"
        ),
    ),
    (
        {"bfd.peers.2": {"address": "10.255.255.255", "local": "192.168.0.2"}},
        (
            "bfd.peers[2].address: '10.255.255.255' is given twice, first as bfd.peers[0].address; "
            "remove one of them"
        ),
    ),
    (
        {"bfd.peers.0.address": "192.168.0.2"},
        (
            "bfd.peers[0].address: '192.168.0.2' is an address of the gateway itself; "
            "write the router's BFD address"
        ),
    ),
    (
        {"bfd.peers.0.address": "224.0.0.1"},
        "bfd.peers[0].address: '224.0.0.1' is a multicast address; write the router's BFD address",
    ),
    (
        {"bfd.peers.0.address": str(IPv4Address(0))},
        (
            "bfd.peers[0].address: '0.0.0.0' is the unspecified address; "
            "write the router's BFD address"
        ),
    ),
    (
        {"bfd.unsolicited": [{"interface": "eth0"}, {"interface": "eth0"}]},
        (
            "bfd.unsolicited[1].interface: 'eth0' is given twice, first in bfd.unsolicited[0]; "
            "list all of its sources there"
        ),
    ),
    (
        {"bfd.unsolicited": [{"interface": "eth0", "sources": []}]},
        (
            "bfd.unsolicited[0].sources: is an empty list; "
            "list prefixes, or leave it out for the subnets of the interface"
        ),
    ),
    (
        {"bfd.unsolicited": [{"interface": "eth0", "sources": ["10.0.0.1/8"]}]},
        (
            "bfd.unsolicited[0].sources[0]: '10.0.0.1/8' has bits set behind the prefix length; "
            "write 10.0.0.0/8"
        ),
    ),
    (
        {"bfd.unsolicited": [{"interface": "eth0", "sessions": 0}]},
        "bfd.unsolicited[0].sessions: 0 is out of range; give 1 to 1000 (sessions)",
    ),
    (
        {"bfd.unsolicited": [{"sessions": 5}]},
        "bfd.unsolicited[0].interface: is missing; name the interface that the peers are on",
    ),
    (
        {"bfd.peers": ABSENT},
        ("bfd.peers: is missing; list the routers, each as {address: ADDRESS}, or remove bfd"),
    ),
    (
        {"bfd.dampening": {"holdFor": 60, "holdAtMost": 30}},
        ("bfd.dampening.holdAtMost: 30 is less than holdFor (60); give as much or more (seconds)"),
    ),
    (
        {"bfd.peers.1.address": "fe80::1"},
        (
            "bfd.peers[1].address: 'fe80::1' is a link-local address, which each interface may "
            "have on its link; name its interface, for example interface: eth0"
        ),
    ),
    (
        {"bfd.peers.1": {"address": "fe80::1", "multihop": True}},
        (
            "bfd.peers[1].multihop: 'true' cannot be told for a peer of one link (fe80::1); "
            "remove multihop, or write an address behind a router and no interface"
        ),
    ),
    (
        {"bfd.peers.0": {"address": "10.255.255.255", "interface": "eth0", "multihop": True}},
        (
            "bfd.peers[0].multihop: 'true' cannot be told for a peer of one link (eth0); "
            "remove multihop, or write an address behind a router and no interface"
        ),
    ),
    (
        {"bfd.peers.1": {"address": "fe80::1", "interface": "eth0", "local": "fd00::2"}},
        (
            "bfd.peers[1].local: 'fd00::2' and the peer fe80::1 are not both link-local; "
            "give both of one kind, or leave local out"
        ),
    ),
    (
        {"bfd.peers.2": {"address": "fe80::1", "interface": "eth0"}}
        | {"bfd.peers.3": {"address": "fe80::1", "interface": "eth0", "passive": True}},
        (
            "bfd.peers[3].address: 'fe80::1' is given twice, first as bfd.peers[2].address; "
            "remove one of them"
        ),
    ),
    (
        {"bfd.peers.0.local": "192.168.0.9"},
        (
            "bfd.peers[0].local: '192.168.0.9' is not an internal address; list it in "
            "internal.addresses, or leave local out"
        ),
    ),
    (
        {"bfd.peers.0.local": "fd00::2"},
        (
            "bfd.peers[0].local: 'fd00::2' is of another family than the peer 10.255.255.255; "
            "give both of one family, or leave local out"
        ),
    ),
    (
        {
            "internal.addresses": ["192.168.0.2/24"],
            "internal.gateways": ["192.168.0.1"],
            "policies.0.ipBlocks": ["192.168.0.0/24"],
        },
        (
            "bfd.peers[1].address: 'fdff::1' cannot be reached: there is no internal IPv6 address; "
            "add one, or remove the peer"
        ),
    ),
    (
        {"internal.gateways": ["192.168.0.1"], "policies.0.ipBlocks": ["192.168.0.0/24"]},
        (
            "bfd.peers[1].address: 'fdff::1' cannot be reached: there is no internal IPv6 gateway; "
            "add one, or remove the peer"
        ),
    ),
]
