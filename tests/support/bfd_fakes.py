"""Stand-ins for loop and transport, so that a driver runs on a clock that a test sets."""

from collections import deque
from collections.abc import Callable
from typing import Any

from bfd.config import SessionKey
from bfd.packet import RxMeta
from bfd.transport import TransportError

START = 10**9


class FakeClock:
    """Whole microseconds, set by the test."""

    def __init__(self) -> None:
        self.now_us = START

    def __call__(self) -> int:
        return self.now_us


class FakeHandle:
    """A timer of `FakeLoop`."""

    def __init__(self, at_us: int, callback: Callable[[], None]) -> None:
        self.at_us = at_us
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Timers and readers, called when the test says so; late, if it says so late."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.timers: list[FakeHandle] = []
        self.readers: dict[int, Callable[[], None]] = {}

    def call_at(self, when: float, callback: Callable[[], None], /) -> FakeHandle:
        handle = FakeHandle(round(when * 1_000_000), callback)
        self.timers.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., None], /, *args: Any) -> FakeHandle:
        at = (self._clock.now_us + round(delay * 1_000_000)) / 1_000_000
        return self.call_at(at, lambda: callback(*args))

    def add_reader(self, fd: int, callback: Callable[..., None], /, *args: Any) -> None:
        self.readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int, /) -> bool:
        return self.readers.pop(fd, None) is not None

    @property
    def armed(self) -> list[FakeHandle]:
        """Timers that are neither called off nor past."""
        self.timers = [t for t in self.timers if not t.cancelled]
        return self.timers

    def fire(self) -> bool:
        """Call one timer that is due; False if there is none."""
        due = [t for t in self.armed if t.at_us <= self._clock.now_us]
        if not due:
            return False
        handle = min(due, key=lambda t: t.at_us)
        self.timers.remove(handle)
        handle.callback()
        return True

    def run_until(self, end_us: int) -> None:
        """Fire timers at their times."""
        while self.armed and min(t.at_us for t in self.armed) <= end_us:
            self._clock.now_us = max(self._clock.now_us, min(t.at_us for t in self.armed))
            self.fire()
        self._clock.now_us = end_us


class FakeReceiver:
    """A socket's worth of waiting packets."""

    def __init__(self, fd: int, *, multihop: bool = False, patient: bool = False) -> None:
        self.fd = fd
        self.multihop = multihop
        self.patient = patient
        self.emptied_us = START
        self.heard_until_us = START
        self.label = f"fd{fd}"
        self.overflows = 0
        self.waiting: deque[tuple[bytes, RxMeta]] = deque()

    def fileno(self) -> int:
        return self.fd


class FakeTransport:
    """Packets in `receivers[n].waiting`, packets out in `sent`; `error` refuses to send."""

    def __init__(self, clock: FakeClock, batch: int = 256) -> None:
        self._clock = clock
        self._batch = batch
        self.receivers = [FakeReceiver(4), FakeReceiver(6)]
        self.sent: list[tuple[int, SessionKey, bytes]] = []
        self.forgotten: list[int] = []
        self.error: str | None = None
        self.port_is_taken = False
        self.drains = 0

    def open_multihop(self) -> list[FakeReceiver]:
        if self.port_is_taken:
            raise TransportError("UDP port 4784 is in use")
        opened = [FakeReceiver(14, multihop=True), FakeReceiver(16, multihop=True)]
        self.receivers += opened
        return opened

    def close_multihop(self) -> None:
        self.receivers = [each for each in self.receivers if not each.multihop]

    def drain(
        self,
        receiver: FakeReceiver,
        now_us: int,
        repeats: Callable[..., bool],
        deliver: Callable[[bytes, RxMeta], None],
        /,
    ) -> None:
        self.drains += 1
        for _ in range(self._batch):
            if not receiver.waiting:
                receiver.emptied_us = receiver.heard_until_us = now_us
                return
            data, meta = receiver.waiting.popleft()
            receiver.heard_until_us = max(receiver.heard_until_us, meta.at_us)
            if not repeats(data, meta.ttl, meta.at_us, multihop=meta.multihop):
                deliver(data, meta)

    def heard_until_us(self) -> int:
        return min(r.heard_until_us for r in self.receivers)

    def send(self, key: SessionKey, discr: int, wire: bytes, /) -> str | None:
        if self.error is None and discr:
            self.sent.append((self._clock.now_us, key, wire))
        return self.error

    def forget(self, discr: int, /) -> None:
        self.forgotten.append(discr)
