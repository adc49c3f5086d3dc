"""Stand-ins for waiter and transport, so that a driver runs on a clock that a test sets."""

from collections import deque
from collections.abc import Callable

from bfd.config import SessionKey
from bfd.packet import RxMeta
from bfd.timing import NEVER_US
from bfd.transport import TransportError

START = 10**9


class FakeClock:
    """Whole microseconds, set by the test."""

    def __init__(self) -> None:
        self.now_us = START

    def __call__(self) -> int:
        return self.now_us


class FakeWaiter:
    """A deadline and readers, called when the test says so; late, if it says so late."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.due_us = NEVER_US
        self.on_due: Callable[[], None] = lambda: None
        self.readers: dict[int, Callable[[], None]] = {}

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int, /) -> None:
        del self.readers[fd]

    def fire(self) -> bool:
        """Call if the deadline has come; False if it has not."""
        if self.due_us > self._clock.now_us:
            return False
        self.due_us = NEVER_US
        self.on_due()
        return True

    def run_until(self, end_us: int) -> None:
        """Meet the deadlines at their times."""
        while self.due_us <= end_us:
            self._clock.now_us = max(self._clock.now_us, self.due_us)
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

    def open_multihop(self) -> None:
        if self.port_is_taken:
            raise TransportError("UDP port 4784 is in use")
        self.receivers += [FakeReceiver(14, multihop=True), FakeReceiver(16, multihop=True)]

    def close_multihop(self) -> None:
        self.receivers = [each for each in self.receivers if not each.multihop]

    def readable(self, now_us: int, /) -> list[FakeReceiver]:
        for receiver in self.receivers:
            if not receiver.waiting:
                receiver.emptied_us = receiver.heard_until_us = now_us
        return [receiver for receiver in self.receivers if receiver.waiting]

    def drain(
        self,
        receiver: FakeReceiver,
        now_us: int,
        repeats: Callable[..., bool],
        deliver: Callable[[bytes, RxMeta], None],
        /,
    ) -> None:
        for _ in range(self._batch):
            if not receiver.waiting:
                receiver.emptied_us = receiver.heard_until_us = now_us
                return
            data, meta = receiver.waiting.popleft()
            receiver.heard_until_us = max(receiver.heard_until_us, meta.at_us)
            if not repeats(data, meta.ttl, meta.at_us, meta.multihop):
                deliver(data, meta)

    def heard_until_us(self) -> int:
        return min(r.heard_until_us for r in self.receivers)

    def send(self, key: SessionKey, discr: int, wire: bytes, /) -> str | None:
        if self.error is None and discr:
            self.sent.append((self._clock.now_us, key, wire))
        return self.error

    def forget(self, discr: int, /) -> None:
        self.forgotten.append(discr)
