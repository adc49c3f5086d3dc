"""The turns of an engine: read, judge, send, and say when it is to be called again.

Every stimulus ends the same way: what the engine asks for is carried out, and the waiter is given
the engine's next deadline. Before any silence is judged the sockets are read, and the engine is
told how far that reading got (`heard_until_us`); a pause of this process is then not mistaken for
one of the peer. A receiver whose packets can wait is not watched, but read whenever the engine is
awake and before the urgent one of its port, so that the order of packets is kept. Packets leave
before anything is told about them. Waiter, clock and transport are handed in.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from bfd.actions import Ended, StateChanged, Transmit
from bfd.config import SessionKey
from bfd.engine import Effect, Engine
from bfd.fsm import State
from bfd.packet import RxMeta
from bfd.recorder import Recorder
from bfd.session import Session
from bfd.timing import NEVER_US

log = logging.getLogger(__name__)

Watcher = Callable[[Session], None]

# After so many turns of reading without an empty socket the flood gets a pause of a millisecond:
# a process of a real-time class that never sleeps would keep everybody else from the processor.
_BREATHLESS_TURNS = 16
_BREATH_US = 1_000

_READ_AT_LEAST_US = 1_000_000
"""What can wait waits so long, so that the counters of an idle engine move."""


class Waiter(Protocol):
    """What calls the driver: `bfd.selector.EngineSelector`, which documents it."""

    due_us: int
    on_due: Callable[[], None]

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
        """Call whenever there is something to read."""

    def remove_reader(self, fd: int, /) -> None:
        """Do not call any more."""


class Readable(Protocol):
    """A receiving socket, as far as the driver cares."""

    emptied_us: int
    overflows: int
    multihop: bool
    patient: bool

    def fileno(self) -> int:
        """For the waiter."""


R = TypeVar("R", bound=Readable)


class Transport(Protocol[R]):
    """What the driver needs of `bfd.transport.UdpTransport`, which documents it."""

    @property
    def receivers(self) -> Sequence[R]:
        """The receiving sockets."""

    def open_multihop(self) -> None:
        """Listen for multihop sessions, too."""

    def close_multihop(self) -> None:
        """Listen for them no more."""

    def readable(self, now_us: int, /) -> Sequence[R]:
        """Those in which something waits; the others were empty at that time."""

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


class Turns(Generic[R]):
    """See the module; the parameters are those of `bfd.driver.Driver`."""

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
        self.engine = engine
        self.recorder = recorder or Recorder(engine, time.time)
        self._transport = transport
        self._waiter = waiter
        self._clock = clock
        self._on_end = on_end
        self._on_news = on_news
        self._now_us = 0
        self._untold: list[tuple[Session, StateChanged | Ended]] = []
        self._watchers: set[Watcher] = set()
        self._watched: set[R] = set()
        self._breathless = 0
        self._breathing_until_us = NEVER_US
        self._forming: set[Session] = set()
        """Sessions in Init: an Up of their peers is no repetition and cannot wait."""

    @property
    def receivers(self) -> Sequence[R]:
        """The receiving sockets."""
        return self._transport.receivers

    def start(self) -> None:
        """Begin to read."""
        self._waiter.on_due = self._on_due
        self._watch_all()
        self._arm()

    def stop(self) -> None:
        """Neither read nor wake up any more. Nothing is sent."""
        self._ignore_all()
        self._waiter.due_us = NEVER_US

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each session that changes; it must not block."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Undo `watch`."""
        self._watchers.discard(watcher)

    # Stimuli --------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        due_us = self._waiter.due_us
        late_us = self._clock() - due_us
        if late_us > 0:
            # What is read now may tell of the consequences, before the deadline is seen to.
            self.engine.worst.note(due_us + late_us, late_us)
        if self._read():
            self._breathless = 0
        else:
            self._breathless += 1
            if self._breathless >= _BREATHLESS_TURNS:
                self._breathless = 0
                self._ignore_all()
                self._breathing_until_us = self._now_us + _BREATH_US
        self._arm()

    def _on_due(self) -> None:
        now_us = self._clock()
        self.recorder.awake(now_us)
        if self._breathing_until_us <= now_us:
            self._breathing_until_us = NEVER_US
            self._watch_all()
        self._expire()
        self._read()
        if self.engine.must_read:
            self._expire()
        self._finish(None)

    def _expire(self) -> None:
        for effect in self.engine.expire(self._clock(), self._transport.heard_until_us()):
            self._begin(effect)
        self._tell()

    def _read(self) -> bool:
        """Read what waits; whether that was all."""
        now_us = self._now_us = self._clock()
        was_all = True
        for receiver in self._transport.readable(now_us):
            self._transport.drain(receiver, now_us, self.engine.repeats, self._deliver)
            if receiver.emptied_us < now_us:
                was_all = False
                if self._breathing_until_us == NEVER_US:
                    # A flood: no longer something that can wait.
                    self._watch(receiver)
            elif receiver.patient and not self._forming:
                self._ignore(receiver)
        return was_all

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
        self._begin(effect)
        self._tell()

    def _begin(self, effect: Effect) -> None:
        """Send, and put off the rest until `_tell`."""
        session, actions = effect
        for action in actions:
            if isinstance(action, Transmit):
                error = self._transport.send(session.key, session.local_discr, action.wire)
                if error is None:
                    session.tx_packets += 1
                else:
                    session.not_sent(error, self._clock())
            else:
                self._untold.append((session, action))

    def _tell(self) -> None:
        for session, action in self._untold:
            if isinstance(action, StateChanged):
                self._note_forming(session)
                self._publish(session, action)
            else:
                self._transport.forget(session.local_discr)
        self._untold.clear()

    def _note_forming(self, session: Session) -> None:
        if session.state is not State.INIT:
            self._forming.discard(session)
            return
        self._forming.add(session)
        self._watch_all()

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
        self._waiter.due_us = min(
            self.engine.next_due_us(), self._now_us + _READ_AT_LEAST_US, self._breathing_until_us
        )

    def _watch_all(self) -> None:
        for receiver in self._transport.receivers:
            if self._forming or not receiver.patient:
                self._watch(receiver)

    def _ignore_all(self) -> None:
        for receiver in tuple(self._watched):
            self._ignore(receiver)

    def _watch(self, receiver: R) -> None:
        if receiver not in self._watched:
            self._watched.add(receiver)
            self._waiter.add_reader(receiver.fileno(), self._on_readable)

    def _ignore(self, receiver: R) -> None:
        if receiver in self._watched:
            self._watched.remove(receiver)
            self._waiter.remove_reader(receiver.fileno())
