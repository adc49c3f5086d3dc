"""The API server's service address, for pods: what arrives there goes on to the API server.

``python -m vegd.lab.cluster.forwarder NAMESPACE ADDRESS PORT TARGET_PORT`` listens in a network
namespace and connects to a port of its own loopback.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence

from vegd.lab.namespaces import socket_in

_CHUNK = 65536


async def serve(namespace: str, address: str, port: int, target: int) -> None:
    """Forward, for ever."""
    listener = socket_in(namespace, socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        both = (_copy(reader, there[1]), _copy(there[0], writer))
        await asyncio.gather(*both, return_exceptions=True)

    async with await asyncio.start_server(forward, sock=listener) as server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything, until one of both ends."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.close()


def main(arguments: Sequence[str]) -> None:
    """Read the arguments and serve."""
    namespace, address, port, target = arguments
    asyncio.run(serve(namespace, address, int(port), int(target)))


if __name__ == "__main__":
    main(sys.argv[1:])
