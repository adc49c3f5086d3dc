"""Authentication of Control packets: RFC 5880 §6.7, with the sections of §4.2 to §4.4.

Sans-IO. An `AuthConfig` says which keys a session has, and which of them it sends with; packets
with any of them are accepted, so that a new key can be brought in at one end after the other. An
`Authentication` is that configuration at work: it makes the section of each packet sent and judges
that of each packet received. A refusal changes nothing, not even the sequence number: it is learned
only from a packet whose digest was right, because otherwise a forger could set it (§6.7.3 and
§6.7.4, read literally, learn it first).

Whether authentication is in use can follow the peer, once (`Transition`, §6.7.1), so that it can be
switched on and off at two ends that cannot do it within the same detection time.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from hmac import compare_digest
from typing import Any, NamedTuple

from bfd.packet import HEADER_LENGTH, ControlPacket, Discard, encode
from bfd.timing import NEVER_US

MOST_KEYS = 8
"""More than any rollover needs; keeps the messages of the control socket small."""
_LONGEST_PATH = 255
_SEQUENCE_END = HEADER_LENGTH + 8
_MODULUS = 1 << 32


class AuthType(IntEnum):
    """Auth Type of §4.1."""

    SIMPLE_PASSWORD = 1
    KEYED_MD5 = 2
    METICULOUS_KEYED_MD5 = 3
    KEYED_SHA1 = 4
    METICULOUS_KEYED_SHA1 = 5

    @property
    def label(self) -> str:
        """The name used in configurations: ``meticulous-keyed-sha1``."""
        return self.name.lower().replace("_", "-")

    @property
    def longest_secret(self) -> int:
        """Bytes of a password or key: 1 to this many (§6.7.2 to §6.7.4)."""
        digest = _DIGESTS.get(self)
        return 16 if digest is None else digest.size


class _Digest(NamedTuple):
    new: Callable[[bytes], Any]
    size: int
    meticulous: bool


def _md5(data: bytes) -> Any:
    # What the RFC asks for; a build of Python that has no MD5 for security still has this one.
    return hashlib.md5(data, usedforsecurity=False)


def _sha1(data: bytes) -> Any:
    return hashlib.sha1(data, usedforsecurity=False)


_DIGESTS = {
    AuthType.KEYED_MD5: _Digest(_md5, 16, meticulous=False),
    AuthType.METICULOUS_KEYED_MD5: _Digest(_md5, 16, meticulous=True),
    AuthType.KEYED_SHA1: _Digest(_sha1, 20, meticulous=False),
    AuthType.METICULOUS_KEYED_SHA1: _Digest(_sha1, 20, meticulous=True),
}
_TYPES = {kind.label: kind for kind in AuthType}


class Transition(StrEnum):
    """Authentication follows the peer, once, and stays so until it is configured anew (§6.7.1)."""

    ENABLING = "enabling"
    """Not in use until the peer's first packet that is authenticated; then required."""
    DISABLING = "disabling"
    """In use until the peer's first packet that is not authenticated; then refused."""


@dataclass(frozen=True, slots=True)
class AuthKey:
    """One key. `secret` is what the file holds, empty until it was read (`bfd.keys`).

    It is neither printed nor part of any JSON.
    """

    key_id: int
    type: AuthType
    file: str
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """The keys of a session; any of them is accepted, the one with the id `send` is sent with.

    Raises ValueError naming field, value and remedy.
    """

    keys: tuple[AuthKey, ...]
    send: int
    transition: Transition | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= MOST_KEYS:
            raise ValueError(f"auth.keys: {len(self.keys)} keys; give 1 to {MOST_KEYS}")
        ids = [key.key_id for key in self.keys]
        for index, key in enumerate(self.keys):
            _check_key(f"auth.keys[{index}]", key)
            if key.key_id in ids[:index]:
                raise ValueError(f"auth.keys[{index}].key_id: {key.key_id} is given twice")
        if self.send not in ids:
            raise ValueError(f"auth.send: {self.send!r} is none of the key ids {ids}")

    @property
    def sending(self) -> AuthKey:
        """The key that is sent with."""
        return next(key for key in self.keys if key.key_id == self.send)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the secrets."""
        return {
            "keys": [
                {"key_id": key.key_id, "type": key.type.label, "file": key.file}
                for key in self.keys
            ],
            "send": self.send,
            "transition": self.transition,
        }

    @classmethod
    def from_json(cls, document: object) -> "AuthConfig":
        """Read back what `to_json` made, the secrets empty. Raises ValueError."""
        try:
            match document:
                case {"keys": [*keys], "send": int(send), "transition": transition}:
                    return cls(
                        tuple(AuthKey(k["key_id"], _TYPES[k["type"]], k["file"]) for k in keys),
                        send,
                        None if transition is None else Transition(transition),
                    )
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"auth.keys: {wrong} is missing or unknown") from None
        raise ValueError("auth: is not an object of keys, send and transition")


def _check_key(where: str, key: AuthKey) -> None:
    if type(key.key_id) is not int or not 0 <= key.key_id <= 255:
        raise ValueError(f"{where}.key_id: {key.key_id!r} is not from 0 to 255")
    if not str(key.file).startswith("/"):
        raise ValueError(f"{where}.file: {key.file!r} is not an absolute path")
    if len(key.file) > _LONGEST_PATH:
        raise ValueError(f"{where}.file: the path is longer than {_LONGEST_PATH} characters")
    if len(key.secret) > key.type.longest_secret:
        raise ValueError(
            f"{where}: the secret of a {key.type.label} key has at most "
            f"{key.type.longest_secret} bytes"
        )


class AuthMemory(NamedTuple):
    """What a successor of the engine must know of an `Authentication`."""

    xmit_auth_seq: int
    rcv_auth_seq: int
    auth_seq_known: bool
    forget_us: int
    in_use: bool


class Authentication:
    """The authentication of one session: the variables of §6.8.1 that are about it, and §6.7.

    `xmit_auth_seq` is the sequence number of the next packet, to begin with a random one.
    """

    __slots__ = (
        "_by_id",
        "_signed",
        "_signed_from",
        "_types",
        "auth_seq_known",
        "config",
        "forget_us",
        "in_use",
        "rcv_auth_seq",
        "section",
        "xmit_auth_seq",
    )

    def __init__(self, config: AuthConfig, xmit_auth_seq: int) -> None:
        self.xmit_auth_seq = xmit_auth_seq
        self.rcv_auth_seq = 0
        self.auth_seq_known = False
        self.forget_us = NEVER_US
        """When `auth_seq_known` ends for lack of packets."""
        self.in_use = config.transition is not Transition.ENABLING
        self.configure(config)

    def configure(self, config: AuthConfig) -> None:
        """Follow a configuration; the sequence numbers go on. During a transition authentication
        stays in use, or not in use, as it was."""
        if not all(key.secret for key in config.keys):
            raise ValueError("a key without its secret")
        if config.transition is None:
            self.in_use = True
        self.config = config
        self._by_id = {key.key_id: key for key in config.keys}
        self._types = frozenset(key.type for key in config.keys)
        self._signed_from = self._signed = b""
        self._use(in_use=self.in_use)

    def _use(self, *, in_use: bool) -> None:
        self.in_use = in_use
        self.section = _blank_section(self.config.sending) if in_use else b""
        """What a packet carries before it is signed; empty while authentication is not in use."""

    def memory(self) -> AuthMemory:
        """What `resume` needs to go on."""
        return AuthMemory(*(getattr(self, name) for name in AuthMemory._fields))

    def resume(self, memory: AuthMemory) -> None:
        """Go on after a restart of the engine."""
        self.xmit_auth_seq, self.rcv_auth_seq, self.auth_seq_known, self.forget_us, _ = memory
        self._use(in_use=memory.in_use)

    def silence(self, heard_us: int, detection_time_us: int) -> None:
        """The detection time has ended; after a second one the peer's number is forgotten
        (AuthSeqKnown, §6.8.1)."""
        self.forget_us = heard_us + 2 * detection_time_us

    def sign(self, wire: bytes) -> bytes:
        """The packet `wire`, made with `section`, as it is to be sent, now."""
        key = self.config.sending
        digest = _DIGESTS.get(key.type)
        if digest is None or not self.in_use:
            return wire
        # §6.7.3, §6.7.4: keyed increments when the contents change, meticulous with each packet.
        if wire != self._signed_from or digest.meticulous:
            sequence = self.xmit_auth_seq
            self.xmit_auth_seq = (sequence + 1) % _MODULUS
            covered = wire[: HEADER_LENGTH + 4] + sequence.to_bytes(4, "big")
            self._signed = covered + _digest(digest, covered, key.secret)
            self._signed_from = wire
        return self._signed

    def receive(self, packet: ControlPacket, at_us: int) -> Discard | None:
        """Judge a packet (§6.8.6); None when it may be believed."""
        transition = self.config.transition
        if not packet.auth:
            if self.in_use:
                if transition is not Transition.DISABLING:
                    return Discard.AUTH_MISSING
                self._use(in_use=False)
            return None
        if not self.in_use and transition is not Transition.ENABLING:
            return Discard.AUTH_UNEXPECTED
        why = self._verify(packet, at_us)
        if why is None and not self.in_use:
            self._use(in_use=True)
        return why

    def _verify(self, packet: ControlPacket, at_us: int) -> Discard | None:
        auth = packet.auth
        key = self._key_of(auth)
        if isinstance(key, Discard):
            return key
        digest = _DIGESTS.get(key.type)
        if digest is None:
            return None if compare_digest(auth[3:], key.secret) else Discard.AUTH_DIGEST
        # Decoding loses nothing of what Length covers, so this is what the peer has signed.
        covered = encode(packet)[:_SEQUENCE_END]
        if not compare_digest(auth[8:], _digest(digest, covered, key.secret)):
            return Discard.AUTH_DIGEST
        return self._follow_sequence(
            int.from_bytes(auth[4:8], "big"),
            3 * packet.detect_mult,
            at_us,
            meticulous=digest.meticulous,
        )

    def _key_of(self, auth: bytes) -> AuthKey | Discard:
        """The key that a section names, if its form is right."""
        kind, length = auth[0], auth[1]
        if kind not in self._types:
            return Discard.AUTH_TYPE
        digest = _DIGESTS.get(AuthType(kind))
        possible = range(4, 20) if digest is None else (8 + digest.size,)
        if length != len(auth) or length not in possible:
            return Discard.AUTH_LENGTH
        key = self._by_id.get(auth[2])
        if key is None:
            return Discard.AUTH_KEY_ID
        return key if key.type == kind else Discard.AUTH_TYPE

    def _follow_sequence(
        self, sequence: int, window: int, at_us: int, *, meticulous: bool
    ) -> Discard | None:
        """§6.7.3, §6.7.4, for a packet whose digest was right."""
        if self.auth_seq_known and at_us < self.forget_us:
            ahead = (sequence - self.rcv_auth_seq) % _MODULUS
            if not meticulous <= ahead <= window:
                return Discard.AUTH_SEQUENCE
        self.auth_seq_known = True
        self.rcv_auth_seq = sequence
        self.forget_us = NEVER_US
        return None


def _blank_section(key: AuthKey) -> bytes:
    """The section with sequence number and digest zero; a simple password is complete."""
    digest = _DIGESTS.get(key.type)
    if digest is None:
        return bytes((key.type, 3 + len(key.secret), key.key_id)) + key.secret
    return bytes((key.type, 8 + digest.size, key.key_id)) + bytes(5 + digest.size)


def _digest(digest: _Digest, covered: bytes, secret: bytes) -> bytes:
    """Over the packet with the key, padded with zeros, where the digest will stand."""
    result: bytes = digest.new(covered + secret.ljust(digest.size, b"\0")).digest()
    return result
