"""Records to standard output, by a thread of its own: who does not read there holds up nobody else.

What finds no room in the queue is dropped and counted, and so is what cannot be written. A line
that an error has torn is ended before the next, so that a reader loses no other.
"""

import logging
import os
import queue
import select
import threading
from collections import Counter

log = logging.getLogger(__name__)

_CAPACITY = 4096
_BATCH = 256

_Item = tuple[str, bytes]


class RecordWriter:
    """Writes lines to a file descriptor. `put` and `close` are for one thread."""

    def __init__(self, descriptor: int, capacity: int = _CAPACITY) -> None:
        self.written = Counter({"start": 0, "end": 0})
        """Lines by event. The keys never change, so that another thread may read."""
        self.drops = Counter({"rate_limit": 0, "queue_full": 0, "write_error": 0})
        """Lines by reason."""
        self._descriptor = descriptor
        self._capacity = capacity
        self._accepted = 0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._is_torn = False
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="record writer", daemon=True)
        self._thread.start()

    def put(self, event: str, line: bytes) -> None:
        """Write it some time, or count it as dropped. Never waits."""
        if self._queue.qsize() < self._capacity:
            self._accepted += 1
            self._queue.put((event, line))
        else:
            self.drops["queue_full"] += 1

    def close(self, within_s: float) -> int:
        """Write what is queued, for so long at most; returns how many lines were left."""
        self._queue.put(None)
        self._thread.join(within_s)
        return self._accepted - self.written.total() - self.drops["write_error"]

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            is_open = item is not None
            self._write(batch)

    def _write(self, batch: list[_Item]) -> None:
        torn = b"\n" if self._is_torn else b""
        data = memoryview(torn + b"".join(line for _, line in batch))
        length, problem = len(data), ""
        try:
            while data:
                data = data[self._write_some(data) :]
        except OSError as exc:
            problem = exc.strerror or str(exc)
        self._settle(batch, length - len(data) - len(torn))
        if problem != self._problem:
            self._problem = problem
            log.warning("flow records: %s", f"dropped, {problem}" if problem else "written again")

    def _write_some(self, data: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                # Somebody shares the descriptor with us and has made it so.
                select.select([], [self._descriptor], [])

    def _settle(self, batch: list[_Item], octets: int) -> None:
        """Count the lines, of which so many octets were written; -1: not even the end of what was
        torn before."""
        end = whole = 0
        for event, line in batch:
            end += len(line)
            if end <= octets:
                self.written[event] += 1
                whole = end
            else:
                self.drops["write_error"] += 1
        if octets >= 0:
            self._is_torn = whole < octets
