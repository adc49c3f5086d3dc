"""Local discriminators: not zero, unique here, the same again after a restart.

RFC 5880 §6.8.1 suggests random ones. Ours are a keyed hash of the session's key: nobody without the
key can guess them, but a restarted engine, and a successor that takes over the address and the key,
computes the same number. A peer that goes on using the old one after a restart (OVN may do so for
ever) then still finds its session. Two pairs that meet in one number are told apart by a counter.
"""

from hashlib import blake2b

from bfd.config import SessionKey

KEY_LENGTH = 32


class Discriminators:
    """Hands out discriminators and takes them back. `key` is secret, 16 to 64 bytes."""

    __slots__ = ("_key", "_used")

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"discriminator key: {len(key)} bytes; 16 to 64 are needed")
        self._key = key
        self._used: set[int] = set()

    def allocate(self, session: SessionKey) -> int:
        """A discriminator for this session, in use until it is released."""
        counter = 0
        while (discr := self._hash(session, counter)) == 0 or discr in self._used:
            counter += 1
        self._used.add(discr)
        return discr

    def claim(self, discr: int) -> None:
        """Take a number that `allocate` gave in an earlier life of the engine.

        Raises ValueError when it is in use already, or none at all.
        """
        if discr in self._used or not 0 < discr < 1 << 32:
            raise ValueError(f"discriminator: {discr!r} is in use, or no 32-bit number above 0")
        self._used.add(discr)

    def release(self, discr: int) -> None:
        """Make the number free again; only when no packet of the session can follow."""
        self._used.discard(discr)

    def _hash(self, session: SessionKey, counter: int) -> int:
        kind = " multihop" if session.multihop else ""
        text = f"{session.local} {session.peer} {session.interface} {counter}{kind}"
        return int.from_bytes(blake2b(text.encode(), digest_size=4, key=self._key).digest(), "big")
