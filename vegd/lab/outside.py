"""The outside host's process: HTTP and UDP servers that answer with the caller's address.

``python -m vegd.lab.outside``, in the outside namespace. A UDP answer is the request followed by
the caller's address, so that a probe knows which gateway it came through.
"""

import asyncio
import contextlib
import socket

from vegd.lab.topology import ECHO_PORT, HTTP_PORT

_LARGEST = 2048
_IDLE_S = 600.0
"""A client that says no more, or has lost its gateway, is not waited for longer."""


def _echo(server: socket.socket) -> None:
    try:
        while True:
            request, caller = server.recvfrom(_LARGEST)
            server.sendto(request + str(caller[0]).encode(), caller)
    except BlockingIOError:
        return


def _udp_socket(family: socket.AddressFamily) -> socket.socket:
    server = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind(("", ECHO_PORT))
    server.setblocking(False)
    return server


async def _tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1: the same answer to each request, for as long as the client stays."""
    caller = f"{writer.get_extra_info('peername')[0]}\n"
    answer = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(caller)}\r\n\r\n{caller}"
    ).encode()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        is_last = False
        while not is_last:
            async with asyncio.timeout(_IDLE_S):
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
            writer.write(answer)
            await writer.drain()
            is_last = b"connection: close" in request or b" http/1.0\r\n" in request
    writer.close()


async def serve() -> None:
    """Answer, for ever."""
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        server = _udp_socket(family)
        loop.add_reader(server, _echo, server)
    async with await asyncio.start_server(_tell, None, HTTP_PORT) as listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
