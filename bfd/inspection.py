"""What a client of the control socket may look at: sessions, history, and two streams.

Answers come in pages, so that no question holds up the engine. A watcher that reads slowly costs
nothing but memory for one mark per session: what is sent is the newest state at the time of
sending, and a burst of changes becomes its result. A follower of events is sent every transition;
one that falls behind the history is told how many it has missed. Whoever takes nothing at all is
cut off, as connections are few.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from bfd import protocol
from bfd.driver import Watcher
from bfd.engine import Engine
from bfd.history import Transition
from bfd.protocol import Json, ProtocolError, dump
from bfd.recorder import Recorder
from bfd.session import Session
from bfd.snapshot import EngineSnapshot, SessionSnapshot

Stream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Host(Protocol):
    """What is looked at: `bfd.driver.Driver`, which documents it."""

    @property
    def engine(self) -> Engine:
        """The engine that it drives."""

    @property
    def recorder(self) -> Recorder:
        """Who keeps the history."""

    def watch(self, watcher: Watcher, /) -> None:
        """Be told of changes."""

    def unwatch(self, watcher: Watcher, /) -> None:
        """Be told no more."""


class Views(Protocol):
    """How the engine is shown to clients; the service knows the clocks and the process."""

    def head(self) -> EngineSnapshot:
        """The engine without its sessions."""

    def session(self, session: Session, /) -> SessionSnapshot:
        """One session."""


class Inspection:
    """One client's looks at the engine. `patience_s` is how long it may take nothing."""

    def __init__(self, host: Host, views: Views, patience_s: float) -> None:
        self._host = host
        self._views = views
        self._patience_s = patience_s
        self._paged: tuple[Session, ...] = ()
        self._listed: tuple[Transition, ...] = ()
        self._after = 0
        self.stream: Stream | None = None
        """What to go on with after the answer, once the client has asked for it."""
        self.operations: dict[object, Callable[[Json], Awaitable[Json]]] = {
            "snapshot": self._snapshot,
            "page": self._page,
            "history": self._history,
            "watch": self._watch,
            "events": self._events,
            "clear": self._clear,
        }

    async def _snapshot(self, _message: Json) -> Json:
        self._paged = self._host.engine.sessions()
        return {"head": self._views.head().head_to_json(), "count": len(self._paged)}

    async def _page(self, message: Json) -> Json:
        start = protocol.integer(message, "from")
        end = start + protocol.PAGE
        return {
            "sessions": [self._views.session(s).to_json() for s in self._paged[start:end]],
            "next": end if end < len(self._paged) else None,
        }

    async def _history(self, message: Json) -> Json:
        start = protocol.integer(message, "from")
        if start == 0:
            peer = protocol.optional_text(message, "peer")
            self._listed = self._host.recorder.history.of(peer)
        end = start + protocol.PAGE
        return {
            "transitions": [transition.to_json() for transition in self._listed[start:end]],
            "next": end if end < len(self._listed) else None,
        }

    async def _clear(self, message: Json) -> Json:
        peer = protocol.optional_text(message, "peer")
        cleared = self._host.engine.clear_counters(peer)
        if peer is not None and not cleared:
            raise ProtocolError(f"peer: there is no session with {peer!r}")
        return {"sessions": cleared}

    async def _watch(self, _message: Json) -> Json:
        self.stream = self._push_changes
        return {}

    async def _events(self, message: Json) -> Json:
        newest = self._host.recorder.history.seq
        resumed = "after" in message
        self._after = protocol.integer(message, "after", high=newest) if resumed else newest
        self.stream = self._push_transitions if resumed else self._push_events
        return {"seq": self._after, "pid": os.getpid()}

    # Streams --------------------------------------------------------------------------------

    async def _push_changes(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        changed = dict.fromkeys(self._host.engine.sessions())
        something = asyncio.Event()
        something.set()

        def note(session: Session) -> None:
            changed[session] = None
            something.set()

        async def pump() -> None:
            while await something.wait():
                while changed:
                    session = next(iter(changed))
                    del changed[session]
                    await self._push({"session": self._views.session(session).to_json()}, writer)
                something.clear()

        await self._until_gone(note, pump(), reader)

    async def _push_events(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for session in self._host.engine.sessions():
            await self._push({"session": self._views.session(session).to_json()}, writer)
        await self._push_transitions(reader, writer)

    async def _push_transitions(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        something = asyncio.Event()
        something.set()

        def note(_session: Session) -> None:
            something.set()

        async def pump() -> None:
            while await something.wait():
                something.clear()
                lost, transitions = self._host.recorder.history.after(self._after)
                if lost:
                    await self._push({"lost": lost}, writer)
                for transition in transitions:
                    await self._push({"transition": transition.to_json()}, writer)
                    self._after = transition.seq

        await self._until_gone(note, pump(), reader)

    async def _push(self, message: Json, writer: asyncio.StreamWriter) -> None:
        writer.write(dump(message))
        await flush(writer, self._patience_s)
        await asyncio.sleep(0)

    async def _until_gone(
        self,
        note: Watcher,
        pump: Coroutine[Any, Any, None],
        reader: asyncio.StreamReader,
    ) -> None:
        self._host.watch(note)
        pumping = asyncio.create_task(pump)
        hearing = asyncio.create_task(_hear_out(reader))
        try:
            await asyncio.wait((pumping, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._host.unwatch(note)
            pumping.cancel()
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await pumping


async def _hear_out(reader: asyncio.StreamReader) -> None:
    """Whatever a follower says is ignored; that it hangs up is not."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(protocol.LINE_LIMIT):
            pass


async def flush(writer: asyncio.StreamWriter, patience_s: float) -> None:
    """Wait until the client has taken most of what it was sent. Raises TimeoutError."""
    async with asyncio.timeout(patience_s):
        await writer.drain()
