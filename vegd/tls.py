"""TLS on a connection of asyncio, for probes by HTTPS. Importing this module loads OpenSSL.

The agent keeps OpenSSL out of its memory until a probe needs it (see `bfd.lean`), so asyncio has
started without it; `ssl.SSLObject` takes and gives bytes, and needs no help of asyncio's.
"""

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Self, TypeVar

if sys.modules.get("ssl", sys) is None:
    del sys.modules["ssl"]
import ssl

T = TypeVar("T")

_CHUNK_BYTES = 65_536


class Tls:
    """The client's end; a `vegd.web.Channel`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    @classmethod
    async def open(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> Self:
        """Agree on keys; the certificate has to be valid for the name. Raises ssl.SSLError."""
        made = cls(reader, writer, name)
        await made._until_done(made._tls.do_handshake)
        return made

    async def read(self, size: int) -> bytes:
        """What the server has said; b"" at the end."""
        return await self._until_done(lambda: self._tls.read(size))

    async def send(self, data: bytes) -> None:
        """Say something."""
        await self._until_done(lambda: self._tls.write(data))

    async def _until_done(self, action: Callable[[], T]) -> T:
        while True:
            try:
                done = action()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._reader.read(_CHUNK_BYTES)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        self._writer.write(self._outgoing.read())
        await self._writer.drain()


@functools.cache
def _context() -> ssl.SSLContext:
    """With the certificates of the system; reading them takes 20 ms, so they are read once."""
    return ssl.create_default_context()
