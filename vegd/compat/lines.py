"""A server on a Unix socket: one line in, one answer out, and the end, all within 5 s.

Whoever is late, sends too much or goes away costs only his own connection.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bfd.listening import listen
from vegd.errors import VegdError

_DEADLINE_S = 5.0
_LONGEST_LINE = 4_096
_BACKLOG = 1_024

Answer = Callable[[str], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def serve_lines(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer lines at `path` (mode 0600). Raises VegdError if that is not possible."""
    try:
        listener = listen(path, _BACKLOG)
    except OSError as exc:
        raise VegdError(f"socket {path}: {exc.strerror or exc}") from exc
    server = await asyncio.start_unix_server(
        functools.partial(_serve, answer), sock=listener, limit=_LONGEST_LINE, backlog=_BACKLOG
    )
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _serve(
    answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            line = await reader.readline()
            if line:
                writer.write(await answer(line.decode(errors="replace")))
                await writer.drain()
    except (ConnectionError, TimeoutError, ValueError):
        writer.transport.abort()
    except asyncio.CancelledError:
        pass  # the end of the process; asyncio would report it as an error
    finally:
        writer.close()
