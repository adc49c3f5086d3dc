"""The agent's end of the BFD engine: it is given the sessions, and asked how they are.

The engine keeps what it was given while nobody is connected, so losing the connection is no event
for the sessions. After each reconnection the whole set is given again; the engine leaves unchanged
sessions untouched, so giving it twice costs nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from bfd.client import Client, ControlError
from bfd.config import SessionConfig
from bfd.packet import Discard
from bfd.snapshot import EngineSnapshot
from bfd.unsolicited import Invitation
from vegd.backoff import Backoff
from vegd.settings import Settings

log = logging.getLogger(__name__)

_DRAIN_S = 3.0
_AGAIN_S = 0.05
_LOOKS = 5
"""To ask takes a millisecond; whether the engine is there is looked at so often in between."""


class _Set(NamedTuple):
    """What the engine is given."""

    sessions: tuple[SessionConfig, ...]
    generation: int
    invitations: tuple[Invitation, ...]


class Sessions:
    """Keeps the engine in step with what is wanted, and the newest snapshot at hand."""

    def __init__(self, settings: Settings, on_change: Callable[[], None]) -> None:
        self.snapshot: EngineSnapshot | None = None
        """How the engine was when it last answered; None while it does not."""
        self.refusal: str | None = None
        """Why the engine refused what it was given."""
        self._settings = settings
        self._on_change = on_change
        self._wanted: _Set | None = None
        self._given: _Set | None = None
        self._turned_away = 0
        self._dirty = asyncio.Event()
        self._moved = asyncio.Event()
        """It has come in step, or fallen out of it."""
        self._client: Client | None = None

    @property
    def in_step(self) -> bool:
        """Whether the engine is there and holds what is wanted."""
        return self.snapshot is not None and self._given == self._wanted

    async def come_in_step(self) -> None:
        """Wait until the engine holds what is wanted."""
        while not self.in_step:
            self._moved.clear()
            await self._moved.wait()

    @property
    def key_faults(self) -> tuple[str, ...]:
        """Key files that the engine cannot use; the sessions go on with the keys of before."""
        return self.snapshot.key_faults if self.snapshot else ()

    @property
    def wait_for_keys(self) -> bool:
        """Whether sessions that are wanted are not there, because they never had keys."""
        if not self.key_faults or self.snapshot is None or self._wanted is None:
            return False
        there = {each.key for each in self.snapshot.sessions}
        return any(config.key not in there for config in self._wanted.sessions)

    def want(
        self,
        sessions: tuple[SessionConfig, ...],
        generation: int,
        invitations: tuple[Invitation, ...] = (),
    ) -> None:
        """This set, and no other session but those that peers may begin, from now on."""
        self._wanted = _Set(sessions, generation, invitations)
        self._dirty.set()

    async def refresh(self) -> EngineSnapshot | None:
        """The engine as it is at this moment, or None if it does not answer."""
        if self._client is not None:
            try:
                self.snapshot = await self._client.snapshot()
            except (OSError, ControlError):
                self.snapshot = None
        return self.snapshot

    async def drain(self) -> bool:
        """Have AdminDown sent on every session; False if the engine cannot be asked.

        One that is away only for a moment, because it is handed over or started again, is waited
        for.
        """
        try:
            async with asyncio.timeout(_DRAIN_S):
                while True:
                    with contextlib.suppress(OSError):
                        async with Client(self._settings.engine_socket) as client:
                            await client.drain()
                            return True
                    await asyncio.sleep(_AGAIN_S)
        except (TimeoutError, ControlError) as exc:
            log.error("the BFD engine cannot be drained: %s", str(exc) or "it does not answer")
            return False

    async def run(self) -> None:
        """Stay connected, for ever."""
        backoff = Backoff(first=0.05, most=2.0)
        while True:
            try:
                async with Client(self._settings.engine_socket) as client:
                    self._client = client
                    backoff.reset()
                    await self._serve(client)
            except (OSError, ControlError) as exc:
                if self.snapshot is not None:
                    log.warning("the BFD engine is away: %s", exc)
            finally:
                self._client = self._given = self.snapshot = None
            self._tell()
            await asyncio.sleep(backoff.wait_s())

    async def _serve(self, client: Client) -> None:
        while True:
            self._dirty.clear()
            before = self.in_step
            if self._wanted is not None and self._wanted != self._given:
                await self._give(client, self._wanted)
            self.snapshot = await client.snapshot()
            self._note_turned_away(self.snapshot)
            if self.in_step != before:
                self._tell()
            await self._rest(client)

    def _tell(self) -> None:
        self._moved.set()
        self._on_change()

    async def _rest(self, client: Client) -> None:
        """Until there is something to give, or it is time to ask. Raises OSError when the engine
        has gone, which shows without asking."""
        for _ in range(_LOOKS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.engine_poll_s):
                    await self._dirty.wait()
                return
            if not client.is_connected:
                raise ConnectionResetError("it has closed the connection")

    def _note_turned_away(self, snapshot: EngineSnapshot) -> None:
        """RFC 9468 §6: that the limit was met is worth a line, but not one for each packet."""
        count = snapshot.discards.get(Discard.UNSOLICITED_LIMIT.label, 0)
        if count > self._turned_away:
            log.warning(
                "%d packets of peers that may begin a BFD session were refused: "
                "bfd.unsolicited[].sessions are there already",
                count - self._turned_away,
            )
        self._turned_away = count

    async def _give(self, client: Client, wanted: "_Set") -> None:
        try:
            await client.configure(*wanted)
        except ControlError as exc:
            self.refusal = str(exc)
            log.error("the BFD engine refuses the sessions: %s", exc)
        else:
            self.refusal = None
        self._given = wanted
