"""Which translated connections there are, and what has become of them: from events, and from looks
at the whole table.

Events come in order, but some may be lost, and of a connection that was there before us the kernel
does not tell the end. A look puts that right: `look_begins`, `found` for each connection in the
table, `look_ends`, and in between events as they come. The end of a connection is told before it
leaves the table, so what a look has not found and no event has named by the end of the look (all
that had come being read) is gone. There is room for so many connections; the oldest makes way.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import Enum, auto

from dataplane.conntrack_events import Counters, Tracked
from vegd.observer.words import Kind, kind

CAPACITY = 65_536

_NOTHING = Counters(0, 0, 0, 0)

News = tuple[str, Tracked]
"""What may be logged: ``start`` or ``end``, and of what."""


class _Beginning(Enum):
    """How we know that a connection has begun."""

    EVENT = auto()
    LOOK = auto()
    """A look has found it, and it was told: its event was lost."""
    OPEN = auto()
    """The look that goes on has found it."""
    BEFORE = auto()
    """A look has found it without anything having been lost: it was there before us."""


class _Entry:
    __slots__ = ("beginning", "counted", "look", "tracked")

    def __init__(self, tracked: Tracked, counted: Counters, look: int) -> None:
        self.tracked = tracked
        self.beginning = _Beginning.OPEN
        self.counted = counted
        """How far it is in the sums."""
        self.look = look
        """The newest look that has found it, or after whose beginning it came."""


class FlowBook:
    """The connections, and the sums over all that were."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.evictions = 0
        self.active: Counter[Kind] = Counter()
        self.started: Counter[Kind] = Counter()
        self.ended: Counter[Kind] = Counter()
        self.packets: Counter[tuple[Kind, str]] = Counter()
        """Each way, `original` and `reply`."""
        self.octets: Counter[tuple[Kind, str]] = Counter()
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._look = 0
        self._ended_meanwhile: set[int] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget the connections, not the sums."""
        self._entries.clear()
        self.active.clear()
        self._ended_meanwhile = None

    def begins(self, tracked: Tracked) -> Iterator[News]:
        """An event."""
        entry = self._entries.get(tracked.key)
        if entry is not None and entry.beginning is _Beginning.LOOK:
            # The look was faster, and has told it.
            entry.beginning = _Beginning.EVENT
            return
        if entry is not None and entry.beginning is _Beginning.EVENT:
            # The kernel uses numbers again: the end of the one before was lost.
            yield self._end(entry.tracked)
            entry = None
        if entry is None:
            entry = self._add(tracked, _NOTHING)
        if self._ended_meanwhile is not None:
            self._ended_meanwhile.discard(tracked.key)
        yield self._start(entry, _Beginning.EVENT)

    def ends(self, tracked: Tracked) -> Iterator[News]:
        """An event."""
        if self._ended_meanwhile is not None:
            self._ended_meanwhile.add(tracked.key)
        if (entry := self._entries.get(tracked.key)) is not None:
            self._count(entry, tracked.counters)
        yield self._end(tracked)

    def look_begins(self) -> None:
        """From now on `found` is said of all connections in the table."""
        self._look += 1
        self._ended_meanwhile = set()

    def found(self, tracked: Tracked) -> None:
        """A look has come upon it."""
        if tracked.key in (self._ended_meanwhile or ()):
            return
        entry = self._entries.get(tracked.key)
        if entry is not None:
            entry.look = self._look
            self._count(entry, tracked.counters)
        elif len(self._entries) < self.capacity:
            self._add(tracked._replace(counters=None), tracked.counters or _NOTHING)

    def look_ends(self, *, lost: bool) -> Iterator[News]:
        """The whole table has been seen, and all events that came before its end. `lost` says
        whether events were lost since the look before."""
        self._ended_meanwhile = None
        for entry in [each for each in self._entries.values() if each.look < self._look]:
            yield self._end(entry.tracked)
        for entry in self._entries.values():
            if entry.beginning is _Beginning.OPEN:
                entry.beginning = _Beginning.BEFORE
                if lost:
                    yield self._start(entry, _Beginning.LOOK)

    def _add(self, tracked: Tracked, counted: Counters) -> _Entry:
        if len(self._entries) >= self.capacity:
            _, oldest = self._entries.popitem(last=False)
            self.active[kind(oldest.tracked)] -= 1
            self.evictions += 1
        entry = _Entry(tracked, counted, self._look)
        self._entries[tracked.key] = entry
        self.active[kind(tracked)] += 1
        return entry

    def _start(self, entry: _Entry, beginning: _Beginning) -> News:
        # What a look had found of it has passed since the beginning that is told now.
        found, entry.counted = entry.counted, _NOTHING
        self._count(entry, found)
        entry.beginning = beginning
        self.started[kind(entry.tracked)] += 1
        return "start", entry.tracked

    def _end(self, tracked: Tracked) -> News:
        if self._entries.pop(tracked.key, None) is not None:
            self.active[kind(tracked)] -= 1
        self.ended[kind(tracked)] += 1
        return "end", tracked

    def _count(self, entry: _Entry, now: Counters | None) -> None:
        if now is None or now == entry.counted:
            return
        before, entry.counted = entry.counted, now
        which = kind(entry.tracked)
        for place, way in ((0, "original"), (2, "reply")):
            self.packets[which, way] += max(0, now[place] - before[place])
            self.octets[which, way] += max(0, now[place + 1] - before[place + 1])
