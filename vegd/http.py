"""What the agent answers over HTTP: metrics and health on TCP, control on a Unix socket.

`/livez` asks whether the agent works at all, `/readyz` whether the gateway may be used; they are
two questions with two answers. `/pathz` is for sibling gateways. The control socket has the same
pages and the status besides; it is readable by its owner only.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from vegd import web
from vegd.errors import VegdError
from vegd.exposition import CONTENT_TYPE, Family
from vegd.metrics import Reading, exposition, families
from vegd.status import GatewayStatus
from vegd.web import Answer

_ANSWER_S = 5.0
_JSON = "application/json"


class ListenError(VegdError):
    """An address to listen on cannot be had."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the answers come from."""

    read: Callable[[], Awaitable[Reading]]
    """The gateway as it is now, with every figure."""
    look: Callable[[], Awaitable[GatewayStatus]]
    """The same in short."""
    drain: Callable[[bool], Awaitable[None]]
    """Begin a drain by hand, or end it."""
    paths: Callable[[], dict[str, str]]
    """How the path of each family is."""

    async def metrics(self) -> Answer:
        """GET /metrics."""
        return Answer(200, exposition(await self._read()), CONTENT_TYPE)

    async def families(self) -> list[Family]:
        """What /metrics shows of the gateway."""
        return list(families(await self._read()))

    async def livez(self) -> Answer:
        """GET /livez: answering is the proof."""
        return Answer.text("ok\n")

    async def readyz(self) -> Answer:
        """GET /readyz: 200, or 503 with the reasons, one a line."""
        status = await self._look()
        if status.is_ready:
            return Answer.text("ok\n")
        reasons = "\n".join(status.reasons or (status.state.value,))
        return Answer.text(f"{reasons}\n", 503)

    async def pathz(self) -> Answer:
        """GET /pathz: each family in a word, for the siblings (see `vegd.paths`)."""
        return Answer(200, json.dumps(self.paths()).encode(), _JSON)

    async def status(self) -> Answer:
        """GET /v1/status (control socket only): the status as JSON."""
        return Answer(200, msgspec.json.encode(await self._look()), _JSON)

    async def set_drain(self, drained: bool) -> Answer:
        """POST /v1/drain, /v1/undrain (control socket only): the status afterwards."""
        try:
            await self.drain(drained)
        except OSError as exc:
            return Answer.text(f"{exc.filename}: {exc.strerror}\n", 500)
        return await self.status()

    async def _read(self) -> Reading:
        async with asyncio.timeout(_ANSWER_S):
            return await self.read()

    async def _look(self) -> GatewayStatus:
        async with asyncio.timeout(_ANSWER_S):
            return await self.look()


def public(pages: Pages) -> web.Pages:
    """What is answered to everybody."""
    return {
        "/metrics": {"GET": pages.metrics},
        "/livez": {"GET": pages.livez},
        "/readyz": {"GET": pages.readyz},
        "/pathz": {"GET": pages.pathz},
    }


def _control(pages: Pages) -> web.Pages:
    return {
        **public(pages),
        "/v1/status": {"GET": pages.status},
        "/v1/drain": {"POST": partial(pages.set_drain, True)},
        "/v1/undrain": {"POST": partial(pages.set_drain, False)},
    }


@contextlib.asynccontextmanager
async def serve_tcp(pages: Pages, host: str, port: int) -> AsyncIterator[None]:
    """Answer on an address; an empty host means all of them.

    Raises:
        ListenError: the address is in use or not ours.
    """
    server = web.Server(public(pages))
    try:
        listener = await asyncio.start_server(server.accept, host or None, port)
    except OSError as exc:
        raise ListenError(
            f"metrics.listen: {host}:{port} cannot be listened on ({exc.strerror}); "
            "free the port or name another one"
        ) from exc
    async with _closing(listener, server):
        yield


@contextlib.asynccontextmanager
async def serve_control(pages: Pages, path: Path) -> AsyncIterator[None]:
    """Answer on the control socket, which is removed afterwards.

    A file that a killed agent has left is replaced: the caller holds the lock of the namespace.
    """
    server = web.Server(_control(pages))
    try:
        path.unlink(missing_ok=True)
        listener = await asyncio.start_unix_server(server.accept, path)
        path.chmod(0o600)
    except OSError as exc:
        raise ListenError(f"{path}: cannot be listened on ({exc.strerror})") from exc
    async with _closing(listener, server):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _closing(listener: asyncio.Server, server: web.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        listener.close()
        await server.aclose()
