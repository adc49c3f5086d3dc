"""What the supervisor answers over HTTP: ``/livez`` to the kubelet, ``/metrics`` to Prometheus.

Of a gateway that is kept there are its own pages as well, and its metrics beside Kube-OVN's.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from vegd import http, web
from vegd.compat import metrics
from vegd.compat.supervisor import Status
from vegd.errors import VegdError
from vegd.exposition import CONTENT_TYPE, page, process_families
from vegd.web import Answer


@contextlib.asynccontextmanager
async def serve_pages(
    listen: str, status: Callable[[], Status], gateway: http.Pages | None
) -> AsyncIterator[None]:
    """Answer at ``HOST:PORT``; an empty host means all addresses. Raises VegdError."""

    async def livez() -> Answer:
        if status().live:
            return Answer.text("ok\n")
        return Answer.text("BFD supervisor is not live\n", 503)

    async def everything() -> Answer:
        ours = [] if gateway is None else await gateway.families()
        families = (*metrics.families(status()), *ours, *process_families())
        return Answer(200, page(families), CONTENT_TYPE)

    pages = {} if gateway is None else http.public(gateway)
    server = web.Server({**pages, "/livez": {"GET": livez}, "/metrics": {"GET": everything}})
    try:
        listener = await asyncio.start_server(server.accept, *_address(listen))
    except (OSError, ValueError) as exc:
        raise VegdError(f"BFDD_METRICS_ADDRESS: {listen!r} cannot be listened on ({exc})") from exc
    try:
        yield
    finally:
        listener.close()
        await server.aclose()


def _address(listen: str) -> tuple[str | None, int]:
    """Host and port. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not 0 < int(port) < 65_536:
        raise ValueError(f"{port} is no port")
    return host.strip("[]") or None, int(port)
