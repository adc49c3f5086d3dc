"""``vegd capture`` as a running process."""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.netns import inside

VEGD = str(Path(sys.executable).with_name("vegd"))


class Capture:
    """A running ``vegd capture``."""

    def __init__(self, ns: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            inside(ns, VEGD, "capture", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self, within_s: float = 20) -> str | None:
        """The next line, or None."""
        with contextlib.suppress(queue.Empty):
            return self._lines.get(timeout=within_s)
        return None

    def json(self) -> dict[str, Any]:
        """The next line, which must come and be JSON."""
        line = self.line()
        assert line is not None, "no line"
        return dict(json.loads(line))

    def end(self, number: int = 0) -> tuple[int, list[str], str]:
        """Exit status and what else was printed, after a signal or by itself."""
        if number:
            self.process.send_signal(number)
        status = self.process.wait(20)
        self._reader.join(20)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        with self.process.stderr as stream:
            err = stream.read()
        lines = []
        while (line := self.line(0)) is not None:
            lines.append(line)
        return status, lines, err


@contextlib.contextmanager
def capturing(ns: str, knock: Callable[[], object], *arguments: str) -> Iterator[Capture]:
    """A capture that listens: `knock` is repeated until its packet shows."""
    capture = Capture(ns, *arguments)
    try:
        deadline = time.monotonic() + 30
        while capture.line(0.2) is None:
            assert capture.process.poll() is None, capture.end()
            assert time.monotonic() < deadline, "nothing is captured"
            knock()
        yield capture
    finally:
        if capture.process.poll() is None:
            capture.end(signal.SIGKILL)
