"""Keeps the journal on disk in step with the engine, off the loop.

The loop makes the lines of the sessions that have changed, a few at a time; a thread puts the whole
together, writes it beside the old one and renames it. What changes while the thread is busy goes
into the next writing, so that a burst becomes one. A disk that does not answer holds up nobody but
the thread. A journal that cannot be replaced must not be believed later: it is removed, and if that
is not possible either, or the disk is silent, the marks that go with it are given another name, so
that a successor takes every peer for silent since the journal was written.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bfd import journal
from bfd.config import SessionKey
from bfd.engine import Engine
from bfd.journal import Head, Identity
from bfd.session import Session

log = logging.getLogger(__name__)

_SLICE = 4
"""Lines made before the loop gets its turn: about a tenth of a millisecond."""
_REST = 2
"""Times the duration of a writing, before the next: much that changes is written less often."""
_LAST_S = 1.0
_SILENT_S = 1.0
"""A disk that takes longer for a journal is not waited for."""


class Keeper:
    """Writes `path` when `wake` was called; `head` and `port_of` say what the engine does not."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        engine: Engine,
        head: Callable[[], Head],
        port_of: Callable[[Session], int],
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._head = head
        self._port_of = port_of
        self._lines: dict[SessionKey, bytes] = {}
        self._busy = False
        self._writer = _Writer(path, engine.marks.rename)

    def wake(self) -> None:
        """Something has changed: `Engine.news`, what `head` returns, or that the engine drains.

        Of a draining engine nothing is to be resumed: the journal is removed.
        """
        if self._engine.draining:
            self._writer.put(None)
        elif not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._make_lines)

    def close(self) -> None:
        """Remove the journal: the engine ends in order, and nothing is to be resumed."""
        self._writer.end()

    def leave(self) -> None:
        """Write no more, and leave the journal where it is, for the successor to replace."""
        self._writer.leave()

    def _make_lines(self) -> None:
        news = self._engine.news
        for _ in range(min(_SLICE, len(news))):
            session = next(iter(news))
            del news[session]
            remembered = self._engine.remembered(session.key)
            if remembered is None:
                self._lines.pop(session.key, None)
            else:
                self._lines[session.key] = journal.session_line(remembered, self._port_of(session))
        if news:
            asyncio.get_running_loop().call_soon(self._make_lines)
            return
        self._busy = False
        if not self._engine.draining:
            first = journal.head_line(self._identity, self._head())
            self._writer.put((first, tuple(self._lines.values())))


_Contents = tuple[bytes, tuple[bytes, ...]] | None


class _Writer:
    """A thread that writes the newest contents it was given; None removes the file."""

    def __init__(self, path: Path, disown: Callable[[], None]) -> None:
        self._path = path
        self._disown = disown
        self._fresh = path.with_name(f"{path.name}.new")
        self._condition = threading.Condition()
        self._next: list[_Contents] = []
        self._ending = False
        self._failed = False
        self._since: float | None = None
        """When the writing began that is not done."""
        self._thread = threading.Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def put(self, contents: _Contents) -> None:
        with self._condition:
            if self._ending:
                return
            self._next = [contents]
            self._condition.notify()
            if self._since is not None and time.monotonic() - self._since > _SILENT_S:
                self._disown()

    def end(self) -> None:
        self._end([None])
        self._thread.join(_LAST_S)

    def leave(self) -> None:
        self._end([])

    def _end(self, last: list[_Contents]) -> None:
        with self._condition:
            self._next = last
            self._ending = True
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._next:
                    if self._ending:
                        return
                    self._condition.wait()
                contents = self._next.pop()
                ending = self._ending
            began = self._since = time.monotonic()
            try:
                self._write(contents)
                self._failed = False
            except OSError as exc:
                self._give_up()
                if not self._failed:
                    log.error(
                        "the journal %s cannot be written (%s): a restarted engine will not know "
                        "the sessions of now",
                        self._path,
                        exc.strerror,
                    )
                self._failed = True
            self._since = None
            if ending:
                return
            with self._condition:
                rest_s = _REST * (time.monotonic() - began)
                self._condition.wait_for(lambda: self._ending, rest_s)

    def _give_up(self) -> None:
        try:
            self._fresh.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        except OSError:
            self._disown()

    def _write(self, contents: _Contents) -> None:
        if contents is None:
            self._path.unlink(missing_ok=True)
            self._fresh.unlink(missing_ok=True)
            return
        file = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "wb") as writer:
            writer.write(journal.compose(*contents))
        self._fresh.replace(self._path)
