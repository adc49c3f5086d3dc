"""The watcher's question to the agent, over its control socket."""

import asyncio
from pathlib import Path

import h11
import msgspec

from vegd import web
from vegd.watching.report import Status

_ANSWER_S = 5.0
_MOST_BYTES = 4_000_000


async def ask(runtime_dir: Path) -> Status | None:
    """How the gateway is; None if the agent cannot say so now."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(runtime_dir / "agent.sock")
            try:
                answer = await web.fetch(
                    web.Plain(reader, writer), host="vegd", path="/v1/status", most=_MOST_BYTES
                )
            finally:
                writer.close()
        return msgspec.json.decode(answer.body, type=Status) if answer.status == 200 else None
    except (OSError, TimeoutError, h11.ProtocolError, msgspec.DecodeError):
        return None
