"""Which sessions an engine has: by key, by discriminator, and by addresses.

A packet that names a discriminator finds its session by that; the first packets, which cannot know
one, find it by where they came from and went to (RFC 5880 §6.8.6, RFC 5881 §3, RFC 5883 §4.1).
"""

from collections.abc import Callable

from bfd.config import SessionConfig, SessionKey
from bfd.discriminators import Discriminators
from bfd.marks import Marks
from bfd.packet import RxMeta
from bfd.session import Session


class Registry:
    """See the module; the parameters are those of `bfd.engine.Engine`."""

    def __init__(
        self,
        discriminators: Discriminators,
        draw: Callable[[], float],
        interface_name: Callable[[int], str],
    ) -> None:
        self._discriminators = discriminators
        self.marks = Marks()
        """Where the times at which peers were heard are kept; exchanged before the first session
        for marks that outlive the engine."""
        self._draw = draw
        self._interface_name = interface_name
        self._by_discr: dict[int, Session] = {}
        self._by_key: dict[SessionKey, Session] = {}
        self._by_addresses: dict[tuple[str, str, bool], tuple[Session, ...]] = {}

    def _create(self, config: SessionConfig, now_us: int) -> Session:
        discr = self._discriminators.allocate(config.key)
        return self._enter(Session(config, discr, self._draw, now_us))

    def _enter(self, session: Session) -> Session:
        key = session.key
        session.mark = self.marks.take(session.local_discr)
        self._by_key[key] = session
        self._by_discr[session.local_discr] = session
        pair = (key.local, key.peer, key.multihop)
        # A session of a named interface goes before one that takes any.
        self._by_addresses[pair] = tuple(
            sorted(
                (*self._by_addresses.get(pair, ()), session),
                key=lambda s: s.key.interface,
                reverse=True,
            )
        )
        return session

    def _leave(self, session: Session) -> None:
        key = session.key
        del self._by_key[key]
        del self._by_discr[session.local_discr]
        self.marks.give_back(session.mark)
        pair = (key.local, key.peer, key.multihop)
        rest = tuple(s for s in self._by_addresses[pair] if s is not session)
        if rest:
            self._by_addresses[pair] = rest
        else:
            del self._by_addresses[pair]
        self._discriminators.release(session.local_discr)

    def _by_address(self, meta: RxMeta) -> Session | None:
        # RFC 5883 §4.1 and RFC 5881 §3: the port tells the kind.
        candidates = self._by_addresses.get((meta.local, meta.peer, meta.multihop), ())
        for candidate in candidates:
            if not candidate.key.interface or self._arrived_on(candidate.key.interface, meta):
                return candidate
        return None

    def _arrived_on(self, interface: str, meta: RxMeta) -> bool:
        try:
            return self._interface_name(meta.ifindex) == interface
        except OSError:
            return False
