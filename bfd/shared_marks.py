"""The marks of a running engine (`bfd.marks`), in memory that outlives it.

A killed engine cannot say any more when it heard its peers, and yet its successor has to judge
their silence to the millisecond. So the array is a file in /dev/shm, mapped into memory. A file of
the runtime directory would do as well, but a store into a page of a file that is on a disk may have
to wait for the disk, and nothing in the engine may wait. The journal carries the name that is in
the array's head, so that nobody is misled by the marks of another engine.
"""

import contextlib
import mmap
import os
import secrets
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bfd.marks import AWAKE, ENTRIES, ENTRY, HEAD, KIND, NAME, SIZE, Marks
from bfd.protocol import MAX_SESSIONS

_MOST_ENTRIES = 2 * MAX_SESSIONS
"""Sessions that linger have entries, too; of the file only what is in use takes up memory."""
_BYTES = (HEAD + _MOST_ENTRIES * ENTRY) * SIZE
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - that everybody may write there is seen to


class SharedMarks(Marks):
    """Marks for the engine of one runtime directory. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = file_of(directory)
        # A new file: what an earlier engine noted was read before, and stays whole if it was not.
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        os.ftruncate(self._file, _BYTES)
        self._reached = 0
        self._reach(HEAD)
        self.values = memoryview(mmap.mmap(self._file, _BYTES)).cast("q")
        self.values[0] = KIND
        self.rename()

    def rename(self) -> None:
        """Belong to no journal that was written so far."""
        self.values[NAME] = secrets.randbits(62) | 1

    def close(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Inside a successor takes the file's name; if that fails, it is ours again."""
        aside = self._path.with_name(f"{self._path.name}.aside")
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
            aside.hardlink_to(self._path)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                aside.replace(self._path)
            raise
        with contextlib.suppress(OSError):
            aside.unlink()

    def _reach(self, index: int) -> None:
        # Memory is asked for here, where a refusal is an error: a store into a page that cannot
        # be had would end the process (SIGBUS).
        end = (index + 1) * SIZE
        if end > self._reached:
            self._reached = -(-end // mmap.PAGESIZE) * mmap.PAGESIZE
            os.posix_fallocate(self._file, 0, self._reached)


class Mark(NamedTuple):
    """What was noted about a session."""

    heard_us: int
    xmit_auth_seq: int
    rcv_auth_seq: int


class Heard(NamedTuple):
    """What an earlier engine had noted, in microseconds of the monotonic clock."""

    awake_us: int
    by_discr: Mapping[int, Mark]


def read(directory: Path, name: int) -> Heard | None:
    """The marks that an earlier engine of this directory left under `name`, if they are there."""
    try:
        file = os.open(file_of(directory), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(file, "rb") as reader:
            if os.fstat(file).st_uid != os.geteuid():
                return None
            head = array("q", reader.read(HEAD * SIZE))
            if len(head) < HEAD or head[0] != KIND or head[NAME] != name:
                return None
            count = min(max(head[ENTRIES], 0), _MOST_ENTRIES)
            entries = array("q", reader.read(count * ENTRY * SIZE))
    except (OSError, ValueError):
        return None
    discrs, *rest = (entries[first::ENTRY] for first in range(ENTRY))
    return Heard(head[AWAKE], dict(zip(discrs, map(Mark, *rest), strict=False)))


def file_of(directory: Path) -> Path:
    """Where the marks of a runtime directory are."""
    status = directory.stat()
    return _SHARED_MEMORY / f"vegd-bfd-{status.st_dev:x}-{status.st_ino:x}"
