"""GatewaySpec: what a gateway should be, whatever it was read from, checked and frozen.

The fields are those of the configuration file; their YAML names follow the VpcEgressGateway
resource where it has them. `GatewaySpec.parse` turns a plain document into one, or raises a
`SpecError` with every fault; `load` does so for a file. Inside the program nothing else is passed
around. Times of BFD are in milliseconds here, as people write them; `vegd.compile` makes the
microseconds of the engine. docs/configuration.md documents the fields; a test compares the two.
"""

from pathlib import Path
from socket import gethostname
from typing import Annotated, BinaryIO, Literal, NamedTuple

from msgspec import Meta, Struct, field

from bfd.auth import AuthType
from vegd import spec_checks
from vegd.document import Hint, Text, decode
from vegd.faults import Fault, SpecError
from vegd.spec_probes import Probes, Target
from vegd.spec_traffic import Announce, Bandwidth, Conntrack, Input, Networks, Snat, Truth
from vegd.texts import (
    NAME_RULE,
    Address,
    InterfaceAddress,
    Listen,
    Network,
    read_address,
    read_file_name,
    read_interface_address,
    read_interface_name,
    read_listen,
    read_mac,
    read_name,
    read_network,
    read_prefix,
)

__all__ = [
    "Announce",
    "Auth",
    "AuthKey",
    "Bandwidth",
    "Bfd",
    "Conntrack",
    "Dampening",
    "Drain",
    "ExternalSide",
    "Fault",
    "GatewaySpec",
    "Input",
    "Listen",
    "Macvlan",
    "Metrics",
    "Peer",
    "Policy",
    "Probes",
    "Side",
    "Snat",
    "SpecError",
    "Target",
    "Unsolicited",
    "load",
    "parse_bytes",
    "read_bytes",
    "read_stream",
]

_MOST_BYTES = 4_000_000
"""More than 10,000 policies need; keeps a wrong path such as a device from filling the memory."""

_Name = Annotated[str, Text(read_name), Hint(f"write {NAME_RULE}, in quotes if it is a number")]
_Millis = Annotated[int, Meta(ge=1, le=60_000), Hint("give 1 to 60000 (milliseconds)")]
_Multiplier = Annotated[int, Meta(ge=1, le=255), Hint("give 1 to 255 (packets)")]
_Ttl = Annotated[int, Meta(ge=1, le=255), Hint("give 1 to 255; 254 for a router of OVN")]
_BackOff = Annotated[int, Meta(ge=1, le=64), Hint("give 1 to 64 (times), 1 for never")]
_Mtu = Annotated[int, Meta(ge=68, le=65_535), Hint("give 68 to 65535 (bytes)")]
_EXAMPLE_GATEWAY = 'for example [192.168.0.1, "fd00::1"]'
_Gateways = Annotated[
    tuple[Annotated[Address, Text(read_address), Hint("write it as a text")], ...],
    Meta(min_length=1),
    Hint(f"list the next hop of each family, {_EXAMPLE_GATEWAY}"),
]
_Addresses = Annotated[
    tuple[
        Annotated[InterfaceAddress, Text(read_interface_address), Hint("write ADDRESS/LENGTH")], ...
    ],
    Meta(min_length=1),
    Hint('list addresses, for example [192.168.0.2/24, "fd00::2/64"]'),
]


class Side(Struct, frozen=True, kw_only=True):
    """The interface towards the VPC. Without `addresses` those it has are used, none is managed."""

    interface: Annotated[
        str, Text(read_interface_name), Hint("name the interface, for example eth0")
    ]
    addresses: _Addresses | None = None
    gateways: _Gateways
    mtu: _Mtu | None = None
    mac: (
        Annotated[str, Text(read_mac), Hint('write a MAC address, as "02:00:00:00:00:01"')] | None
    ) = None


class Macvlan(Struct, frozen=True, kw_only=True):
    """An interface that the program creates on top of `parent`."""

    parent: Annotated[
        str, Text(read_interface_name), Hint("name the interface below, for example ext0")
    ]
    mode: Annotated[
        Literal["bridge", "private", "vepa", "passthru"],
        Hint("write bridge, private, vepa or passthru"),
    ] = "bridge"


class ExternalSide(Side, frozen=True, kw_only=True):
    """The interface towards the outside, handed in by a CNI or, with `macvlan`, created."""

    macvlan: (
        Annotated[Macvlan, Hint("write parent: INTERFACE below it, for example parent: ext0")]
        | None
    ) = None
    snat: Annotated[Snat, Hint("write addresses and ports below it")] = Snat()
    announce: Annotated[Announce, Hint("write times and every below it")] = Announce()


_POLICY_NAMES = {
    "ip_blocks": "ipBlocks",
    "snat_to": "snatTo",
    "destinations": "destinationCIDRs",
    "excluded_destinations": "excludedDestinationCIDRs",
}


class Policy(Struct, frozen=True, kw_only=True, rename=_POLICY_NAMES):
    """Sources that the gateway forwards, with or without SNAT, to all or some destinations."""

    name: _Name
    snat: Truth = False
    ip_blocks: Annotated[
        tuple[Annotated[Network, Text(read_network), Hint("write ADDRESS/LENGTH")], ...],
        Meta(min_length=1),
        Hint('list the sources, for example [192.168.0.0/24, "fd00::/64"]'),
    ]
    snat_to: Annotated[Snat, Hint("write addresses and ports below it")] | None = None
    destinations: Networks | None = None
    excluded_destinations: Networks | None = None


_TIMER_NAMES = {"min_tx": "minTX", "min_rx": "minRX", "min_ttl": "minTTL", "back_off": "backOff"}


class AuthKey(Struct, frozen=True, kw_only=True):
    """One key of BFD authentication; the engine reads it from the file."""

    id: Annotated[int, Meta(ge=0, le=255), Hint("give 0 to 255, the same id at both ends")]
    type: Annotated[
        Literal[
            "simple-password",
            "keyed-md5",
            "meticulous-keyed-md5",
            "keyed-sha1",
            "meticulous-keyed-sha1",
        ],
        Hint(
            "write what the peer has: meticulous-keyed-sha1, keyed-sha1, meticulous-keyed-md5, "
            "keyed-md5 or simple-password"
        ),
    ]
    file: Annotated[
        str, Text(read_file_name), Hint("name the file with the key, as /etc/vegd/keys/bfd-1")
    ]

    @property
    def kind(self) -> AuthType:
        """The type as the engine names it."""
        return AuthType[self.type.upper().replace("-", "_")]


class Auth(Struct, frozen=True, kw_only=True):
    """BFD authentication; without keys there is none. `send` None: with the first key."""

    keys: Annotated[
        tuple[AuthKey, ...], Hint("list the keys, each as {id: NUMBER, type: TYPE, file: PATH}")
    ]
    send: Annotated[int, Meta(ge=0, le=255), Hint("give the id of the key to send with")] | None = (
        None
    )
    transition: (
        Annotated[Literal["enabling", "disabling"], Hint("write enabling or disabling")] | None
    ) = None


class Peer(Struct, frozen=True, kw_only=True, rename=_TIMER_NAMES):
    """One BFD peer; what is None is as in the section. `local` None: the first internal address of
    the family, or with `interface` the first of that interface that fits."""

    address: Annotated[
        Address, Text(read_address), Hint("write the address of the router's BFD port")
    ]
    local: Annotated[Address, Text(read_address), Hint("write an internal address")] | None = None
    interface: (
        Annotated[str, Text(read_interface_name), Hint("name the interface that the peer is on")]
        | None
    ) = None
    multihop: Truth = False
    min_tx: _Millis | None = None
    min_rx: _Millis | None = None
    multiplier: _Multiplier | None = None
    min_ttl: _Ttl | None = None
    passive: Truth | None = None
    back_off: _BackOff | None = None
    auth: Annotated[Auth, Hint("write keys: and the keys below it")] | None = None


class Timers(NamedTuple):
    """What holds for one peer; the intervals in milliseconds."""

    min_tx: int
    min_rx: int
    multiplier: int
    min_ttl: int
    passive: bool
    back_off: int


class Unsolicited(Struct, frozen=True, kw_only=True):
    """Peers on an interface that may begin sessions which nobody has listed (RFC 9468)."""

    interface: Annotated[
        str, Text(read_interface_name), Hint("name the interface that the peers are on")
    ]
    sources: (
        Annotated[
            tuple[Annotated[Network, Text(read_prefix), Hint("write ADDRESS/LENGTH")], ...],
            Meta(min_length=1),
            Hint("list prefixes, or leave it out for the subnets of the interface"),
        ]
        | None
    ) = None
    sessions: Annotated[int, Meta(ge=1, le=1000), Hint("give 1 to 1000 (sessions)")] = 16


class Dampening(Struct, frozen=True, kw_only=True, rename="camel"):
    """A session that has lost Up `flaps` times `within` so many seconds is held Down for `hold_for`
    seconds, twice as long each time, up to `hold_at_most`; never the last one of its family."""

    flaps: Annotated[int, Meta(ge=1, le=100), Hint("give 1 to 100 (losses of Up)")] = 3
    within: Annotated[int, Meta(ge=1, le=3600), Hint("give 1 to 3600 (seconds)")] = 60
    hold_for: Annotated[int, Meta(ge=1, le=3600), Hint("give 1 to 3600 (seconds)")] = 10
    hold_at_most: Annotated[int, Meta(ge=1, le=86_400), Hint("give 1 to 86400 (seconds)")] = 300


_MIN_TTL = {False: 255, True: 254}
"""On the link (RFC 5881 §5); multihop, behind one router (RFC 5883 §6)."""
_BACK_OFF = {False: 1, True: 8}
"""RFC 5880 §7 makes congestion control a must for multihop."""


class Bfd(Struct, frozen=True, kw_only=True, rename=_TIMER_NAMES):
    """BFD with the routers of the VPC; intervals in ms, defaults as in the resource."""

    min_tx: _Millis = 1000
    min_rx: _Millis = 1000
    multiplier: _Multiplier = 3
    min_ttl: _Ttl | None = None
    passive: Truth = False
    back_off: _BackOff | None = None
    dampening: Annotated[Dampening, Hint("write {} for the defaults, or remove it")] | None = None
    auth: Annotated[Auth, Hint("write keys: and the keys below it")] | None = None
    peers: Annotated[
        tuple[Peer, ...],
        Meta(min_length=1),
        Hint("list the routers, each as {address: ADDRESS}, or remove bfd"),
    ] = ()
    unsolicited: Annotated[
        tuple[Unsolicited, ...],
        Hint("list interfaces, each as {interface: NAME}, or remove unsolicited"),
    ] = ()

    def timers_of(self, peer: Peer) -> Timers:
        """The peer's own values, else the section's, else those of its kind."""
        min_ttl = self.min_ttl if peer.min_ttl is None else peer.min_ttl
        back_off = self.back_off if peer.back_off is None else peer.back_off
        return Timers(
            min_tx=self.min_tx if peer.min_tx is None else peer.min_tx,
            min_rx=self.min_rx if peer.min_rx is None else peer.min_rx,
            multiplier=self.multiplier if peer.multiplier is None else peer.multiplier,
            min_ttl=_MIN_TTL[peer.multihop] if min_ttl is None else min_ttl,
            passive=self.passive if peer.passive is None else peer.passive,
            back_off=_BACK_OFF[peer.multihop] if back_off is None else back_off,
        )

    def auth_of(self, peer: Peer) -> Auth | None:
        """The peer's own keys, else the section's; None for none."""
        auth = self.auth if peer.auth is None else peer.auth
        return auth if auth is not None and auth.keys else None


_DrainTime = Annotated[int, Meta(ge=0, le=3600), Hint("give 0 to 3600 (seconds)")]


class Drain(Struct, frozen=True, kw_only=True, rename="camel"):
    """How the gateway leaves, in seconds: `announce_after` SIGTERM comes AdminDown. From then it
    forwards on for `forward_for`, and until nothing has passed for `quiet_for`, but no longer than
    `grace`. At the end the external addresses are given up, unless `keep_addresses`."""

    announce_after: _DrainTime = 0
    forward_for: _DrainTime = 6
    quiet_for: _DrainTime = 2
    grace: _DrainTime | None = None
    keep_addresses: Truth = False

    @property
    def longest_s(self) -> int:
        """The whole drain at most: `grace`; 25 seconds, or `forward_for` if longer, without it."""
        return max(25, self.forward_for, self.quiet_for) if self.grace is None else self.grace


class Metrics(Struct, frozen=True, kw_only=True):
    """Where /metrics, /livez and /readyz are served."""

    listen: Annotated[
        Listen, Text(read_listen), Hint("write HOST:PORT, for example 127.0.0.1:10669")
    ] = Listen("", 10669)


_Sub = Hint("write the fields of the section below it")
_LAST_REVISION = 9_007_199_254_740_991
"""What JSON carries everywhere, 2^53 - 1."""


class GatewaySpec(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole specification of one gateway. Without `name` it bears that of the host.

    `revision` grows with every change; of two sources the one with the higher one counts.
    """

    name: _Name = field(default_factory=gethostname)
    revision: Annotated[int, Meta(ge=0, le=_LAST_REVISION), Hint("give a whole number from 0")] = 0
    internal: Annotated[Side, Hint("describe the VPC side: interface, gateways")]
    external: Annotated[ExternalSide, Hint("describe the outside: interface, addresses, gateways")]
    policies: Annotated[
        tuple[Policy, ...], Hint("list policies, or write [] to forward nothing")
    ] = ()
    bfd: Annotated[Bfd, _Sub] | None = None
    drain: Annotated[Drain, _Sub] = Drain()
    mss_clamp: Truth = True
    bandwidth: Annotated[Bandwidth, _Sub] = Bandwidth()
    conntrack: Annotated[Conntrack, _Sub] = Conntrack()
    input: Annotated[Input, _Sub] = Input()
    metrics: Annotated[Metrics, _Sub] = Metrics()
    probes: Annotated[Probes, _Sub] | None = None

    @classmethod
    def parse(cls, document: object) -> "GatewaySpec":
        """The specification in a plain document (dicts, lists, scalars); SpecError otherwise."""
        spec, faults = _parse(document)
        if spec is None:
            raise SpecError(faults)
        return spec

    def warnings(self) -> tuple[Fault, ...]:
        """What is allowed and yet probably not meant."""
        return spec_checks.warnings(self)


def load(path: Path) -> GatewaySpec:
    """The specification in the file; SpecError, also for a file that cannot be read."""
    data, unreadable = read_bytes(path)
    spec, faults = (None, unreadable) if data is None else parse_bytes(data)
    if spec is None:
        raise SpecError(faults, str(path))
    return spec


def read_bytes(path: Path) -> tuple[bytes | None, tuple[Fault, ...]]:
    """The content of the file, or None and the reason as a fault."""
    try:
        with path.open("rb") as file:
            return read_stream(file)
    except ValueError:
        # The path has a null byte.
        return None, (_unreadable("there can be no such file"),)
    except OSError as error:
        return None, (_unreadable(error.strerror or str(error)),)


def read_stream(file: BinaryIO) -> tuple[bytes | None, tuple[Fault, ...]]:
    """The same for an open file; OSError as it comes."""
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        problem = f"is larger than {_MOST_BYTES:,} bytes"
        return None, (Fault("", "", problem, "make sure that it is the configuration"),)
    return data, ()


def _unreadable(reason: str) -> Fault:
    problem = f"cannot be read: {reason}"
    return Fault("", "", problem, "check the path and its permissions")


def parse_bytes(data: bytes) -> tuple[GatewaySpec | None, tuple[Fault, ...]]:
    """The specification in YAML text, and every fault; None if there is any."""
    from vegd.yamltext import parse_yaml  # noqa: PLC0415 - not for who reads no YAML

    document, faults = parse_yaml(data)
    if document is None:
        return None, faults
    spec, more = _parse(document)
    # A key given twice was decoded once; both kinds of faults are worth knowing.
    return (None if faults else spec), (*faults, *more)


def _parse(document: object) -> tuple[GatewaySpec | None, tuple[Fault, ...]]:
    draft = decode(GatewaySpec, document)
    spec_checks.check(draft)
    return (None if draft.faults else draft.value), tuple(draft.faults)
