"""The engine's end of the control socket: see `bfd.protocol` for what is said.

Each connection is a task of its own that works on small requests, so that no client can hold up
the engine; what a client may look at is in `bfd.inspection`. While nobody who has committed a set
is connected, the hold time runs; at its end every session is disabled, until an agent commits
again.
"""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from bfd import inspection, protocol
from bfd.config import SessionConfig, SessionKey
from bfd.driver import Draining
from bfd.fsm import Diagnostic
from bfd.handover import HandoverError
from bfd.hold import HoldTime
from bfd.inspection import Inspection, Views, flush
from bfd.listening import listen
from bfd.override import Override
from bfd.protocol import Json, ProtocolError, dump
from bfd.snapshot import config_from_json, key_from_json
from bfd.transport import TransportError
from bfd.unsolicited import Invitation

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 32
_WRITE_BUFFER = 16_384
_TIDY_UP_EVERY = 32
# From Python 3.13 on a server would remove its socket itself, also one that goes on elsewhere.
_KEEP_THE_NAME: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class ControlSocketError(Exception):
    """The control socket cannot be opened; the message says why."""


class Host(inspection.Host, Protocol):
    """What the control socket controls: `bfd.driver.Driver`, which documents it."""

    async def commit(self, wanted: list[SessionConfig], generation: int, /) -> tuple[int, int]:
        """Put a set in force."""

    def invite(self, invitations: list[Invitation], /) -> None:
        """Let peers begin sessions."""

    def override(self, key: SessionKey, override: Override, /) -> None:
        """Lay an override over a session."""

    def drain(self) -> None:
        """Send AdminDown and end."""


class Successions(Protocol):
    """Who can hand the engine over: `bfd.service.Service`, which documents it."""

    async def hand_over(self) -> int:
        """Let another process go on; its number."""

    def end(self) -> None:
        """It has been told to those who asked: this process may end."""


class ControlServer:
    """Listens on the Unix socket `path` (mode 0600). `hold_s` is the hold time; 0 is for ever.

    A client that takes nothing of what it is sent for `patience_s` is cut off. `on_news` is called
    when an agent came or the last one left.
    """

    def __init__(
        self,
        path: Path,
        host: Host,
        views: Views,
        hold_s: float,
        patience_s: float = 30.0,
        on_news: Callable[[], None] = lambda: None,
        successions: Successions | None = None,
    ) -> None:
        self._path = path
        self._successions = successions
        self._socket: socket.socket | None = None
        """A second descriptor of the listening socket, which the server keeps to itself."""
        self._inode = 0
        self._host = host
        self._views = views
        self._hold_s = hold_s
        self._patience_s = patience_s
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._served = 0
        self.hold = HoldTime(hold_s, self._disable_all, on_news)

    async def start(self, inherited: socket.socket | None = None) -> None:
        """Begin to listen, on a socket of an engine that hands over if there is one.

        Raises ControlSocketError, also when another engine listens there.
        """
        try:
            sock = inherited or listen(self._path)
            self._inode = self._path.stat().st_ino
        except OSError as exc:
            raise ControlSocketError(f"control socket {self._path}: {exc.strerror or exc}") from exc
        self._socket = sock.dup()
        self._server = await asyncio.start_unix_server(
            self._serve, sock=sock, limit=protocol.LINE_LIMIT, **_KEEP_THE_NAME
        )

    @property
    def listener(self) -> socket.socket:
        """The socket that it listens on. Raises ControlSocketError before `start`."""
        if self._socket is None:
            raise ControlSocketError(f"control socket {self._path}: not open")
        return self._socket

    def release(self) -> None:
        """Listen no more; another process does, under the same name. Connections stay."""
        if self._server is not None:
            self._server.close()
        self._inode = 0

    async def close(self) -> None:
        """End every connection and remove the socket."""
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            self._socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            # Only our own: a successor may have taken the name.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def _disable_all(self) -> None:
        engine = self._host.engine
        log.warning("no agent for %g s: all sessions are disabled", self._hold_s)
        self._host.invite([])
        with contextlib.suppress(Draining):
            await self._host.commit(
                [
                    replace(config, enabled=False, disabled_diag=Diagnostic.ADMINISTRATIVELY_DOWN)
                    if config.enabled
                    else config
                    for config in engine.committed()
                ],
                engine.generation,
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # asyncio runs this in a task, always
            return
        self._tasks.add(task)
        connection = _Connection(
            self._host, self._views, self._patience_s, self.hold, self._successions
        )
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        try:
            if len(self._tasks) > _MOST_CONNECTIONS:
                writer.write(_refusal(f"{_MOST_CONNECTIONS} connections are open already"))
            else:
                await connection.run(reader, writer)
        except ConnectionError:
            pass  # gone in the middle of an answer
        except TimeoutError:
            log.warning("a client of the control socket takes nothing; it is cut off")
            writer.transport.abort()
        except asyncio.CancelledError:
            pass  # the server closes; asyncio would report the cancellation as an error
        finally:
            self._tasks.discard(task)
            self.hold.went(connection)
            writer.close()
            self._tidy_up()

    def _tidy_up(self) -> None:
        # The engine makes no reference cycles and runs without the collector, but the streams of
        # asyncio make some per connection. Everything from start-up is frozen: this is short.
        self._served += 1
        if self._served % _TIDY_UP_EVERY == 0:
            gc.collect()


class _Connection:
    """The conversation with one client, and the set that it is about to commit."""

    def __init__(
        self,
        host: Host,
        views: Views,
        patience_s: float,
        hold: HoldTime,
        successions: Successions | None = None,
    ) -> None:
        self._host = host
        self._successions = successions
        self._patience_s = patience_s
        self._hold = hold
        self._greeted = False
        self._successor: int | None = None
        """The process of the engine that has taken over."""
        self._staged: dict[SessionKey, SessionConfig] | None = None
        self._invitations: list[Invitation] = []
        self._generation = 0
        self._inspection = Inspection(host, views, patience_s)
        self._operations: dict[object, Callable[[Json], Awaitable[Json]]] = {
            "hello": self._hello,
            "begin": self._begin,
            "put": self._put,
            "invite": self._invite,
            "commit": self._commit,
            "override": self._override,
            "drain": self._drain,
            "handover": self._hand_over,
        } | self._inspection.operations

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client goes, talks nonsense, or follows a stream (and then goes)."""
        try:
            await self._converse(reader, writer)
        finally:
            if self._successor is not None and self._successions is not None:
                self._successions.end()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._inspection.stream is None and self._successor is None:
            try:
                line = await reader.readline()
            except ValueError:
                limit = protocol.LINE_LIMIT
                writer.write(_refusal(f"a line is longer than {limit} bytes"))
                await flush(writer, self._patience_s)
                return
            if not line.endswith(b"\n"):
                return
            try:
                writer.write(dump({"ok": True} | await self._handle(line)))
            except ProtocolError as exc:
                writer.write(_refusal(str(exc)))
                if not self._greeted:
                    await flush(writer, self._patience_s)
                    return
            await flush(writer, self._patience_s)
            # Requests may wait in line; so do the sessions.
            await asyncio.sleep(0)
        if self._inspection.stream is not None:
            await self._inspection.stream(reader, writer)

    async def _handle(self, line: bytes) -> Json:
        message = protocol.load(line)
        name = message.get("op")
        operation = self._operations.get(name) if isinstance(name, str) else None
        if operation is None:
            raise ProtocolError(f"op: {name!r} is unknown")
        if not self._greeted and name != "hello":
            raise ProtocolError("the first request must be hello")
        return await operation(message)

    async def _hello(self, message: Json) -> Json:
        version = message.get("version")
        if version != protocol.VERSION:
            raise ProtocolError(
                f"version: the engine speaks {protocol.VERSION}, the client {version!r}; "
                "run both from one installation"
            )
        self._greeted = True
        return {"version": protocol.VERSION, "pid": os.getpid()}

    async def _begin(self, message: Json) -> Json:
        self._generation = protocol.integer(message, "generation")
        self._staged = {}
        self._invitations = []
        return {}

    async def _invite(self, message: Json) -> Json:
        if self._staged is None:
            raise ProtocolError("invite: begin a set first")
        document = message.get("invitation")
        if not isinstance(document, dict):
            raise ProtocolError("invitation: missing")
        try:
            self._invitations.append(Invitation.from_json(document))
        except ValueError as exc:
            self._staged = None
            raise ProtocolError(str(exc)) from None
        return {}

    async def _put(self, message: Json) -> Json:
        if self._staged is None:
            raise ProtocolError("put: begin a set first")
        document = message.get("session")
        if not isinstance(document, dict):
            raise ProtocolError("session: missing")
        try:
            config = config_from_json(document)
            if config.unsolicited:
                self._staged = None
                raise ProtocolError("unsolicited: only peers begin such sessions; invite them")
        except ValueError as exc:
            self._staged = None
            raise ProtocolError(str(exc)) from None
        if config.key in self._staged:
            self._staged = None
            raise ProtocolError(f"session {config.key} is in the set twice")
        if len(self._staged) >= protocol.MAX_SESSIONS:
            self._staged = None
            raise ProtocolError(f"more than {protocol.MAX_SESSIONS} sessions")
        self._staged[config.key] = config
        return {}

    async def _commit(self, _message: Json) -> Json:
        if self._staged is None:
            raise ProtocolError("commit: no complete set was begun; nothing has changed")
        staged, self._staged = self._staged, None
        self._hold.came(self)
        try:
            put, removed = await self._host.commit(list(staged.values()), self._generation)
        except (Draining, TransportError) as exc:
            raise ProtocolError(str(exc)) from None
        self._host.invite(self._invitations)
        if put or removed:
            log.info(
                "session set %d: %d put, %d removed, %d in force",
                self._generation,
                put,
                removed,
                len(staged),
            )
        return {"put": put, "removed": removed}

    async def _override(self, message: Json) -> Json:
        document = message.get("override")
        if not isinstance(document, dict):
            raise ProtocolError("override: missing")
        try:
            key = key_from_json(message.get("session"))
            self._host.override(key, Override.from_json(document))
        except KeyError:
            raise ProtocolError(f"session: there is none {key}") from None
        except (ValueError, Draining) as exc:
            raise ProtocolError(str(exc)) from None
        return {}

    async def _drain(self, _message: Json) -> Json:
        self._host.drain()
        return {}

    async def _hand_over(self, _message: Json) -> Json:
        if self._successions is None:
            raise ProtocolError("handover: not offered here")
        try:
            self._successor = await self._successions.hand_over()
        except (HandoverError, Draining) as exc:
            raise ProtocolError(str(exc)) from None
        return {"pid": self._successor}


def _refusal(text: str) -> bytes:
    return dump({"ok": False, "error": text})
