"""Who answers the commands: what is wanted, what the engine does about it, and what is said.

`Answers` needs a gateway around it that has the engine and hands on what is wanted: see
`vegd.compat.daemon`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol

from bfd.config import SessionConfig, SessionKey
from bfd.snapshot import EngineSnapshot
from vegd.compat import openbfdd, supervisor
from vegd.compat.supervisor import Seen, Status
from vegd.compat.wishes import Wishes
from vegd.sessions import Sessions

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_STEP_S = 3.0
"""How long one that is there is waited for; who asks waits for 5 s."""
_TIMES, _AGAIN_S = 25, 0.02
"""How often one that is away is looked for: as long as it takes to exchange it."""

Want = Callable[[tuple[SessionConfig, ...]], None]


class Restarts(Protocol):
    """Who starts the engine: `vegd.supervise.Supervisor`."""

    restarts: int


class Answers:
    """What is wanted, and the answers about it.

    `want` hands on what is wanted, now and after each change; `sessions` is in step when that is
    in force.
    """

    def __init__(self, wishes: Wishes, sessions: Sessions, engine: Restarts, want: Want) -> None:
        self._wishes = wishes
        self._sessions = sessions
        self._engine = engine
        self._want = want
        self._seen = Seen()
        self._one_change = asyncio.Lock()
        self._one_look = asyncio.Lock()
        self._looked_at = 0.0
        self._looked: EngineSnapshot | None = None
        want(wishes.configs())

    async def watch(self) -> None:
        """Look at the engine every second, for ever."""
        while True:
            engine = await self._sessions.refresh()
            self._seen = self._seen.look(engine, self._wishes.configs(), time.monotonic())
            await asyncio.sleep(_LOOK_S)

    def status(self) -> Status:
        """As of the last look."""
        return supervisor.status_of(self._seen, self._wishes.configs(), self._engine.restarts)

    async def supervision(self, line: str) -> bytes:
        """Answer ``kube-ovn-bfdd-supervisor``."""
        return supervisor.answer(line, self.status())

    async def control(self, line: str) -> bytes:
        """Answer ``bfdd-control``."""
        words = line.split()
        if self._wishes.log_commands:
            log.info("bfdd-control: %s", " ".join(words))
        engine = await self._look() if words[:1] == ["status"] else None
        async with self._one_change:
            text, wishes = openbfdd.command(words, self._wishes, engine, time.time())
            if wishes != self._wishes:
                text = await self._take(wishes) or text
        verdict = "failed" if openbfdd.is_failure(text) else "ok"
        return f"{verdict}\n{text}\n".encode()

    async def _take(self, wishes: Wishes) -> str | None:
        """Put what is wanted in force. Returns what has kept us from it, or None."""
        anew = wishes.begun_anew(self._wishes)
        self._wishes = wishes
        trouble = None
        if anew:
            # A session that left the set says AdminDown, and begins at Down when it is back.
            trouble = await self._give(wishes, without=anew)
        return await self._give(wishes) or trouble

    async def _give(self, wishes: Wishes, without: Collection[SessionKey] = ()) -> str | None:
        self._want(tuple(config for config in wishes.configs() if config.key not in without))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STEP_S):
                await self._sessions.come_in_step()
        if self._sessions.refusal:
            return f"Unable to complete request: the BFD engine says: {self._sessions.refusal}"
        if not self._sessions.in_step:
            return (
                "Unable to complete request now: the BFD engine does not answer, and will be told"
            )
        return None

    async def _look(self) -> EngineSnapshot | None:
        """The engine as it is now; who asks while another waits shares the look."""
        asked_at = time.monotonic()
        async with self._one_look:
            if self._looked_at <= asked_at:
                self._looked_at, self._looked = time.monotonic(), None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STEP_S):
                        self._looked = await self._refresh()
            return self._looked

    async def _refresh(self) -> EngineSnapshot | None:
        for _ in range(_TIMES):
            engine = await self._sessions.refresh()
            if engine is not None:
                return engine
            await asyncio.sleep(_AGAIN_S)
        return None
