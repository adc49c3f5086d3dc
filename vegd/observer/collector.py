"""Reads the kernel's connection tracking into the book and tells the flow log what is news.

One session lasts until something fails or nobody asks for connections any more. Its events are read
as they come, some hundred a turn of the loop, so that a flood leaves room for whoever asks. A look
at the whole table is taken at the beginning, soon after events were lost, and now and then, for
bytes of connections that go on and ends that the kernel does not tell; looks take a small share of
the time, however large the table is.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter

from dataplane.conntrack_events import Events, tells, tracked_now
from dataplane.errors import DataplaneError
from dataplane.nfnetlink import Channel
from vegd.observer.book import FlowBook
from vegd.observer.flowlog import FlowLog

log = logging.getLogger(__name__)

RECEIVE_BYTES = 32 << 20
_SMALLEST_MESSAGE = 512
"""What a message takes of the receive buffer at least."""
_TURN = 256
_GATHER_S = 0.02
_RETRY_S = 2.0
_PERIOD_S, _PERIOD_FACTOR = 15.0, 49
_AFTER_LOSS_S, _AFTER_LOSS_FACTOR = 1.0, 4
"""Between looks: so long, or so many times as long as the one before took, if that is more."""
_COMPLAINT_S = 60.0


class Collector:
    """Runs while it is switched on."""

    def __init__(self, book: FlowBook, flow_log: FlowLog, receive_bytes: int) -> None:
        self.is_up = False
        self.events = Counter({"new": 0, "end": 0, "lost": 0})
        """What the kernel has told of connections with NAT, and `lost`: what it told in vain."""
        self.errors = Counter({"session": 0, "receive": 0})
        """By what went wrong."""
        self._book = book
        self._log = flow_log
        self._receive_bytes = receive_bytes
        self._is_on = False
        self._has_lost = False
        """Since the newest look began."""
        self._lost = 0
        """Of this session, as far as reckoned."""
        self._wake = asyncio.Event()
        self._complained_at = -_COMPLAINT_S
        self._next: asyncio.Handle | None = None
        """What comes next of reading events, unless they are waited for."""

    def switch(self, *, on: bool) -> None:
        """Collect from now on, or do not."""
        self._is_on = on
        self._wake.set()

    async def run(self) -> None:
        """Collect whenever it is wanted, for ever."""
        said = ""
        while True:
            while not self._is_on:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._session()
                said = ""
            except (DataplaneError, OSError) as exc:
                self.errors["session"] += 1
                if said != (said := _words(exc)):
                    log.warning("connections cannot be watched: %s", said)
                await asyncio.sleep(_RETRY_S)

    async def _session(self) -> None:
        if not tells():
            raise DataplaneError("net.netfilter.nf_conntrack_events is 0; set it to 1")
        with contextlib.closing(Events(self._receive_bytes)) as events, Channel() as channel:
            self._listen(events)
            self._lost = 0
            try:
                while self._is_on:
                    begin = time.monotonic()
                    await self._look(events, channel)
                    await self._pause(time.monotonic() - begin)
            finally:
                self.is_up = self._has_lost = False
                if self._next is not None:
                    self._next.cancel()
                asyncio.get_running_loop().remove_reader(events)
                self._book.clear()

    def _listen(self, events: Events) -> None:
        asyncio.get_running_loop().add_reader(events, self._on_news, events)

    def _on_news(self, events: Events) -> None:
        """Read all, and then let some gather: to wake up for each costs twice as much."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(events)
        is_more = True
        try:
            is_more = self._read(events)
        finally:
            # Also behind a message that nobody understands, which asyncio tells.
            if is_more:
                self._next = loop.call_soon(self._on_news, events)
            else:
                self._next = loop.call_later(_GATHER_S, self._listen, events)

    def _read(self, events: Events) -> bool:
        """Read some of what has come; returns whether there may be more."""
        count = 0
        try:
            for is_new, tracked in events.read(_TURN):
                count += 1
                if not tracked.nat:
                    continue
                self.events["new" if is_new else "end"] += 1
                news = self._book.begins(tracked) if is_new else self._book.ends(tracked)
                for event, what in news:
                    self._log.tell(event, what)
        except OSError:
            self.errors["receive"] += 1
            self._has_lost = True
            self._wake.set()
            return True
        return count == _TURN

    async def _look(self, events: Events, channel: Channel) -> None:
        """Look at the whole table."""
        had_lost, self._has_lost = self._has_lost, False
        self._book.look_begins()
        for place, tracked in enumerate(tracked_now(channel)):
            if tracked.nat:
                self._book.found(tracked)
            if place % _TURN == 0:
                await asyncio.sleep(0)
        for _ in range(self._receive_bytes // _SMALLEST_MESSAGE // _TURN + 1):
            if not self._read(events):
                break
            await asyncio.sleep(0)
        # At first there is no telling what was there before us from what was lost.
        lost = self.is_up and (had_lost or self._has_lost)
        for event, what in self._book.look_ends(lost=lost):
            self._log.tell(event, what)
        self.is_up = True
        if had_lost:
            self._reckon(events.lost())

    def _reckon(self, lost: int) -> None:
        """So many events of this session were lost."""
        self.events["lost"] += lost - self._lost
        self._lost = lost
        if time.monotonic() - self._complained_at > _COMPLAINT_S:
            self._complained_at = time.monotonic()
            log.warning(
                "%d events of connections were lost: they came faster than they are read. The "
                "table was read instead; what began and ended meanwhile is not known. Give the "
                "observer more CPU",
                lost,
            )

    async def _pause(self, took_s: float) -> None:
        """Until the next look is due, or none is wanted."""
        now = time.monotonic()
        due = now + max(_PERIOD_S, _PERIOD_FACTOR * took_s)
        soon = now + max(_AFTER_LOSS_S, _AFTER_LOSS_FACTOR * took_s)
        while self._is_on and now < (soon if self._has_lost else due):
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((soon if self._has_lost else due) - now):
                    await self._wake.wait()
            now = time.monotonic()


def _words(exc: Exception) -> str:
    if isinstance(exc, PermissionError):
        return "not permitted; give the container the capability NET_ADMIN"
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
