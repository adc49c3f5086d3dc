"""How this process is doing, as far as the kernel tells: throttled, or waiting for a processor."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from bfd.cgroup import Throttling


class Vitals(NamedTuple):
    """Counters since the start; None where the kernel does not tell."""

    throttled_periods: int | None = None
    throttled_us: int | None = None
    waited_us: int | None = None
    """Ready to run, but without a processor."""


class VitalsReader:
    """Reads the vitals of the thread that makes it: two small files, some 10 microseconds."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._throttling = Throttling(proc / "self")
        self._schedstat: int | None = None
        with contextlib.suppress(OSError):
            path = proc / "thread-self" / "schedstat"
            self._schedstat = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the files."""
        self._throttling.close()
        if self._schedstat is not None:
            os.close(self._schedstat)
            self._schedstat = None

    def cpu_limit(self) -> float | None:
        """The CPU quota in processors; None when there is none."""
        return self._throttling.limit()

    def read(self) -> Vitals:
        """The vitals now."""
        throttled = self._throttling.read()
        periods, us = (None, None) if throttled is None else throttled
        return Vitals(periods, us, self._waited_us())

    def _waited_us(self) -> int | None:
        if self._schedstat is None:
            return None
        try:
            return int(os.pread(self._schedstat, 100, 0).split()[1]) // 1000
        except (OSError, ValueError, IndexError):
            return None
