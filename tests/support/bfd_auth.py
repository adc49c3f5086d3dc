"""Authentication as RFC 5880 §6.7 describes it, written down a second time, and a peer with it."""

import hashlib
from dataclasses import replace
from typing import Any

from bfd.actions import Actions
from bfd.auth import AuthConfig, AuthKey, AuthType, Transition
from bfd.config import SessionConfig
from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from tests.support.bfd import FAST, Bench

DIGESTS = [kind for kind in AuthType if kind is not AuthType.SIMPLE_PASSWORD]
METICULOUS = [AuthType.METICULOUS_KEYED_MD5, AuthType.METICULOUS_KEYED_SHA1]


def a_key(
    key_id: int = 1,
    kind: AuthType = AuthType.METICULOUS_KEYED_SHA1,
    secret: bytes = b"open sesame",
) -> AuthKey:
    """A key that was read from its file."""
    return AuthKey(key_id, kind, f"/keys/{key_id}", secret)


def authenticated(
    *keys: AuthKey,
    send: int | None = None,
    transition: Transition | None = None,
    config: SessionConfig = FAST,
) -> SessionConfig:
    """A session with keys; it sends with the first one unless told otherwise."""
    auth = AuthConfig(keys, keys[0].key_id if send is None else send, transition)
    return replace(config, auth=auth)


def signed(packet: ControlPacket, key: AuthKey, sequence: int = 0, reserved: int = 0) -> bytes:
    """The packet with its section, made by hand from §4.2 to §4.4 and §6.7."""
    wire = bytearray(encode(packet._replace(auth=b"")))
    wire[1] |= 0x04
    if key.type is AuthType.SIMPLE_PASSWORD:
        section = bytes([1, 3 + len(key.secret), key.key_id]) + key.secret
        wire[3] = 24 + len(section)
        return bytes(wire) + section
    is_md5 = key.type in (AuthType.KEYED_MD5, AuthType.METICULOUS_KEYED_MD5)
    size = 16 if is_md5 else 20
    wire[3] = 24 + 8 + size
    wire += bytes([key.type, 8 + size, key.key_id, reserved])
    wire += (sequence % 2**32).to_bytes(4, "big")
    wire += key.secret + bytes(size - len(key.secret))
    wire[-size:] = (hashlib.md5 if is_md5 else hashlib.sha1)(wire).digest()
    return bytes(wire)


class AuthBench(Bench):
    """A session whose peer signs, by hand, with `key` and the `sequence` that comes next."""

    def __init__(
        self, key: AuthKey, sequence: int = 1000, config: SessionConfig | None = None, **peer: Any
    ) -> None:
        super().__init__(config or authenticated(key), **peer)
        self.key: AuthKey | None = key
        self.sequence = sequence

    def hear(self, state: State, **fields: Any) -> Actions:
        """The peer sends with its next number; `sequence` gives it another one."""
        self.sequence = fields.pop("sequence", self.sequence)
        momentary = {k: fields.pop(k) for k in ("poll", "final") if k in fields}
        self.peer = self.peer._replace(state=state, **fields)
        packet = self.peer._replace(**momentary)
        if self.key is not None:
            packet = packet._replace(auth=signed(packet, self.key, self.sequence)[24:])
            self.sequence += 1
        return self.session.receive(packet, self.now_us, self.now_us)
