"""Clients of a socket that answers lines: rubbish, half lines, who goes, and a thousand at once."""

import asyncio
import socket
from pathlib import Path

from bfd.realtime import open_many_files

_WITHIN_S = 50.0
_CROWD = 1_000


async def ask(path: Path, data: bytes, *, end: bool = False) -> bytes:
    """What is answered to these bytes, until the other side closes."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    try:
        writer.write(data)
        await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(_WITHIN_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def survives_its_clients(path: Path, request: bytes, begin: bytes) -> None:
    """The answer to `request` begins so, and does before, after and amid everybody else."""
    open_many_files()
    well = await ask(path, request)
    assert well.startswith(begin)
    assert await ask(path, request[:-1], end=True) == well
    assert await ask(path, b"", end=True) == b""
    assert await ask(path, b"li") == b""
    assert await ask(path, b"x" * 100_000) == b""
    for rubbish in (b"\n", b"\x00\xff\xfe\n", b"live live\n", b"[" * 2_000 + b"\n"):
        assert await ask(path, rubbish)
    for _ in range(100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
            gone.connect(str(path))
            gone.sendall(request)
    # On a slow machine some are too late for their answers; no other one is given.
    answers = await asyncio.gather(*(ask(path, request) for _ in range(_CROWD)))
    assert well in answers
    assert set(answers) <= {well, b""}
    assert await ask(path, request) == well
