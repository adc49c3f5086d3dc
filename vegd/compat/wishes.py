"""Which sessions are wanted: those of the pod's environment, changed by ``bfdd-control``.

A `Wishes` is a value; every change makes another one. OpenBFDD waits for packets of peers that are
*allowed*; our engine is active, so to allow a peer is to want a session with it from each address
that is listened on. New values for new sessions leave those that are there alone, as in OpenBFDD.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import NamedTuple

from bfd.config import SessionConfig, SessionKey

_MIN_TTL = 254
"""One router is on the way, the VPC's, and it takes one (see the README on OVN)."""
_MOST_MS = 4_294_967
"""The largest whole millisecond that fits the 32 bits of the wire."""


class Timers(NamedTuple):
    """Values of a session; times in microseconds. The defaults are those of OpenBFDD."""

    min_tx_us: int = 1_000_000
    min_rx_us: int = 1_000_000
    detect_mult: int = 3


class Wished(NamedTuple):
    """A session that is wanted."""

    number: int
    """What ``bfdd-control`` calls it; another one after a reset."""
    timers: Timers


@dataclass(frozen=True, slots=True)
class Wishes:
    """What has been asked for. Addresses are texts in canonical form."""

    listen: tuple[str, ...]
    """Our own addresses."""
    new: Timers = field(default_factory=Timers)
    """For sessions to come."""
    allowed: frozenset[str] = frozenset()
    """The peers that may have sessions."""
    sessions: Mapping[SessionKey, Wished] = field(default_factory=dict)
    log_commands: bool = False
    """Whether each line of ``bfdd-control`` is logged."""
    _last: int = 0

    def allow(self, peer: str) -> "Wishes":
        """Sessions with this peer, too. Raises ValueError if there cannot be one."""
        keys = [SessionKey(local, peer) for local in self.listen if (":" in local) is (":" in peer)]
        wished = replace(self, allowed=self.allowed | {peer}).begin(
            key for key in keys if key not in self.sessions
        )
        wished.configs()
        return wished

    def block(self, peer: str) -> "Wishes":
        """No new session with this peer; those that are there stay."""
        return replace(self, allowed=self.allowed - {peer})

    def begin(self, keys: Iterable[SessionKey]) -> "Wishes":
        """These sessions begin, anew if they are there, with the values for new ones."""
        begun = {key: Wished(self._last + n, self.new) for n, key in enumerate(keys, 1)}
        last = self._last + len(begun)
        return replace(self, sessions={**self.sessions, **begun}, _last=last)

    def kill(self, keys: Collection[SessionKey]) -> "Wishes":
        """These sessions end; where the peer is allowed, another one begins."""
        left = {key: each for key, each in self.sessions.items() if key not in keys}
        return replace(self, sessions=left).begin(k for k in keys if k.peer in self.allowed)

    def begun_anew(self, before: "Wishes") -> frozenset[SessionKey]:
        """The sessions that were there before under another number."""
        return frozenset(
            key
            for key, each in self.sessions.items()
            if key in before.sessions and before.sessions[key].number != each.number
        )

    def configs(self) -> tuple[SessionConfig, ...]:
        """The sessions for the engine. Raises ValueError for values that it cannot have."""
        return tuple(
            SessionConfig(key, *each.timers, min_ttl=_MIN_TTL)
            for key, each in self.sessions.items()
        )


def address(text: str) -> str:
    """An address in canonical form. Raises ValueError."""
    return str(ip_address(text))


def from_environment(environ: Mapping[str, str], listen: Iterable[str] = ()) -> Wishes:
    """The sessions of every pair of one family of POD_IPS (or `listen`) and BFD_PEER_IPS.

    BFD_MIN_TX and BFD_MIN_RX are milliseconds. Raises ValueError naming the variable.
    """
    own = tuple(listen) or _addresses(environ, "POD_IPS")
    new = Timers(
        number(environ, "BFD_MIN_TX", 1_000, most=_MOST_MS) * 1_000,
        number(environ, "BFD_MIN_RX", 1_000, most=_MOST_MS) * 1_000,
        number(environ, "BFD_MULTI", 3, most=255),
    )
    wishes = Wishes(tuple(dict.fromkeys(own)), new)
    for peer in _addresses(environ, "BFD_PEER_IPS"):
        try:
            wishes = wishes.allow(peer)
        except ValueError as exc:
            raise ValueError(f"BFD_PEER_IPS: {exc}") from None
    return wishes


def _addresses(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    texts = [text.strip() for text in environ.get(name, "").split(",")]
    try:
        return tuple(address(text) for text in texts if text)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from None


def number(
    environ: Mapping[str, str], name: str, default: int, *, most: int, least: int = 1
) -> int:
    """A whole number of the environment. Raises ValueError naming the variable."""
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise ValueError(f"{name}: {text!r} is not a number from {least} to {most}")
    return int(text)
