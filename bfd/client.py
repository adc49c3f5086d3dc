"""The control socket seen from the agent.

`Client` speaks `bfd.protocol` over one connection; `watch` opens one of its own. An engine that is
away shows as OSError (ConnectionError and TimeoutError among them); after that the client is
closed, and `connect` may be tried again. What the engine refuses shows as ControlError.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bfd.config import SessionConfig, SessionKey
from bfd.history import Transition
from bfd.override import Override
from bfd.protocol import VERSION, Json, ProtocolError, dump, load
from bfd.snapshot import EngineSnapshot, SessionSnapshot, config_to_json
from bfd.unsolicited import Invitation

_ANSWER_S = 10.0
_HANDOVER_S = 60.0
_PIPELINE = 32
_ANSWER_LIMIT = 1 << 20


class ControlError(Exception):
    """The engine has refused; the message says why."""


class Joined(NamedTuple):
    """Where a stream of events was joined."""

    pid: int
    seq: int
    """Number of the last transition before it."""
    resumed: bool = False
    """Whether it goes on where an earlier stream has ended."""


class Lost(NamedTuple):
    """So many transitions are missing in the stream at this point."""

    transitions: int


Event = Joined | SessionSnapshot | Transition | Lost


def _event(line: Json) -> Event:
    if "transition" in line:
        return Transition.from_json(line["transition"])
    if "lost" in line:
        return Lost(line["lost"])
    return SessionSnapshot.from_json(line["session"])


class _Connection:
    """A stream that has said hello. Any failure closes it, as answers would no longer match."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.pid = 0
        """The engine's process."""

    @classmethod
    async def open(cls, path: Path) -> Self:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=_ANSWER_LIMIT)
        connection = cls(reader, writer)
        (answer,) = await connection.request({"op": "hello", "version": VERSION})
        connection.pid = answer["pid"]
        return connection

    async def request(self, *messages: Json, answer_s: float = _ANSWER_S) -> list[Json]:
        """Send requests, return their answers. Raises ControlError for the first refusal."""
        try:
            async with asyncio.timeout(answer_s):
                for message in messages:
                    self._writer.write(dump(message))
                await self._writer.drain()
                answers = [await self._answer() for _ in messages]
        except BaseException:
            # Cancelled half-way, the next answer would be taken for another question's.
            self._writer.close()
            raise
        for answer in answers:
            if answer.get("ok") is not True:
                raise ControlError(str(answer.get("error", "refused without a reason")))
        return answers

    @property
    def ended(self) -> bool:
        """Whether the engine has closed it; known without asking."""
        return self._reader.at_eof()

    async def next(self) -> Json:
        """The next line that the engine sends of its own accord."""
        return await self._answer()

    async def closed(self) -> None:
        """Wait for the other end to close."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _answer(self) -> Json:
        try:
            line = await self._reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionResetError("the BFD engine has closed the connection")
            return load(line)
        except (ValueError, ProtocolError) as exc:
            raise ConnectionAbortedError(f"the BFD engine answers in riddles: {exc}") from exc


class Client:
    """A connection to the engine at the Unix socket `path`; use it with ``async with``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def pid(self) -> int:
        """The engine's process, as it is called where it runs; 0 when not connected."""
        return self._connection.pid if self._connection else 0

    @property
    def is_connected(self) -> bool:
        """Whether the engine was there at the last look at the socket; costs nothing."""
        return self._connection is not None and not self._connection.ended

    async def connect(self) -> None:
        """Connect, if not connected. Raises OSError; ControlError if the versions differ."""
        if self._connection is None:
            self._connection = await _Connection.open(self._path)

    async def aclose(self) -> None:
        """Close the connection; the engine goes on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def configure(
        self,
        sessions: Collection[SessionConfig],
        generation: int,
        invitations: Collection[Invitation] = (),
    ) -> None:
        """Make `sessions` the set in force; those that are in force already are not touched.

        `invitations` let peers begin others.
        """
        requests: list[Json] = [{"op": "begin", "generation": generation}]
        requests += [{"op": "put", "session": config_to_json(config)} for config in sessions]
        requests += [{"op": "invite", "invitation": each.to_json()} for each in invitations]
        requests.append({"op": "commit"})
        async with self._lock:
            # In portions, so that neither side's buffer has to hold them all.
            for first in range(0, len(requests), _PIPELINE):
                await self._request(*requests[first : first + _PIPELINE])

    async def snapshot(self) -> EngineSnapshot:
        """The engine and all its sessions."""
        async with self._lock:
            (answer,) = await self._request({"op": "snapshot"})
            sessions: list[Json] = []
            start: int | None = 0
            while start is not None:
                (page,) = await self._request({"op": "page", "from": start})
                sessions += page["sessions"]
                start = page["next"]
        return EngineSnapshot.from_json(answer["head"] | {"sessions": sessions})

    async def history(self, peer: str | None = None) -> tuple[Transition, ...]:
        """What is kept of the transitions of the sessions with a peer (or all), oldest first."""
        found: list[Json] = []
        start: int | None = 0
        async with self._lock:
            while start is not None:
                (page,) = await self._request({"op": "history", "from": start, "peer": peer})
                found += page["transitions"]
                start = page["next"]
        return tuple(Transition.from_json(document) for document in found)

    async def clear_counters(self, peer: str | None = None) -> None:
        """Let the counters of the sessions with a peer (or of everything) start from zero."""
        async with self._lock:
            await self._request({"op": "clear", "peer": peer})

    async def events(self, after: Joined | None = None) -> AsyncGenerator[Event, None]:
        """First how it was joined, then what happens. Ends with the engine.

        `after` is where an earlier call has got to. If that is still known, the stream goes on
        from there; otherwise it begins anew, with every session once, and something may be
        missing between.
        """
        connection = await _Connection.open(self._path)
        try:
            request: Json = {"op": "events"}
            if after is not None and after.pid == connection.pid:
                request["after"] = after.seq
            (answer,) = await connection.request(request)
            yield Joined(answer["pid"], answer["seq"], resumed="after" in request)
            while True:
                yield _event(await connection.next())
        except ConnectionResetError:
            return
        finally:
            await connection.close()

    async def watch(self) -> AsyncGenerator[SessionSnapshot, None]:
        """Every session once, then each that changes, in its newest state. Ends with the engine.

        A session that was removed from the set appears once more, AdminDown.
        """
        connection = await _Connection.open(self._path)
        try:
            await connection.request({"op": "watch"})
            while True:
                message = await connection.next()
                yield SessionSnapshot.from_json(message["session"])
        except ConnectionResetError:
            return
        finally:
            await connection.close()

    async def override(self, key: SessionKey, override: Override) -> None:
        """Lay this over the configuration of a session, instead of any before."""
        request = {"op": "override", "session": key._asdict(), "override": override.to_json()}
        async with self._lock:
            await self._request(request)

    async def drain(self) -> None:
        """Have AdminDown sent on every session; the engine exits when the peers had their time."""
        async with self._lock:
            await self._request({"op": "drain"})

    async def hand_over(self) -> int:
        """Have another process go on with the sessions, without a gap; its number.

        The engine starts it from what is installed now, and ends. On ControlError it goes on.
        """
        async with self._lock:
            (answer,) = await self._request({"op": "handover"}, answer_s=_HANDOVER_S)
        return int(answer["pid"])

    async def closed(self) -> None:
        """Return when the engine has ended or closes the connection; nothing else may be asked."""
        if self._connection is not None:
            await self._connection.closed()

    async def _request(self, *messages: Json, answer_s: float = _ANSWER_S) -> list[Json]:
        if self._connection is None:
            raise ConnectionError("not connected to the BFD engine")
        try:
            return await self._connection.request(*messages, answer_s=answer_s)
        except ControlError:
            raise
        except BaseException:
            self._connection = None
            raise
