"""When neighbours are told of the external addresses: at the start, on change, and now and then.

A frame may be lost, so each news is told several times, a second apart (RFC 4861 §7.2.6, RFC 5227
§2.3); the later repetitions reach hosts that were cut off. Whoever is leaving says nothing more:
the addresses may have a new owner already.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.model import IPAddress
from dataplane.render import external_addresses
from vegd.control import Convergence
from vegd.spec import Announce

log = logging.getLogger(__name__)

_BETWEEN_S = 1.0


@dataclass(frozen=True, slots=True)
class Presence:
    """What is to be told, and how often. Another one is news."""

    interface: str
    addresses: tuple[IPAddress, ...]
    wanted: Announce
    moves: int
    """`Convergence.moves`: the interface may be another one by the same name."""

    def pauses(self) -> Iterator[float]:
        """The seconds before each announcement."""
        yield from itertools.islice(
            itertools.chain((0,), itertools.repeat(_BETWEEN_S)), self.wanted.times
        )
        while self.wanted.every:
            yield self.wanted.every


def presence(convergence: Convergence, wanted: Announce) -> Presence | None:
    """Where the gateway is to be found now; None if nowhere."""
    if convergence.intent is None:
        return None
    intent = convergence.intent.dataplane
    addresses = tuple(
        address
        for address in external_addresses(intent)
        if address.version in convergence.forwarded
    )
    if not addresses:
        return None
    return Presence(intent.external.interface, addresses, wanted, convergence.moves)


class Announcer:
    """Tells the neighbours on the external link."""

    def __init__(self, kernel: Kernel) -> None:
        self.sent: Counter[int] = Counter()
        """Announcements by IP version."""
        self.failures = 0
        self._kernel = kernel
        self._presence: Presence | None = None
        self._news = asyncio.Event()
        self._complaint = ""

    def want(self, presence: Presence | None) -> None:
        """Where the gateway is; None says nothing more."""
        if presence != self._presence:
            self._presence = presence
            self._news.set()

    async def run(self) -> None:
        """Announce, for ever."""
        while True:
            if self._presence is not None:
                await self._tell(self._presence)
            await self._news.wait()
            self._news.clear()

    async def _tell(self, presence: Presence) -> None:
        """Until there are other news, or nothing more is to be said."""
        for pause in presence.pauses():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
                return
            await self._send(presence)

    async def _send(self, presence: Presence) -> None:
        try:
            await self._kernel.announce(presence.interface, presence.addresses)
        except DataplaneError as exc:
            self.failures += 1
            if str(exc) != self._complaint:
                log.warning("%s", exc)
            self._complaint = str(exc)
        else:
            self._complaint = ""
            self.sent.update(address.version for address in presence.addresses)
