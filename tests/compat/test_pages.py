"""``/livez`` and ``/metrics`` of the supervisor, on loopback."""

import asyncio
import socket

import pytest

from tests.support.snapshots import engine_with
from vegd import web
from vegd.compat.pages import serve_pages
from vegd.compat.supervisor import Seen, Status, status_of
from vegd.errors import VegdError
from vegd.web import Answer

LIVE = status_of(Seen().look(engine_with(), (), 1.0), (), 0)
DEAD = status_of(Seen().look(None, (), 1.0), (), 3)


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def get(status: Status, path: str, host: str = "127.0.0.1") -> Answer:
    port = free_port(host)
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with (
        asyncio.timeout(30),
        serve_pages(listen, lambda: status, None),
        web.connection(host, port) as (reader, writer),
    ):
        return await web.fetch(web.Plain(reader, writer), host=host, path=path, most=1 << 20)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_livez_follows_live(host: str) -> None:
    assert (await get(LIVE, "/livez", host))[:2] == (200, b"ok\n")
    assert (await get(DEAD, "/livez", host))[:2] == (503, b"BFD supervisor is not live\n")


async def test_metrics_are_there_in_either_state() -> None:
    for status, restarts in ((LIVE, b"0.0"), (DEAD, b"3.0")):
        answer = await get(status, "/metrics")
        assert answer.status == 200
        assert b"\nkube_ovn_bfdd_child_restarts_total %b\n" % restarts in answer.body
        assert b"\nprocess_resident_memory_bytes " in answer.body
    assert (await get(LIVE, "/readyz")).status == 404


@pytest.mark.parametrize("listen", ["", ":", ":x", ":70000", "192.0.2.1:10669"])
async def test_an_address_that_cannot_be_is_named(listen: str) -> None:
    with pytest.raises(VegdError, match=r"^BFDD_METRICS_ADDRESS: '"):
        async with serve_pages(listen, lambda: LIVE, None):
            pass
