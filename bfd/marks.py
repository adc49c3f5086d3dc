"""Where the engine notes when it heard each peer: an array of 64-bit integers.

One store per accepted packet, two more where there is authentication. The array starts with a head:
a mark of its kind, when the engine was last awake, how many entries have ever been in use, and a
name. Entries follow: discriminator, the time of the last packet on the monotonic clock in
microseconds, 0 for never, and the two sequence numbers of authentication (XmitAuthSeq, RcvAuthSeq).
In a process the array lies in shared memory and outlives the engine, see `bfd.shared_marks`.
"""

import contextlib
from array import array
from collections.abc import Iterator
from typing import Protocol

KIND = 0x76656764_62666401
HEAD = 4
ENTRY = 4
AWAKE, ENTRIES, NAME = 1, 2, 3
SIZE = 8
"""Bytes of an integer."""


class Values(Protocol):
    """An array, or a view of memory."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Marks:
    """The array, and who has which entry. This one is forgotten with the process."""

    def __init__(self) -> None:
        self._array = array("q", bytes(HEAD * SIZE))
        self.values: Values = self._array
        """Times are stored here, at the index that `take` gave."""
        self._free: list[int] = []

    @property
    def name(self) -> int:
        """What tells these marks from others that outlive their engine; 0 if they do not."""
        return self.values[NAME]

    def rename(self) -> None:
        """Belong to no journal that was written so far, because there is news in none of them."""

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Inside a successor begins to keep marks of its own; if that fails, ours hold on."""
        yield

    def take(self, discr: int) -> int:
        """An index into `values` for a session."""
        if self._free:
            index = self._free.pop()
        else:
            index = HEAD + self.values[ENTRIES] * ENTRY + 1
            self._reach(index + 2)
            self.values[ENTRIES] += 1
        self.values[index] = 0
        self.values[index - 1] = discr
        return index

    def give_back(self, index: int) -> None:
        """The session has gone."""
        self.values[index - 1] = 0
        self._free.append(index)

    def awake(self, now_us: int) -> None:
        """The engine is awake."""
        self.values[AWAKE] = now_us

    def close(self) -> None:
        """What outlives the process may go."""

    def _reach(self, index: int) -> None:
        self._array.extend([0] * (index + 1 - len(self._array)))
