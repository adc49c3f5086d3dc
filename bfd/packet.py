"""The BFD Control packet of RFC 5880 §4.1: 24 bytes in, a value out, and back.

`decode` never raises: what is not a packet that some session could accept comes back as the
`Discard` that says why, checked in the order of §6.8.6. Only checks that need no session are made
here; the engine finds the session, and the session does the rest. `RxMeta` is what the transport
knows about the arrival of a packet.
"""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from bfd.fsm import State

VERSION = 1
HEADER_LENGTH = 24
_SHORTEST_AUTHENTICATED = 26

_HEADER = Struct("!BBBBIIIII")

POLL = 0x20
FINAL = 0x10
CONTROL_PLANE_INDEPENDENT = 0x08
AUTHENTICATION_PRESENT = 0x04
DEMAND = 0x02
MULTIPOINT = 0x01

# Indexing a tuple is half a microsecond cheaper than calling the enumeration.
_STATES = tuple(State)


class Discard(IntEnum):
    """Why a packet was not accepted; each is a counter of its own."""

    TRUNCATED = 0
    """The datagram is shorter than a header, or than the Length field says."""
    VERSION = 1
    LENGTH = 2
    """Length is below 24, or below 26 with authentication."""
    DETECT_MULT = 3
    MULTIPOINT = 4
    MY_DISCRIMINATOR = 5
    NO_YOUR_DISCRIMINATOR = 6
    """Your Discriminator is zero, but the state is neither Down nor AdminDown."""
    UNKNOWN_DISCRIMINATOR = 7
    """No session of the kind that the port is for has this discriminator."""
    UNKNOWN_PEER = 8
    """Your Discriminator is zero, and no session of this kind has this address pair."""
    TTL = 9
    AUTH_UNEXPECTED = 10
    """The packet is authenticated and the session is not."""
    ADMIN_DOWN = 11
    """The session is AdminDown; the packet was noted, but moves nothing."""
    AUTH_MISSING = 12
    """The session is authenticated and the packet is not."""
    AUTH_TYPE = 13
    """Auth Type is not that of the key, or of any key."""
    AUTH_LENGTH = 14
    """Auth Len is not that of the type, or not that of the section."""
    AUTH_KEY_ID = 15
    """The session has no key of this id."""
    AUTH_DIGEST = 16
    """The digest or the password is wrong: the two ends have different keys under this id."""
    AUTH_SEQUENCE = 17
    """Outside the window of sequence numbers: an old packet again, or a peer that has restarted."""
    UNSOLICITED_LIMIT = 18
    """The peer may begin a session, but as many as are allowed are there already."""

    @property
    def label(self) -> str:
        """The name used in counters: ``unknown_peer``."""
        return self.name.lower()


class ControlPacket(NamedTuple):
    """A BFD Control packet; times in microseconds, as on the wire.

    `auth` holds the authentication section as it came, empty without one. Version is always 1 and
    the Multipoint bit always clear.
    """

    state: State
    my_discr: int
    your_discr: int = 0
    desired_min_tx_us: int = 1_000_000
    required_min_rx_us: int = 1_000_000
    required_min_echo_rx_us: int = 0
    detect_mult: int = 3
    diagnostic: int = 0
    poll: bool = False
    final: bool = False
    control_plane_independent: bool = False
    demand: bool = False
    auth: bytes = b""


class RxMeta(NamedTuple):
    """What the kernel says about a received packet."""

    local: str
    """The address that it was sent to."""
    peer: str
    """The address that it came from, without a zone."""
    ttl: int
    """TTL or hop limit on arrival; 0 when the kernel did not say."""
    ifindex: int
    at_us: int
    """When it arrived, on the monotonic clock."""
    multihop: bool = False
    """Whether it came to the port of multihop sessions."""


def decode(data: bytes) -> ControlPacket | Discard:
    """Read a datagram, or say why it is discarded (RFC 5880 §6.8.6, first part).

    Bytes after Length are ignored; the contents of an authentication section are not judged.
    """
    size = len(data)
    if size < HEADER_LENGTH:
        return Discard.TRUNCATED
    first, flags, mult, length, mine, yours, desired, required, echo = _HEADER.unpack_from(data)
    shortest = _SHORTEST_AUTHENTICATED if flags & AUTHENTICATION_PRESENT else HEADER_LENGTH
    why: Discard | None = None
    if first >> 5 != VERSION:
        why = Discard.VERSION
    elif length < shortest:
        why = Discard.LENGTH
    elif length > size:
        why = Discard.TRUNCATED
    elif mult == 0:
        why = Discard.DETECT_MULT
    elif flags & MULTIPOINT:
        why = Discard.MULTIPOINT
    elif mine == 0:
        why = Discard.MY_DISCRIMINATOR
    elif yours == 0 and flags >> 6 > State.DOWN:
        why = Discard.NO_YOUR_DISCRIMINATOR
    if why is not None:
        return why
    return ControlPacket(
        _STATES[flags >> 6],
        mine,
        yours,
        desired,
        required,
        echo,
        mult,
        first & 0x1F,
        flags & POLL != 0,
        flags & FINAL != 0,
        flags & CONTROL_PLANE_INDEPENDENT != 0,
        flags & DEMAND != 0,
        data[HEADER_LENGTH:length] if flags & AUTHENTICATION_PRESENT else b"",
    )


def encode(packet: ControlPacket) -> bytes:
    """The wire form of `packet`; the A bit follows from `auth`, Length from its size.

    Raises struct.error when a field does not fit: the caller made an impossible packet.
    """
    flags = packet.state << 6
    if packet.poll:
        flags |= POLL
    if packet.final:
        flags |= FINAL
    if packet.control_plane_independent:
        flags |= CONTROL_PLANE_INDEPENDENT
    if packet.auth:
        flags |= AUTHENTICATION_PRESENT
    if packet.demand:
        flags |= DEMAND
    header = _HEADER.pack(
        VERSION << 5 | packet.diagnostic,
        flags,
        packet.detect_mult,
        HEADER_LENGTH + len(packet.auth),
        packet.my_discr,
        packet.your_discr,
        packet.desired_min_tx_us,
        packet.required_min_rx_us,
        packet.required_min_echo_rx_us,
    )
    return header + packet.auth
