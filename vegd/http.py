"""What the agent answers over HTTP: metrics and health on TCP, control on a Unix socket.

`/livez` asks whether the agent works at all, `/readyz` whether the gateway may be used; they are
two questions with two answers. `/pathz` is for sibling gateways. The control socket has the same
pages and the status besides; it is readable by its owner only.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import web

from vegd.errors import VegdError
from vegd.metrics import CONTENT_TYPE, Reading, exposition

_ANSWER_S = 5.0


class ListenError(VegdError):
    """An address to listen on cannot be had."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the answers come from."""

    read: Callable[[], Awaitable[Reading]]
    """The gateway as it is now."""
    drain: Callable[[bool], Awaitable[None]]
    """Begin a drain by hand, or end it."""
    paths: Callable[[], dict[str, str]]
    """How the path of each family is."""

    async def metrics(self, _: web.Request) -> web.Response:
        """GET /metrics."""
        text = exposition(await self._read())
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def livez(self, _: web.Request) -> web.Response:
        """GET /livez: answering is the proof."""
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """GET /readyz: 200, or 503 with the reasons, one a line."""
        status = (await self._read()).status
        if status.is_ready:
            return web.Response(text="ok\n")
        reasons = "\n".join(status.reasons or (status.state.value,))
        return web.Response(status=503, text=f"{reasons}\n")

    async def pathz(self, _: web.Request) -> web.Response:
        """GET /pathz: each family in a word, for the siblings (see `vegd.paths`)."""
        return web.json_response(self.paths())

    async def status(self, _: web.Request) -> web.Response:
        """GET /v1/status (control socket only): the status as JSON."""
        body = msgspec.json.encode((await self._read()).status)
        return web.Response(body=body, content_type="application/json")

    async def set_drain(self, request: web.Request) -> web.Response:
        """POST /v1/drain, /v1/undrain (control socket only): the status afterwards."""
        try:
            await self.drain(request.path == "/v1/drain")
        except OSError as exc:
            return web.Response(status=500, text=f"{exc.filename}: {exc.strerror}\n")
        return await self.status(request)

    async def _read(self) -> Reading:
        async with asyncio.timeout(_ANSWER_S):
            return await self.read()


def _application(pages: Pages, *, control: bool) -> web.Application:
    application = web.Application()
    application.router.add_get("/metrics", pages.metrics)
    application.router.add_get("/livez", pages.livez)
    application.router.add_get("/readyz", pages.readyz)
    application.router.add_get("/pathz", pages.pathz)
    if control:
        application.router.add_get("/v1/status", pages.status)
        application.router.add_post("/v1/drain", pages.set_drain)
        application.router.add_post("/v1/undrain", pages.set_drain)
    return application


@contextlib.asynccontextmanager
async def serve_tcp(pages: Pages, host: str, port: int) -> AsyncIterator[None]:
    """Answer on an address; an empty host means all of them.

    Raises:
        ListenError: the address is in use or not ours.
    """
    async with _runner(_application(pages, control=False)) as runner:
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError as exc:
            raise ListenError(
                f"metrics.listen: {host}:{port} cannot be listened on ({exc.strerror}); "
                "free the port or name another one"
            ) from exc
        yield


@contextlib.asynccontextmanager
async def serve_control(pages: Pages, path: Path) -> AsyncIterator[None]:
    """Answer on the control socket, which is removed afterwards.

    A file that a killed agent has left is replaced: the caller holds the lock of the namespace.
    """
    async with _runner(_application(pages, control=True)) as runner:
        try:
            path.unlink(missing_ok=True)
            await web.UnixSite(runner, str(path)).start()
            path.chmod(0o600)
        except OSError as exc:
            raise ListenError(f"{path}: cannot be listened on ({exc.strerror})") from exc
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _runner(application: web.Application) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()
