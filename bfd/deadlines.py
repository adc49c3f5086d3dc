"""A heap of deadlines that is corrected lazily.

Each item knows its own deadline (`due_us`). Moving it *later* costs nothing: the entry in the heap
is then too early, and is put back when it surfaces. Only moving it *earlier* pushes a new entry,
and the old one is recognised and dropped later. So no timer is cancelled per packet.
"""

from heapq import heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

from bfd.timing import NEVER_US


class Due(Protocol):
    """Something with a deadline. `queued_us` belongs to the queue: start it with NEVER_US."""

    due_us: int
    queued_us: int


D = TypeVar("D", bound=Due)


class DeadlineQueue(Generic[D]):
    """Items by deadline, in microseconds of whatever clock the items use."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, D]] = []
        self._count = 0

    def __len__(self) -> int:
        """Entries in the heap, outdated ones included."""
        return len(self._heap)

    def update(self, item: D) -> None:
        """Take note of the item's deadline; needed only when it is new or may be earlier."""
        due_us = item.due_us
        if due_us < item.queued_us:
            item.queued_us = due_us
            # The running number keeps the order of equal deadlines and spares comparing items.
            self._count += 1
            heappush(self._heap, (due_us, self._count, item))

    def pop_due(self, now_us: int) -> list[D]:
        """Take out the items whose deadlines have come, in their order. `update` puts one back."""
        due = []
        while self.next_due_us() <= now_us:
            _, _, item = heappop(self._heap)
            item.queued_us = NEVER_US
            due.append(item)
        return due

    def next_due_us(self) -> int:
        """The earliest deadline, exact; NEVER_US when there is none."""
        heap = self._heap
        while heap:
            queued_us, _, item = heap[0]
            due_us = item.due_us
            if queued_us != item.queued_us or due_us >= NEVER_US:
                heappop(heap)
                if queued_us == item.queued_us:
                    item.queued_us = NEVER_US
            elif due_us > queued_us:
                item.queued_us = due_us
                self._count += 1
                heapreplace(heap, (due_us, self._count, item))
            else:
                return queued_us
        return NEVER_US
