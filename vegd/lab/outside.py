"""The outside host's process: HTTP and UDP servers that answer with the caller's address.

``python -m vegd.lab.outside``, in the outside namespace. A UDP answer is the request followed by
the caller's address, so that a probe knows which gateway it came through.
"""

import asyncio
import socket

from aiohttp import web

from vegd.lab.topology import ECHO_PORT, HTTP_PORT

_LARGEST = 2048


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


async def _tell(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.remote}\n")


async def serve() -> None:
    """Answer, for ever."""
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        server = _udp_socket(family)
        loop.add_reader(server, _echo, server)
    application = web.Application()
    application.router.add_get("/", _tell)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, HTTP_PORT).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
