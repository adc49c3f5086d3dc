"""The engine and its sessions without a gateway: nothing looks after the dataplane."""

import asyncio
import contextlib
import itertools
import logging
import signal

from bfd.config import SessionConfig
from vegd.sessions import Sessions
from vegd.settings import Settings
from vegd.supervise import Supervisor

log = logging.getLogger(__name__)

_ENGINE_S = 60.0


class Alone:
    """What is left of `vegd.agent.Agent` where there is no gateway to keep.

    `forward_s` is how long it stays after AdminDown, for whoever forwards.
    """

    pages = None
    """There is nothing to tell but the sessions."""

    def __init__(self, settings: Settings, supervisor: Supervisor, forward_s: float) -> None:
        self.sessions = Sessions(settings, lambda: None)
        self._engine = supervisor
        self._forward_s = forward_s
        self._generation = itertools.count(1)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    def choose_sessions(self, sessions: tuple[SessionConfig, ...]) -> None:
        """From now on these."""
        self.sessions.want(sessions, next(self._generation))

    async def run(self) -> None:
        """Serve until a signal, then leave. Raises EngineError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        await self._engine.start()
        async with asyncio.TaskGroup() as tasks:
            sessions = tasks.create_task(self.sessions.run())
            watchdog = tasks.create_task(self._engine.run())
            await self._stop.wait()
            watchdog.cancel()
            await self._leave()
            sessions.cancel()

    async def _leave(self) -> None:
        if await self.sessions.drain():
            log.info("draining: all sessions are AdminDown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._forward_s):
                await self._stop_now.wait()
        await self._engine.stop(within_s=_ENGINE_S)

    def _on_stop(self) -> None:
        (self._stop_now if self._stop.is_set() else self._stop).set()
