"""The parts of the specification that say how packets are treated; see `vegd.spec`."""

from typing import Annotated

from msgspec import Meta, Struct

from dataplane.model import AddressRange
from vegd.document import Hint, Text
from vegd.texts import Network, read_address_range, read_bandwidth, read_network, read_ports

Truth = Annotated[bool, Hint("write true or false")]
Networks = Annotated[
    tuple[Annotated[Network, Text(read_network), Hint("write ADDRESS/LENGTH")], ...],
    Meta(min_length=1),
    Hint('list networks, for example [198.51.100.0/24, "fd98::/64"]'),
]
_Port = Annotated[int, Meta(ge=1, le=65_535), Hint("give 1 to 65535")]
_PortList = Annotated[tuple[_Port, ...], Hint("list ports, for example [22, 179]")]


class Snat(Struct, frozen=True, kw_only=True):
    """What SNAT shows. A family without addresses shows that of the interface."""

    addresses: Annotated[
        tuple[Annotated[AddressRange, Text(read_address_range), Hint("write it as a text")], ...],
        Hint('list addresses, for example [172.17.0.20, 172.17.0.32-172.17.0.39, "fd17::/124"]'),
    ] = ()
    ports: (
        Annotated[
            tuple[int, int],
            Text(read_ports, numbers=True),
            Hint("write FIRST-LAST, for example 1024-65535"),
        ]
        | None
    ) = None


class Announce(Struct, frozen=True, kw_only=True):
    """How often neighbours are told of the external addresses: news so many times, a second
    apart, then every so many seconds, 0 never."""

    times: Annotated[int, Meta(ge=0, le=10), Hint("give 0 to 10 (times)")] = 3
    every: Annotated[int, Meta(ge=0, le=86_400), Hint("give 0 to 86400 (seconds)")] = 60


_Seconds = Annotated[int, Meta(ge=1, le=1_000_000), Hint("give 1 to 1000000 (seconds)")]


class Conntrack(Struct, frozen=True, kw_only=True, rename="camel"):
    """The kernel's table of connections; what is None stays as the kernel has it. In seconds."""

    max: (
        Annotated[int, Meta(ge=1024, le=16_777_216), Hint("give 1024 to 16777216 (connections)")]
        | None
    ) = None
    accounting: Truth = True
    tcp_established: _Seconds | None = None
    udp: _Seconds | None = None
    udp_stream: _Seconds | None = None


_Bandwidth = Annotated[
    int,
    Text(read_bandwidth, numbers=True),
    Hint("give Mbit/s, or bit/s with a suffix, as in 100M or 1.5G"),
]


class Bandwidth(Struct, frozen=True, kw_only=True):
    """The most that is forwarded, in Mbit/s, as the VPC sees it; 0 is no limit."""

    ingress: _Bandwidth = 0
    egress: _Bandwidth = 0


class Input(
    Struct, frozen=True, kw_only=True, rename={"tcp_ports": "tcpPorts", "udp_ports": "udpPorts"}
):
    """What may reach the gateway itself through its two interfaces."""

    protect: Truth = False
    tcp_ports: _PortList = ()
    udp_ports: _PortList = ()
