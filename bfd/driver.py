"""The engine on an event loop: read, judge, send, and arm one timer.

Every stimulus ends the same way: what the engine asks for is carried out, and the one timer handle
points at the engine's next deadline. Before any silence is judged the sockets are read, and the
engine is told how far that reading got (`heard_until_us`); a pause of this process is then not
mistaken for one of the peer. A receiver whose packets can wait is not watched, but read at every
deadline and before any other receiver, so that the order of packets is kept. Loop, clock and
transport are handed in.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

from bfd.actions import Ended, StateChanged, Transmit
from bfd.config import SessionConfig, SessionKey
from bfd.engine import Effect, Engine, Remembered
from bfd.fsm import State
from bfd.keys import KeyFiles
from bfd.override import Override
from bfd.packet import RxMeta
from bfd.recorder import Recorder
from bfd.session import Session
from bfd.timing import NEVER_US
from bfd.unsolicited import Invitation

log = logging.getLogger(__name__)

Watcher = Callable[[Session], None]

_KEYS_EVERY_S = 1.0
_SETTLE_S = 0.05
_SLICE = 4
"""Sessions configured before the loop gets its turn: about a tenth of a millisecond."""

# After so many turns of reading without an empty socket the flood gets a pause of a millisecond:
# a process of a real-time class that never sleeps would keep everybody else from the processor.
_BREATHLESS_TURNS = 16
_BREATH_S = 0.001

_READ_AT_LEAST_US = 1_000_000
"""What can wait waits so long, so that the counters of an idle engine move."""


class Draining(Exception):
    """The engine is draining and takes no new sessions."""


class Handle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Loop(Protocol):
    """The part of an asyncio event loop that the driver uses; seconds of the monotonic clock."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call once at a time."""

    def call_later(self, delay: float, callback: Callable[..., None], /, *args: object) -> Handle:
        """Call once after a time."""

    def add_reader(self, fd: int, callback: Callable[..., None], /, *args: object) -> None:
        """Call whenever there is something to read."""

    def remove_reader(self, fd: int, /) -> bool:
        """Do not call any more."""


class Readable(Protocol):
    """A receiving socket, as far as the driver cares."""

    emptied_us: int
    overflows: int
    multihop: bool
    patient: bool

    def fileno(self) -> int:
        """For the loop."""


R = TypeVar("R", bound=Readable)


class Transport(Protocol[R]):
    """What the driver needs of `bfd.transport.UdpTransport`, which documents it."""

    @property
    def receivers(self) -> Sequence[R]:
        """The receiving sockets."""

    def open_multihop(self) -> Sequence[R]:
        """Listen for multihop sessions, too."""

    def close_multihop(self) -> None:
        """Listen for them no more."""

    def drain(
        self,
        receiver: R,
        now_us: int,
        repeats: Callable[..., bool],
        deliver: Callable[[bytes, RxMeta], None],
        /,
    ) -> None:
        """Hand over what waits in one of them, up to a limit."""

    def heard_until_us(self) -> int:
        """Up to when everything that arrived has been read."""

    def send(self, key: SessionKey, discr: int, wire: bytes, /) -> str | None:
        """Send, or name the error."""

    def forget(self, discr: int, /) -> None:
        """Close what belongs to a session."""


class Driver(Generic[R]):
    """Runs an engine. `clock` is the loop's clock in whole microseconds.

    `on_end` is called once, when a draining engine has no session left; `on_news` whenever a
    successor of this engine would have to know more than before (`Engine.news`, the generation,
    that it drains). `recorder` keeps the history; the default one knows nothing of the process.
    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport[R],
        loop: Loop,
        clock: Callable[[], int],
        on_end: Callable[[], None],
        recorder: Recorder | None = None,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.recorder = recorder or Recorder(engine, time.time)
        self._transport = transport
        self._loop = loop
        self._clock = clock
        self._on_end = on_end
        self._on_news = on_news
        self._timer: Handle | None = None
        self._armed_us = NEVER_US
        self._now_us = 0
        self._watchers: set[Watcher] = set()
        self._breathless = 0
        self._watched: set[R] = set()
        self._forming: set[Session] = set()
        """Sessions in Init: an Up of their peers is no repetition and cannot wait."""
        self._commit_lock = asyncio.Lock()
        self._wanted: Collection[SessionConfig] | None = None
        self._key_files = KeyFiles()
        self._has_keys = asyncio.Event()

    @property
    def receivers(self) -> Sequence[R]:
        """The receiving sockets."""
        return self._transport.receivers

    @property
    def key_faults(self) -> tuple[str, ...]:
        """Which key files cannot be used, so that their sessions keep the keys of before."""
        return self._key_files.faults

    # Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        for receiver in self._transport.receivers:
            if not receiver.patient:
                self._watch(receiver)
        self._arm()

    def stop(self) -> None:
        """Neither read nor wake up any more. Nothing is sent."""
        for receiver in tuple(self._watched):
            self._ignore(receiver)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed_us = NEVER_US

    @contextlib.asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """While no set is being committed, and no session lingers that has left the set.

        Raises Draining.
        """
        async with self._commit_lock:
            while self.engine.lingers:
                self._refuse_when_draining()
                await asyncio.sleep(_SETTLE_S)
            self._refuse_when_draining()
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
        if self.engine.draining:
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
        self._listen(multihop=any(config.key.multihop for config in wanted))
        change = self.engine.changes(wanted)
        for first in range(0, len(change.remove), _SLICE):
            self._refuse_when_draining()
            for key in change.remove[first : first + _SLICE]:
                self._finish(self.engine.remove(key, self._clock(), "removed from the set"))
            await asyncio.sleep(0)
        for first in range(0, len(change.put), _SLICE):
            self._refuse_when_draining()
            for config in change.put[first : first + _SLICE]:
                self._finish(self.engine.put(config, self._clock()))
            await asyncio.sleep(0)
        self._refuse_when_draining()
        self.engine.generation = generation
        self._on_news()
        return len(change.put), len(change.remove)

    def _listen(self, *, multihop: bool) -> None:
        """A port that nobody needs is not open; sessions that linger need no answers."""
        listening = tuple(each for each in self._transport.receivers if each.multihop)
        if multihop and not listening:
            for receiver in self._transport.open_multihop():
                if self._forming or not receiver.patient:
                    self._watch(receiver)
        elif listening and not multihop:
            for receiver in listening:
                self._ignore(receiver)
            self._transport.close_multihop()

    def override(self, key: SessionKey, override: Override) -> None:
        """Lay an override over a session at once. Raises KeyError (see `Engine`) and Draining."""
        self._refuse_when_draining()
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
        if self.engine.draining:
            return
        log.info("draining %d sessions", len(self.engine.sessions()))
        for effect in self.engine.drain(self._clock()):
            self._perform(effect)
        self._on_news()
        self._finish(None)

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each session that changes; it must not block."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Undo `watch`."""
        self._watchers.discard(watcher)

    def _refuse_when_draining(self) -> None:
        if self.engine.draining:
            raise Draining("the engine is draining; it takes no sessions any more")

    # Stimuli --------------------------------------------------------------------------------

    def _on_readable(self, receiver: R) -> None:
        late_us = self._clock() - self._armed_us
        if late_us > 0:
            # What is read now may tell of the consequences, before the timer is called.
            self.engine.worst.note(self._armed_us + late_us, late_us)
        if not receiver.patient:
            self._read_patient()
        self._read(receiver)
        if receiver.emptied_us >= self._now_us:
            self._breathless = 0
            if receiver.patient and not self._forming:
                self._ignore(receiver)
        else:
            self._breathless += 1
            if self._breathless >= _BREATHLESS_TURNS:
                self._breathless = 0
                self._ignore(receiver)
                self._loop.call_later(_BREATH_S, self._resume_reading, receiver)
        self._arm()

    def _resume_reading(self, receiver: R) -> None:
        if receiver in self._transport.receivers:
            self._watch(receiver)

    def _watch(self, receiver: R) -> None:
        if receiver not in self._watched:
            self._watched.add(receiver)
            self._loop.add_reader(receiver.fileno(), self._on_readable, receiver)

    def _ignore(self, receiver: R) -> None:
        if receiver in self._watched:
            self._watched.remove(receiver)
            self._loop.remove_reader(receiver.fileno())

    def _on_due(self) -> None:
        self._timer = None
        self._armed_us = NEVER_US
        self.recorder.awake(self._clock())
        self._expire()
        self._read_patient()
        if self.engine.must_read:
            for receiver in self._transport.receivers:
                if not receiver.patient:
                    self._read(receiver)
            self._expire()
        self._finish(None)

    def _expire(self) -> None:
        for effect in self.engine.expire(self._clock(), self._transport.heard_until_us()):
            self._perform(effect)

    def _read_patient(self) -> None:
        for receiver in self._transport.receivers:
            if receiver.patient:
                self._read(receiver)
                if receiver.emptied_us < self._now_us:
                    # A flood: no longer something that can wait.
                    self._watch(receiver)

    def _read(self, receiver: R) -> None:
        self._now_us = self._clock()
        self._transport.drain(receiver, self._now_us, self.engine.repeats, self._deliver)

    def _deliver(self, data: bytes, meta: RxMeta) -> None:
        effect = self.engine.receive(data, meta, self._now_us)
        if effect is not None:
            self._perform(effect)

    # Effects --------------------------------------------------------------------------------

    def _finish(self, effect: Effect | None) -> None:
        if effect is not None:
            self._perform(effect)
        self._arm()
        if self.engine.draining and self.engine.is_empty:
            self._on_end()

    def _perform(self, effect: Effect) -> None:
        session, actions = effect
        for action in actions:
            match action:
                case Transmit(wire):
                    error = self._transport.send(session.key, session.local_discr, wire)
                    if error is None:
                        session.tx_packets += 1
                    else:
                        session.not_sent(error, self._clock())
                case StateChanged():
                    self._note_forming(session)
                    self._publish(session, action)
                case Ended():
                    self._transport.forget(session.local_discr)

    def _note_forming(self, session: Session) -> None:
        if session.state is not State.INIT:
            self._forming.discard(session)
            return
        self._forming.add(session)
        for receiver in self._transport.receivers:
            self._watch(receiver)

    def _publish(self, session: Session, change: StateChanged) -> None:
        transition = self.recorder.changed(session, change, self._clock())
        log.info(
            "session %s: %s -> %s (%s; diagnostic %s)",
            session.key,
            change.old.name,
            change.new.name,
            change.reason,
            change.diag.name,
            extra={
                "fields": {
                    "local": session.key.local,
                    "peer": session.key.peer,
                    "interface": session.key.interface,
                    "multihop": session.key.multihop,
                    "old": change.old.name,
                    "new": change.new.name,
                    "diagnostic": change.diag.name,
                    "evidence": {
                        "session": transition.session.to_json(),
                        "process": transition.process.to_json(),
                    },
                }
            },
        )
        for watcher in tuple(self._watchers):
            watcher(session)

    def _arm(self) -> None:
        if self.engine.news:
            self._on_news()
        due_us = min(self.engine.next_due_us(), self._read_by_us())
        if due_us >= self._armed_us or due_us >= NEVER_US:
            # The handle fires at the right time or too early, and then arms itself anew.
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_us = due_us
        self._timer = self._loop.call_at(due_us / 1_000_000, self._on_due)

    def _read_by_us(self) -> int:
        if any(receiver.patient for receiver in self._transport.receivers):
            return self._now_us + _READ_AT_LEAST_US
        return NEVER_US
