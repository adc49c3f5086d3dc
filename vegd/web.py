"""HTTP/1.1 in small, on asyncio's streams: h11 knows the protocol, the limits are here.

A server of fixed pages, and a client for one page. The server holds few connections: when there are
too many, the one that has been silent for longest goes, so that nobody can keep a scrape or a
health check out. Bodies of requests mean nothing to us and are read and dropped.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol

import h11

log = logging.getLogger(__name__)

_MOST = 64
"""Connections of one server; Prometheus and the kubelet hold a handful."""
_HEAD_BYTES = 16_384
_CHUNK_BYTES = 65_536
_IDLE_S = 90.0
"""From one answer to the end of the next request; Prometheus asks every 60 s at most."""
_WRITE_S = 30.0
_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What is said about a page."""

    status: int
    body: bytes
    kind: str = _TEXT
    """The value of Content-Type."""

    @classmethod
    def text(cls, text: str, status: int = 200) -> "Answer":
        """An answer for people."""
        return cls(status, text.encode())


Pages = Mapping[str, Mapping[str, Callable[[], Awaitable[Answer]]]]
"""By path, then by method; who answers to GET does to HEAD, too."""


class Channel(Protocol):
    """A client's connection."""

    async def send(self, data: bytes) -> None:
        """Say something."""
        ...

    async def read(self, size: int) -> bytes:
        """What was answered, at most so many bytes; b"" at the end."""
        ...


class Plain:
    """A channel without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read = reader.read
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Say something."""
        self._writer.write(data)
        await self._writer.drain()


class Server:
    """The connections of one address; `accept` is for `asyncio.start_server`."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._silent: dict[asyncio.Task[None], None] = {}
        """The conversations, the longest silent first."""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation, from its first byte to its end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        if len(self._silent) >= _MOST:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.cancel()
        try:
            with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
                await self._converse(reader, writer, task)
        except asyncio.CancelledError:
            log.debug("a connection is given up")
        finally:
            self._silent.pop(task, None)
            writer.close()

    async def aclose(self) -> None:
        """End all conversations."""
        tasks = list(self._silent)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        while connection.states[h11.CLIENT] is h11.IDLE:
            self._silent.pop(task, None)
            self._silent[task] = None
            try:
                async with asyncio.timeout(_IDLE_S):
                    request = await _request(connection, reader.read)
            except h11.RemoteProtocolError as exc:
                answer = Answer.text(f"{exc}\n", exc.error_status_hint)
                async with asyncio.timeout(_WRITE_S):
                    await _send(connection, writer, answer, is_head=False)
                return
            if request is None:
                return
            answer = await self._answer(request)
            async with asyncio.timeout(_WRITE_S):
                await _send(connection, writer, answer, is_head=request.method == b"HEAD")
            if connection.our_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Answer:
        path = request.target.decode("ascii").partition("?")[0]
        methods = self._pages.get(path)
        if methods is None:
            return Answer.text("no such page\n", 404)
        method = request.method.decode("ascii")
        page = methods.get("GET" if method == "HEAD" else method)
        if page is None:
            return Answer.text(f"not for {method}\n", 405)
        try:
            return await page()
        except Exception:
            log.exception("%s cannot be answered", path)
            return Answer.text("an internal error; see the log\n", 500)


@contextlib.asynccontextmanager
async def connection(
    host: str, port: int, source: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect, from a source address; closed afterwards. Raises OSError."""
    own = (source, 0) if source is not None else None
    reader, writer = await asyncio.open_connection(host, port, local_addr=own)
    try:
        yield reader, writer
    finally:
        writer.close()


async def fetch(channel: Channel, *, host: str, path: str, most: int = 0) -> Answer:
    """GET a page, on a connection that is good for nothing else afterwards. Of the body at most so
    many bytes are read. Raises h11.ProtocolError, OSError."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    headers = [("Host", host), ("Connection", "close"), ("Accept", "*/*")]
    request = h11.Request(method="GET", target=path, headers=headers)
    await channel.send(b"".join(client.send(each) or b"" for each in (request, h11.EndOfMessage())))
    status, body = 0, b""
    while not status or len(body) < most:
        event = await _event(client, channel.read)
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
    return Answer(status, body[:most])


async def _request(
    connection: h11.Connection, read: Callable[[int], Awaitable[bytes]]
) -> h11.Request | None:
    """The next request, when all of it is there; None at the end of the connection."""
    request = None
    while True:
        event = await _event(connection, read)
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def _event(connection: h11.Connection, read: Callable[[int], Awaitable[bytes]]) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await read(_CHUNK_BYTES))
    return event


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, *, is_head: bool
) -> None:
    headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]
    reason = HTTPStatus(answer.status).phrase
    events: list[h11.Event] = [
        h11.Response(status_code=answer.status, headers=headers, reason=reason)
    ]
    if answer.body and not is_head:
        events.append(h11.Data(data=answer.body))
    for event in (*events, h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()
