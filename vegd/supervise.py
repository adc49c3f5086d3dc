"""The engine as a child of `vegd run`: adopt a running one, else start it, and again if it dies.

The child has a session of its own, so that Ctrl-C reaches the agent alone, which drains. It does
not die with the agent: a killed agent leaves the sessions Up, and its successor finds the engine by
its control socket. So does an agent whose engine has handed over to another process: from then on
a connection tells when the engine ends.
"""

import asyncio
import contextlib
import logging
import os
import sys

from bfd.client import Client, ControlError
from vegd.backoff import Backoff
from vegd.errors import VegdError
from vegd.settings import Settings

log = logging.getLogger(__name__)

_START_S = 30.0
"""With a CPU limit of 0.05 processors it takes more than ten."""
_STEADY_S = 60.0
_BREATH_S = 0.1


class EngineError(VegdError):
    """The BFD engine cannot be started."""


class Supervisor:
    """Owns the engine process of one agent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: asyncio.subprocess.Process | None = None
        self._adopted = 0
        """Process of an engine that somebody else has started."""
        self.restarts = 0

    async def start(self) -> None:
        """Have an engine that answers.

        Raises:
            EngineError: it ended at once; it has said why on standard error.
        """
        if await self._answers():
            log.info("a BFD engine runs already; its sessions are kept")
            return
        child = self._child = await self._spawn()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                while child.returncode is None:
                    if await self._answers():
                        return
                    await asyncio.sleep(0.02)
        if child.returncode is None:
            child.kill()
            raise EngineError(f"the BFD engine did not answer within {_START_S:.0f} s")
        raise EngineError(
            f"the BFD engine ended with status {child.returncode}; its reason is above"
        )

    async def run(self) -> None:
        """Keep the engine running, for ever; each end of it is logged as an error.

        The first start is at once: within their detection times the sessions go on unharmed.
        """
        backoff = Backoff(first=0.1, most=10.0)
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            started = loop.time()
            await self._ended()
            if await self._answers():
                log.info("the BFD engine has handed over to another process")
                self._reap()
                await asyncio.sleep(_BREATH_S)
                continue
            if loop.time() - started > _STEADY_S:
                backoff.reset()
                pause_s = 0.0
            self.restarts += 1
            when = f"in {pause_s:.1f} s" if pause_s else "now"
            log.error("the BFD engine has ended; starting it again %s", when)
            self._reap()
            await asyncio.sleep(pause_s)
            pause_s = backoff.wait_s()
            try:
                await self.start()
            except EngineError as exc:
                log.error("%s", exc)

    async def stop(self, within_s: float) -> None:
        """Wait for an engine that was told to drain; a child that does not end is killed."""
        try:
            async with asyncio.timeout(within_s):
                await self._ended()
        except TimeoutError:
            log.error("the BFD engine did not end within %.0f s", within_s)
            if self._child is not None and self._child.returncode is None:
                self._child.kill()
                await self._child.wait()

    async def _ended(self) -> None:
        if self._child is not None and self._child.returncode is None:
            await self._child.wait()
            return
        with contextlib.suppress(OSError, ControlError):
            async with Client(self._settings.engine_socket) as engine:
                self._adopted = engine.pid
                await engine.closed()

    def _reap(self) -> None:
        """Where we are process 1 of a container, an engine that was adopted is our child, too."""
        if self._adopted:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._adopted, os.WNOHANG)
            self._adopted = 0

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bfd",
            "--runtime-dir",
            str(self._settings.runtime_dir),
            "--log-level",
            self._settings.log_level,
            "--log-format",
            self._settings.log_format,
            stdin=asyncio.subprocess.DEVNULL,
            # What systemd is told is said by the agent.
            env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            start_new_session=True,
        )

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(2), Client(self._settings.engine_socket):
                return True
        except (OSError, TimeoutError, ControlError):
            return False
