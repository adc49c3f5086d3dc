"""Questions to the running daemon, over its control socket."""

import asyncio
from pathlib import Path

from vegd.errors import Unreachable, VegdError

_ANSWER_S = 10.0


def ask(runtime_dir: Path, method: str, page: str) -> bytes:
    """What the daemon answers. Raises Unreachable, or VegdError with the daemon's own complaint."""
    return asyncio.run(_ask(runtime_dir / "agent.sock", method, page))


async def _ask(path: Path, method: str, page: str) -> bytes:
    import aiohttp  # noqa: PLC0415 - --help stays quick

    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://vegd{page}") as answer,
        ):
            body = await answer.read()
            if answer.status >= 400:
                raise VegdError(f"the daemon says: {body.decode(errors='replace').strip()}")
            return body
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise Unreachable(
            f"no daemon answers at {path} ({str(exc) or 'no answer in time'}); is vegd running, "
            "and is --runtime-dir the one it was started with?"
        ) from exc
