"""The watcher as a child of `vegd run --kube`: started, and started again when it ends.

The gateway does not depend on it, so whatever becomes of it is a line of the log. It has a session
of its own, so that Ctrl-C reaches the agent alone, and sees for itself when the agent has gone.
"""

import asyncio
import logging
import os
import sys

from vegd.backoff import Backoff
from vegd.settings import Settings

log = logging.getLogger(__name__)

_FIRST_S, _MOST_S = 1.0, 60.0
_STEADY_S = 60.0
_LEAVE_S = 5.0
"""More than it takes itself to have its entry removed (`vegd.cli.watch`)."""


class WatcherChild:
    """Owns the watcher's process of one agent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep it running, for ever."""
        backoff = Backoff(_FIRST_S, _MOST_S)
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            how = await self._once()
            if loop.time() - started > _STEADY_S:
                backoff.reset()
            pause_s = backoff.wait_s()
            log.error("the watcher %s; starting it again in %.1f s", how, pause_s)
            await asyncio.sleep(pause_s)

    async def stop(self) -> None:
        """Ask it to leave, and wait shortly."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _once(self) -> str:
        """Run it to its end, and say how it has ended."""
        try:
            self._child = await self._spawn()
        except OSError as exc:
            return f"cannot be started ({exc.strerror})"
        status = await self._child.wait()
        return f"was killed by signal {-status}" if status < 0 else f"has ended, status {status}"

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vegd", "watch"),
            *("--runtime-dir", str(self._settings.runtime_dir)),
            *("--log-level", self._settings.log_level),
            *("--log-format", self._settings.log_format),
            *("--parent", str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            start_new_session=True,
        )
