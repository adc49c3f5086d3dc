"""Mistakes in one field, each with the one message that it must get.

A mistake is a change to the sound document, see `tests.vegd.spec_documents.changed`.
"""

from tests.vegd.spec_documents import ABSENT

Mistakes = list[tuple[dict[str, object], str]]

_TTL = "give 1 to 255; 254 for a router of OVN"
_MS = "give 1 to 60000 (milliseconds)"
_LISTEN = "write HOST:PORT, :PORT or [IPV6]:PORT, for example 127.0.0.1:10669"
_IFNAME = "a kernel interface name has 1 to 15 bytes without spaces, '/' and ':'"

STRUCTURE: Mistakes = [
    ({"polices": []}, "polices: is not a known field; did you mean policies?"),
    (
        {"zzz": 1},
        (
            "zzz: is not a known field; the fields here are revision, name, internal, external, "
            "policies, bfd, drain, mssClamp, bandwidth, conntrack, input, metrics, probes"
        ),
    ),
    ({"internal": ABSENT}, "internal: is missing; describe the VPC side: interface, gateways"),
    (
        {"internal": "eth0"},
        (
            "internal: 'eth0' is not a mapping; write its fields as FIELD: VALUE, one a line "
            "(interface, addresses, gateways, mtu, mac)"
        ),
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
        (
            "policies[0].name: 5 is not a text; write 1 to 64 letters, digits, '.', '_' or '-', "
            "in quotes if it is a number"
        ),
    ),
    (
        {"policies.0.name": "a b"},
        "policies[0].name: 'a b' cannot be a name; use 1 to 64 letters, digits, '.', '_' or '-'",
    ),
    (
        {"policies.0.ipBlocks": []},
        (
            "policies[0].ipBlocks: is an empty list; list the sources, for example "
            '[192.168.0.0/24, "fd00::/64"]'
        ),
    ),
    (
        {"external.snat": {"ports": "80-"}},
        (
            "external.snat.ports: '80-' is no range of ports; write FIRST-LAST within 1-65535, "
            "as in 1024-65535"
        ),
    ),
    (
        {"external.snat": {"ports": "90-80"}},
        "external.snat.ports: '90-80' ends before it begins; write 80-90",
    ),
    (
        {"external.snat": {"ports": 0}},
        (
            "external.snat.ports: '0' is no range of ports; write FIRST-LAST within 1-65535, "
            "as in 1024-65535"
        ),
    ),
    (
        {"external.snat": {"addresses": ["172.17.0.9-172.17.0.8"]}},
        (
            "external.snat.addresses[0]: '172.17.0.9-172.17.0.8' ends before it begins; write "
            "172.17.0.8-172.17.0.9"
        ),
    ),
    (
        {"external.snat": {"addresses": ["172.17.0.9-fd00::1"]}},
        (
            "external.snat.addresses[0]: '172.17.0.9-fd00::1' has ends of two families; write one "
            "range for each family"
        ),
    ),
    (
        {"external.snat": {"addresses": ["a-b"]}},
        (
            "external.snat.addresses[0]: 'a-b' is no range of addresses; write FIRST-LAST, two IP "
            "addresses"
        ),
    ),
    (
        {"policies.0.destinationCIDRs": []},
        (
            "policies[0].destinationCIDRs: is an empty list; list networks, for example "
            '[198.51.100.0/24, "fd98::/64"]'
        ),
    ),
    ({"input": {"tcpPorts": [0]}}, "input.tcpPorts[0]: 0 is out of range; give 1 to 65535"),
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
        (
            "external.macvlan.mode: 'bridged' is not one of the possible words; "
            "write bridge, private, vepa or passthru"
        ),
    ),
    ({"external.mtu": 67}, "external.mtu: 67 is out of range; give 68 to 65535 (bytes)"),
    ({"external.mtu": 65_536}, "external.mtu: 65536 is out of range; give 68 to 65535 (bytes)"),
]

TEXTS: Mistakes = [
    (
        {"policies.0.ipBlocks.0": "10.0.0.0/33"},
        (
            "policies[0].ipBlocks[0]: '10.0.0.0/33' is not a prefix; write ADDRESS/LENGTH with a "
            "length of 0 to 32, for example 10.0.0.0/24"
        ),
    ),
    (
        {"policies.0.ipBlocks.1": "fd00::/129"},
        (
            "policies[0].ipBlocks[1]: 'fd00::/129' is not a prefix; write ADDRESS/LENGTH with a "
            "length of 0 to 128, for example fd00::/64"
        ),
    ),
    (
        {"policies.0.ipBlocks.0": "10.0.0.0/255.255.0.0"},
        (
            "policies[0].ipBlocks[0]: '10.0.0.0/255.255.0.0' is not a prefix; write ADDRESS/LENGTH "
            "with a length of 0 to 32, for example 10.0.0.0/24"
        ),
    ),
    (
        {"policies.0.ipBlocks.0": "vpc"},
        (
            "policies[0].ipBlocks[0]: 'vpc' is not a prefix; write ADDRESS/LENGTH, for example "
            "10.0.0.0/24 or fd00::/64"
        ),
    ),
    (
        {"policies.0.ipBlocks.0": "192.168.0.7/24"},
        (
            "policies[0].ipBlocks[0]: '192.168.0.7/24' has bits set behind the prefix length; "
            "write 192.168.0.0/24"
        ),
    ),
    (
        {"policies.0.ipBlocks.0": "224.0.0.0/4"},
        (
            "policies[0].ipBlocks[0]: '224.0.0.0/4' is multicast, which no forwarded packet comes "
            "from; remove it"
        ),
    ),
    (
        {"internal.addresses.0": "192.168.0.2"},
        (
            "internal.addresses[0]: '192.168.0.2' has no prefix length; add the length of its "
            "subnet, "
            "such as 192.168.0.2/24"
        ),
    ),
    (
        {"internal.addresses.0": "eth0"},
        (
            "internal.addresses[0]: 'eth0' is not an address of an interface; write "
            "ADDRESS/LENGTH, "
            "as 192.168.0.2/24 or fd00::2/64 (in quotes)"
        ),
    ),
    ({"internal.addresses.0": 7}, "internal.addresses[0]: 7 is not a text; write ADDRESS/LENGTH"),
    (
        {"internal.gateways.0": "192.168.0.1/24"},
        (
            "internal.gateways[0]: '192.168.0.1/24' has a prefix length; write the address alone: "
            "192.168.0.1"
        ),
    ),
    (
        {"internal.gateways.0": "router"},
        (
            "internal.gateways[0]: 'router' is not an IP address; write one such as 192.168.0.1 or "
            "fd00::1 (in quotes)"
        ),
    ),
    (
        {"internal.gateways.1": "fe80::1%eth0"},
        (
            "internal.gateways[1]: 'fe80::1%eth0' names a zone after '%'; write fe80::1; "
            "the interface is known"
        ),
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
        (
            "metrics.listen: ':65536' has no usable port; give a port from 1 to 65535 after the "
            "last "
            "colon"
        ),
    ),
    (
        {"metrics": {"listen": "::1:80"}},
        (
            "metrics.listen: '::1:80' is ambiguous; put the IPv6 address in brackets, for example "
            "'[::1]:80'"
        ),
    ),
]
