"""Sessions that nobody has configured: who may begin one, and how many (RFC 9468).

An `Invitation` names an interface and the sources that may begin a single-hop session there; the
engine then takes the passive part. `Guests` keeps count of the sessions that exist by invitation.
What such a session does is in `bfd.session`: it is silent while Down, and gone a while later.
"""

from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from bfd.config import SessionConfig, SessionKey, check_byte, check_interval, check_type
from bfd.packet import Discard

_MOST_SESSIONS = 1_000
_TTL = 255


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who may begin sessions on an interface; times in microseconds.

    Raises ValueError naming field, value and remedy.
    """

    interface: str
    sources: tuple[str, ...]
    """Prefixes; only a packet from one of them begins a session (RFC 9468 §6)."""
    most_sessions: int
    desired_min_tx_us: int
    required_min_rx_us: int
    detect_mult: int
    _networks: tuple[IPv4Network | IPv6Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_type("interface", self.interface, str, "an interface name")
        if not self.interface:
            raise ValueError("interface: missing; an invitation holds on one interface")
        if type(self.most_sessions) is not int or not 1 <= self.most_sessions <= _MOST_SESSIONS:
            raise ValueError(
                f"most_sessions: {self.most_sessions!r} is not from 1 to {_MOST_SESSIONS}"
            )
        check_interval("desired_min_tx_us", self.desired_min_tx_us, zero=False)
        check_interval("required_min_rx_us", self.required_min_rx_us, zero=False)
        check_byte("detect_mult", self.detect_mult)
        try:
            networks = tuple(map(ip_network, self.sources))
        except ValueError as exc:
            raise ValueError(f"sources: {exc}; write prefixes as ADDRESS/LENGTH") from None
        object.__setattr__(self, "_networks", networks)

    def is_for(self, key: SessionKey) -> bool:
        """Whether a session with this key may be begun by its peer."""
        if key.interface != self.interface or key.multihop:
            return False
        address = ip_address(key.peer)
        return any(address in network for network in self._networks)

    def config(self, key: SessionKey) -> SessionConfig:
        """The configuration of such a session. Raises ValueError for addresses of no host."""
        return SessionConfig(
            key,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.detect_mult,
            passive=True,
            unsolicited=True,
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `from_json` reads it back."""
        document = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return document | {"sources": list(self.sources)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Invitation":
        """Read back what `to_json` made. Raises ValueError that names what is wrong."""
        try:
            return cls(**document | {"sources": tuple(document["sources"])})
        except KeyError as missing:
            raise ValueError(f"invitation: {missing.args[0]}: missing") from None
        except TypeError as exc:
            raise ValueError(f"invitation: {exc}") from None


class Guests:
    """The invitations in force, and the sessions that exist by them."""

    def __init__(self) -> None:
        self.invitations: tuple[Invitation, ...] = ()
        self._present: dict[SessionKey, SessionConfig] = {}

    def present(self) -> tuple[SessionKey, ...]:
        """The sessions that exist by invitation."""
        return tuple(self._present)

    def __contains__(self, key: SessionKey) -> bool:
        return key in self._present

    def config(self, key: SessionKey) -> SessionConfig | None:
        """The configuration of a guest, without overrides; None if there is no such guest."""
        return self._present.get(key)

    def return_of(self, config: SessionConfig) -> None:
        """A guest is there again after a restart, until the next `renew`."""
        self._present[config.key] = config

    def renew(self, key: SessionKey) -> SessionConfig | None:
        """How a guest is to be configured by the invitations of now; None if it is to go."""
        for invitation in self.invitations:
            if invitation.is_for(key):
                self._present[key] = invitation.config(key)
                return self._present[key]
        return None

    def admit(self, key: SessionKey, ttl: int) -> SessionConfig | Discard:
        """A session for whoever knocks, or the reason why there is none."""
        for invitation in self.invitations:
            if not invitation.is_for(key):
                continue
            if ttl < _TTL:
                # RFC 9468 §6: nobody from behind a router.
                return Discard.TTL
            present = sum(each.interface == key.interface for each in self._present)
            if present >= invitation.most_sessions:
                return Discard.UNSOLICITED_LIMIT
            try:
                self._present[key] = invitation.config(key)
            except ValueError:
                break
            return self._present[key]
        return Discard.UNKNOWN_PEER

    def forget(self, key: SessionKey) -> None:
        """The session has ended, or is now a configured one."""
        self._present.pop(key, None)
