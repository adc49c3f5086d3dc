"""From news of connections to records: which events, which connections, how many a second."""

import time

from dataplane.conntrack_events import Tracked
from vegd.observer.config import Log
from vegd.observer.filters import Filter, compiled
from vegd.observer.limit import TokenBucket
from vegd.observer.records import Identity, line
from vegd.observer.writer import RecordWriter


class FlowLog:
    """Follows the configuration; nothing is logged before the first."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer
        self._events: frozenset[str] = frozenset()
        self._is_wanted: Filter = lambda _: False
        self._bucket = TokenBucket(1, 1, 0.0)
        self._identity = Identity()

    def configure(self, wish: Log, identity: Identity) -> None:
        """From now on. The bucket is full again."""
        self._events = frozenset(wish.events or ("start", "end")) if wish.enabled else frozenset()
        self._is_wanted = compiled(wish.filters)
        limit = wish.rate_limit
        self._bucket = TokenBucket(limit.records_per_second, limit.burst, time.monotonic())
        self._identity = identity

    def tell(self, event: str, tracked: Tracked) -> None:
        """Log it, if it is asked for and within the limit."""
        if event not in self._events or not self._is_wanted(tracked):
            return
        if self._bucket.take(time.monotonic()):
            self._writer.put(event, line(event, tracked, self._identity, time.time()))
        else:
            self._writer.drops["rate_limit"] += 1
