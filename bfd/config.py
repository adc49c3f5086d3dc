"""What a session is told: which two addresses, which timers, how strict.

These values come from outside (the control socket), so they are checked once, here, and complain
with the field, the value and the remedy. Inside the engine they are trusted.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from bfd.auth import AuthConfig
from bfd.dampening import Dampening
from bfd.fsm import Diagnostic

_SLOWEST_US = 4_294_967_000
"""The largest whole millisecond that fits the 32 bits of the wire."""

_LONGEST_INTERFACE_NAME = 15

MOST_BACK_OFF = 64


class SessionKey(NamedTuple):
    """Which session: address texts in canonical form, the interface, "" for any, and the kind.

    Single hop (RFC 5881) and multihop (RFC 5883) between the same two addresses are two sessions.
    """

    local: str
    peer: str
    interface: str = ""
    multihop: bool = False

    def __str__(self) -> str:
        text = f"{self.local} -> {self.peer}"
        if self.interface:
            text += f" on {self.interface}"
        return text + " (multihop)" if self.multihop else text


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """The configuration of one session; times in microseconds, whole milliseconds only.

    Raises ValueError naming field, value and remedy.
    """

    key: SessionKey
    desired_min_tx_us: int = 1_000_000
    """How fast we would like to send while Up."""
    required_min_rx_us: int = 1_000_000
    """How fast we can receive, a promise; 0 asks the peer to send nothing periodically."""
    detect_mult: int = 3
    """After how many of our intervals of silence the peer gives us up."""
    min_ttl: int = 255
    """The least TTL or hop limit to accept: 255 on the same link (RFC 5881 §5), 254 when one
    router is on the way (RFC 5883 §6)."""
    passive: bool = False
    """Send nothing until the peer was heard (RFC 5880 §6.1)."""
    enabled: bool = True
    disabled_diag: Diagnostic = Diagnostic.ADMINISTRATIVELY_DOWN
    """The reason to give while `enabled` is False."""
    auth: AuthConfig | None = None
    """Authentication (RFC 5880 §6.7); None is none."""
    unsolicited: bool = False
    """The peer has begun it, by an invitation (RFC 9468): silent while Down, and forgotten soon."""
    back_off: int = 1
    """How many times slower than configured the session may become where packets are lost (RFC
    5880 §7, a must for multihop); 1 never."""
    dampening: Dampening | None = None
    """When repeated losses of Up hold the session down; None never."""

    def __post_init__(self) -> None:
        _check_key(self.key)
        check_interval("desired_min_tx_us", self.desired_min_tx_us, zero=False)
        check_interval("required_min_rx_us", self.required_min_rx_us, zero=True)
        check_byte("detect_mult", self.detect_mult)
        check_byte("min_ttl", self.min_ttl)
        if not _is_int(self.back_off) or not 1 <= self.back_off <= MOST_BACK_OFF:
            raise ValueError(f"back_off: {self.back_off!r} is not from 1 to {MOST_BACK_OFF} times")
        check_type("passive", self.passive, bool, "true or false")
        check_type("unsolicited", self.unsolicited, bool, "true or false")
        check_type("enabled", self.enabled, bool, "true or false")
        check_type("disabled_diag", self.disabled_diag, Diagnostic, "a diagnostic, 0 to 8")
        if self.auth is not None:
            check_type("auth", self.auth, AuthConfig, "a configuration of authentication")
        if self.dampening is not None:
            check_type("dampening", self.dampening, Dampening, "a policy, or None")


def check_type(field: str, value: object, kind: type, remedy: str) -> None:
    """Raise ValueError unless `value` is exactly of this type."""
    if type(value) is not kind:
        raise ValueError(f"{field}: {value!r} is not {remedy}")


def _check_key(key: SessionKey) -> None:
    local = _check_address("local", key.local)
    peer = _check_address("peer", key.peer)
    if local.version != peer.version:
        raise ValueError(
            f"peer: {key.peer} and local {key.local} are of different families; "
            "a session needs two addresses of one family"
        )
    if local == peer:
        raise ValueError(f"peer: {key.peer} is the local address; name the other end")
    check_type("interface", key.interface, str, "an interface name")
    if len(key.interface) > _LONGEST_INTERFACE_NAME:
        raise ValueError(f"interface: {key.interface!r} is longer than 15 characters")
    check_type("multihop", key.multihop, bool, "true or false")
    on_link = peer.version == 6 and (peer.is_link_local or local.is_link_local)
    if key.multihop and (key.interface or on_link):
        # RFC 5883 §4: which interface the packets come in by is a matter of routing.
        raise ValueError(
            f"multihop: true for a session of one link ({key}); leave it out, "
            "or name neither an interface nor a link-local address"
        )
    if on_link and not key.interface:
        raise ValueError(f"interface: missing; a link-local session ({key.peer}) must name it")


def _check_address(field: str, text: str) -> IPv4Address | IPv6Address:
    check_type(field, text, str, "the text of an IP address")
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{field}: {text!r} is not an IP address") from None
    if str(address) != text or "%" in text:
        raise ValueError(f"{field}: {text!r} must be written {str(address).partition('%')[0]!r}")
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{field}: {text} is not the address of one host")
    return address


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_interval(field: str, value: int, *, zero: bool) -> None:
    """Raise ValueError unless `value` is an interval in microseconds; `zero` allows 0, too."""
    # OVN divides by 1000 and drops the rest, so a part of a millisecond is never agreed on, and
    # less than one would mean "stop sending".
    if zero and _is_int(value) and value == 0:
        return
    if not _is_int(value) or not 1_000 <= value <= _SLOWEST_US or value % 1_000:
        raise ValueError(
            f"{field}: {value!r} is not a whole number of milliseconds "
            f"from 1000 to {_SLOWEST_US} microseconds"
        )


def check_byte(field: str, value: int) -> None:
    """Raise ValueError unless `value` fits a byte and is not 0."""
    if not _is_int(value) or not 1 <= value <= 255:
        raise ValueError(f"{field}: {value!r} is not from 1 to 255")
