"""``bfdd-control status`` where the daemon of these commands does not run, as in the pods of vegd's
own controller: the BFD engine itself is asked. What is to be changed there is in the configuration.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from bfd.client import Client, ControlError
from bfd.snapshot import EngineSnapshot
from vegd.compat.openbfdd import command
from vegd.compat.wishes import Wishes

_DEADLINE_S = 5.0


def answer(words: Sequence[str], directory: Path) -> str:
    """OpenBFDD's text about the sessions of the engine in a runtime directory.

    Raises OSError if no engine answers.
    """
    if words[:1] != ["status"]:
        return (
            "Unable to complete request: the sessions here are those of vegd's configuration; "
            "change that, or see vegd sessions --help"
        )
    engine = asyncio.run(_snapshot(directory / "bfd.sock"))
    wishes = Wishes(()).begin(sorted(each.key for each in engine.sessions))
    return command(words, wishes, engine, time.time()).text


async def _snapshot(path: Path) -> EngineSnapshot:
    try:
        async with asyncio.timeout(_DEADLINE_S), Client(path) as client:
            return await client.snapshot()
    except ControlError as exc:
        raise ConnectionError(str(exc)) from exc
