"""The HTTP server on real sockets, asked by the standard library's client and by hand."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import pytest

from vegd.web import Answer, Plain, Server, connection, fetch

_MANY = 64


async def _hello() -> Answer:
    return Answer.text("hello\n")


async def _stop() -> Answer:
    return Answer(202, b"{}", "application/json")


async def _broken() -> Answer:
    raise KeyError("nothing of that kind")


async def _large() -> Answer:
    return Answer(200, b"x" * 10_000_000)


_PAGES = {
    "/hello": {"GET": _hello, "POST": _stop},
    "/large": {"GET": _large},
    "/broken": {"GET": _broken},
}


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    server = Server(_PAGES)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.aclose()


def _ask(
    port: int, *requests: tuple[str, str, bytes | None]
) -> list[tuple[int, str | None, bytes]]:
    """Several requests on one connection: status, content type and body of each answer."""
    client = HTTPConnection("127.0.0.1", port, timeout=60)
    answers = []
    for method, path, body in requests:
        client.request(method, path, body)
        answer = client.getresponse()
        answers.append((answer.status, answer.headers["Content-Type"], answer.read()))
    client.close()
    return answers


def _raw(port: int, data: bytes) -> bytes:
    """All that is answered to some bytes, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(data)
        answer = b""
        while chunk := client.recv(65_536):
            answer += chunk
        return answer


async def test_pages_are_found_by_path_and_method_and_the_connection_stays() -> None:
    text = "text/plain; charset=utf-8"
    requests: list[tuple[str, str, bytes | None]] = [
        ("GET", "/hello?a=b", None),
        ("HEAD", "/hello", None),
        ("POST", "/hello", b"a body, which means nothing" * 10_000),
        ("GET", "/nowhere", None),
        ("DELETE", "/hello", None),
        ("GET", "/hello", None),
    ]
    async with _serving() as port:
        assert await asyncio.to_thread(_ask, port, *requests) == [
            (200, text, b"hello\n"),
            (200, text, b""),
            (202, "application/json", b"{}"),
            (404, text, b"no such page\n"),
            (405, text, b"not for DELETE\n"),
            (200, text, b"hello\n"),
        ]


async def test_a_page_that_fails_is_an_error_of_ours_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with _serving() as port:
        answers = await asyncio.to_thread(
            _ask, port, ("GET", "/broken", None), ("GET", "/hello", None)
        )
    assert [status for status, _, _ in answers] == [500, 200]
    assert [each.levelno for each in caplog.records if each.name == "vegd.web"] == [logging.ERROR]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 that is TLS\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000, b"431"),
        (b"GET /hello HTTP/1.0\r\n\r\n", b"200"),
    ],
)
async def test_what_is_no_request_is_answered_and_ends_the_connection(
    data: bytes, status: bytes
) -> None:
    async with _serving() as port:
        answer = await asyncio.to_thread(_raw, port, data)
    assert answer.split(b" ", 2)[:2] == [b"HTTP/1.1", status]


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    request = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"
    both = request % (b"/hello", b"") + request % (b"/nowhere", b"Connection: close\r\n")
    async with _serving() as port:
        answer = await asyncio.to_thread(_raw, port, both)
    assert answer.index(b"HTTP/1.1 200") == 0 < answer.index(b"HTTP/1.1 404")


async def test_who_says_nothing_keeps_nobody_out_and_the_longest_silent_goes() -> None:
    loop = asyncio.get_running_loop()
    async with _serving() as port:
        idle = []
        for _ in range(_MANY):
            streams = await asyncio.open_connection("127.0.0.1", port)
            streams[1].write(b"GET /hello HTTP/1.1\r\n")
            idle.append(streams)
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        # Neither these, nor who does not read what he has asked for, is in the way.
        for _ in range(3):
            answers = await loop.run_in_executor(None, _ask, port, ("GET", "/hello", None))
            assert answers[0][0] == 200
        async with asyncio.timeout(60):
            assert await idle[0][0].read() == b""
        idle[-1][1].write(b"Host: a\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await idle[-1][0].readline()).startswith(b"HTTP/1.1 200")
        for _, writer in (*idle, slow):
            writer.close()


async def test_the_client_reads_no_more_than_it_wants() -> None:
    async with _serving() as port:
        for path, most, expected in (
            ("/hello", 0, (200, b"")),
            ("/hello", 4096, (200, b"hello\n")),
            ("/large", 4096, (200, b"x" * 4096)),
            ("/nowhere", 4, (404, b"no s")),
        ):
            async with connection("127.0.0.1", port) as streams:
                answer = await fetch(Plain(*streams), host="a", path=path, most=most)
            assert (answer.status, answer.body) == expected
