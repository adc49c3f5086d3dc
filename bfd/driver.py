"""The engine on an event loop: its set of sessions, their keys, and its life, above its turns.

`bfd.turns` serves the sessions; here is what others ask of the engine.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection

from bfd.config import SessionConfig, SessionKey
from bfd.engine import Engine, Remembered
from bfd.keys import KeyFiles
from bfd.override import Override
from bfd.recorder import Recorder
from bfd.turns import R, Transport, Turns, Waiter, Watcher
from bfd.unsolicited import Invitation

__all__ = ["Draining", "Driver", "Watcher"]

log = logging.getLogger(__name__)

_KEYS_EVERY_S = 1.0
_SETTLE_S = 0.05
_SLICE = 4
"""Sessions configured before the loop gets its turn: about a tenth of a millisecond."""


class Draining(Exception):
    """The engine is draining, or handed over, and takes no new sessions."""


class Driver(Turns[R]):
    """Runs an engine. `clock` is the waiter's clock in whole microseconds.

    `on_end` is called once, when a draining engine has no session left; `on_news` whenever a
    successor of this engine would have to know more than before (`Engine.news`, the generation,
    that it drains). `recorder` keeps the history; the default one knows nothing of the process.
    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport[R],
        waiter: Waiter,
        clock: Callable[[], int],
        on_end: Callable[[], None],
        recorder: Recorder | None = None,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(engine, transport, waiter, clock, on_end, recorder, on_news)
        self._commit_lock = asyncio.Lock()
        self._has_left = False
        self._wanted: Collection[SessionConfig] | None = None
        self._key_files = KeyFiles()
        self._has_keys = asyncio.Event()

    @property
    def key_faults(self) -> tuple[str, ...]:
        """Which key files cannot be used, so that their sessions keep the keys of before."""
        return self._key_files.faults

    # Life -----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """While no set is being committed, and no session lingers that has left the set.

        Raises Draining.
        """
        async with self._commit_lock:
            while self.engine.lingers:
                self._refuse_when_leaving()
                await asyncio.sleep(_SETTLE_S)
            self._refuse_when_leaving()
            yield

    async def commit(self, wanted: Collection[SessionConfig], generation: int) -> tuple[int, int]:
        """Make `wanted` the set in force; how many sessions were put, and removed.

        A few at a time, so that the other sessions keep their times. Raises Draining, and whatever
        the transport raises when it cannot open a port that they need; then nothing has changed.
        """
        async with self._commit_lock:
            counts = await self._commit(await self._with_secrets(wanted), generation)
            self._wanted = wanted
            self._note_keys()
        return counts

    def invite(self, invitations: Collection[Invitation]) -> None:
        """Let peers begin sessions by these invitations, and by no others, from now on."""
        if self.engine.draining or self._has_left:
            return
        for effect in self.engine.invite(tuple(invitations), self._clock()):
            self._perform(effect)
        self._on_news()
        self._arm()

    async def follow_key_files(self) -> None:
        """Take the keys of files that have changed; runs on until the engine drains."""
        self._note_keys()
        while not self.engine.draining:
            await self._has_keys.wait()
            await asyncio.sleep(_KEYS_EVERY_S)
            if await asyncio.to_thread(self._key_files.have_changed, self._described()):
                with contextlib.suppress(Draining):
                    await self._take_keys()

    async def _take_keys(self) -> None:
        async with self._commit_lock:
            loaded = await self._with_secrets(self._described())
            put, _ = await self._commit(loaded, self.engine.generation)
            if put:
                log.info("key files have changed: %d sessions have new keys", put)

    async def _with_secrets(self, wanted: Collection[SessionConfig]) -> Collection[SessionConfig]:
        if not any(config.auth for config in wanted) and not self.key_faults:
            return wanted
        in_force = {config.key: config for config in self.engine.committed()}
        return await asyncio.to_thread(self._key_files.load, wanted, in_force)

    def _described(self) -> Collection[SessionConfig]:
        """The set as it should be, including what waits for its keys."""
        return self.engine.committed() if self._wanted is None else self._wanted

    def _note_keys(self) -> None:
        """An engine without keys does not wake up for them."""
        if any(config.auth for config in self._described()):
            self._has_keys.set()
        else:
            self._has_keys.clear()

    async def _commit(self, wanted: Collection[SessionConfig], generation: int) -> tuple[int, int]:
        self._refuse_when_leaving()
        self._listen(multihop=any(config.key.multihop for config in wanted))
        change = self.engine.changes(wanted)
        for first in range(0, len(change.remove), _SLICE):
            self._refuse_when_leaving()
            for key in change.remove[first : first + _SLICE]:
                self._finish(self.engine.remove(key, self._clock(), "removed from the set"))
            await asyncio.sleep(0)
        for first in range(0, len(change.put), _SLICE):
            self._refuse_when_leaving()
            for config in change.put[first : first + _SLICE]:
                self._finish(self.engine.put(config, self._clock()))
            await asyncio.sleep(0)
        self._refuse_when_leaving()
        self.engine.generation = generation
        self._on_news()
        return len(change.put), len(change.remove)

    def _listen(self, *, multihop: bool) -> None:
        """A port that nobody needs is not open; sessions that linger need no answers."""
        listening = tuple(each for each in self._transport.receivers if each.multihop)
        if multihop and not listening:
            self._transport.open_multihop()
            self._watch_all()
        elif listening and not multihop:
            for receiver in listening:
                self._ignore(receiver)
            self._transport.close_multihop()

    def override(self, key: SessionKey, override: Override) -> None:
        """Lay an override over a session at once. Raises KeyError (see `Engine`) and Draining."""
        self._refuse_when_leaving()
        self._finish(self.engine.override(key, override, self._clock()))
        self._on_news()

    def restore(self, remembered: Collection[Remembered]) -> None:
        """Let the sessions of an earlier engine go on, before `start`. It reads key files.

        Raises ValueError (see `Engine`), and what the transport raises, as for `commit`.
        """
        self._listen(multihop=any(each.config.key.multihop for each in remembered))
        loaded = self._key_files.load([each.config for each in remembered], {})
        configs = {config.key: config for config in loaded}
        for each in remembered:
            # Without its keys a session cannot go on; the fault was told.
            if (config := configs.get(each.config.key)) is not None:
                heard_until_us = self._transport.heard_until_us()
                again = each._replace(config=config)
                self._finish(self.engine.restore(again, self._clock(), heard_until_us))

    def drain(self) -> None:
        """Send AdminDown on every session; `on_end` is called when the peers have had the time."""
        if self.engine.draining or self._has_left:
            return
        log.info("draining %d sessions", len(self.engine.sessions()))
        for effect in self.engine.drain(self._clock()):
            self._perform(effect)
        self._on_news()
        self._finish(None)

    def leave(self) -> None:
        """Touch nothing any more: the sessions are another process' now."""
        self._has_left = True

    def _refuse_when_leaving(self) -> None:
        if self._has_left:
            raise Draining("the engine has been handed over; the next to be asked is its successor")
        if self.engine.draining:
            raise Draining("the engine is draining; it takes no sessions any more")
