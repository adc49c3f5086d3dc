"""The process that the commands ask: the BFD engine as its child, and what is wanted of it.

``kube-ovn-bfdd-supervisor run`` takes all sessions from the pod's environment. ``bfdd-beacon`` is
told its own addresses by options; peers and values come from the environment as well, where they
are, and from ``bfdd-control``. Nothing here forwards packets; that is the dataplane's.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bfd import logs
from bfd.config import SessionKey
from bfd.realtime import open_many_files
from bfd.snapshot import EngineSnapshot
from vegd.compat import client, openbfdd
from vegd.compat.lines import serve_lines
from vegd.compat.supervisor import Seen, answer, status_of
from vegd.compat.wishes import Wishes, address, from_environment
from vegd.errors import VegdError
from vegd.sessions import Sessions
from vegd.settings import Settings, default_runtime_dir
from vegd.supervise import Supervisor

log = logging.getLogger(__name__)

_SUPERVISOR, _BEACON = "kube-ovn-bfdd-supervisor", "bfdd-beacon"

_LOOK_S = 1.0
_ANSWER_S = 0.5
"""How long an engine that is being exchanged is waited for; a probe may take a second."""
_STEP_S = 3.0
_AGAIN_S = 0.02
_DRAIN_S = 60.0
_FORWARD_S = 6.0
"""OVN may act on an AdminDown up to 5 s late, and the pod's network goes when we do."""


class Daemon:
    """The engine, what is wanted of it, and the answers about it."""

    def __init__(self, settings: Settings, wishes: Wishes) -> None:
        self._wishes = wishes
        self._engine = Supervisor(settings)
        self._sessions = Sessions(settings, self._on_change)
        self._sessions.want(wishes.configs(), 1)
        self._generation = 1
        self._changed = asyncio.Event()
        """The engine has come in step with what is wanted, or out of it."""
        self._seen = Seen()
        self._one_change = asyncio.Lock()
        self._one_look = asyncio.Lock()
        self._looked_at = 0.0
        self._looked: EngineSnapshot | None = None

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """Serve until `stop`, then leave. Raises EngineError."""
        await self._engine.start()
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._sessions.run()), tasks.create_task(self._watch())]
            watchdog = tasks.create_task(self._engine.run())
            await stop.wait()
            watchdog.cancel()
            await self._leave(stop_now)
            for task in background:
                task.cancel()

    async def supervision(self, line: str) -> bytes:
        """Answer ``kube-ovn-bfdd-supervisor``, from what was seen a second ago at most."""
        return answer(line, status_of(self._seen, self._wishes.configs(), self._engine.restarts))

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
            trouble = await self._give(wishes, lambda key: key not in anew)
        return await self._give(wishes, lambda _: True) or trouble

    async def _give(self, wishes: Wishes, chosen: Callable[[SessionKey], bool]) -> str | None:
        self._generation += 1
        configs = tuple(config for config in wishes.configs() if chosen(config.key))
        self._sessions.want(configs, self._generation)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STEP_S):
                while not self._sessions.in_step:
                    self._changed.clear()
                    await self._changed.wait()
        if self._sessions.refusal:
            return f"Unable to complete request: the BFD engine says: {self._sessions.refusal}"
        if not self._sessions.in_step:
            return (
                "Unable to complete request now: the BFD engine does not answer, and will be told"
            )
        return None

    def _on_change(self) -> None:
        self._changed.set()

    async def _look(self) -> EngineSnapshot | None:
        """The engine as it is now; who asks while another waits shares the look."""
        asked_at = time.monotonic()
        async with self._one_look:
            if self._looked_at <= asked_at:
                self._looked_at = time.monotonic()
                self._looked = await self._sessions.refresh()
                until = self._looked_at + _ANSWER_S
                while self._looked is None and time.monotonic() < until:
                    await asyncio.sleep(_AGAIN_S)
                    self._looked = await self._sessions.refresh()
            return self._looked

    async def _watch(self) -> None:
        while True:
            engine = await self._sessions.refresh()
            self._seen = self._seen.look(engine, self._wishes.configs(), time.monotonic())
            await asyncio.sleep(_LOOK_S)

    async def _leave(self, stop_now: asyncio.Event) -> None:
        if await self._sessions.drain():
            log.info("draining: all sessions are AdminDown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORWARD_S):
                await stop_now.wait()
        await self._engine.stop(within_s=_DRAIN_S)


def supervise() -> NoReturn:
    """``kube-ovn-bfdd-supervisor run``."""
    socket = Path(client.supervisor_socket(os.environ))
    try:
        wishes = from_environment(os.environ)
    except ValueError as exc:
        _end(_SUPERVISOR, exc)
    if not wishes.sessions:
        _end(_SUPERVISOR, "POD_IPS, BFD_PEER_IPS: there are no two addresses of one family")
    _run(_SUPERVISOR, wishes, socket)


def beacon() -> NoReturn:
    """``bfdd-beacon``."""
    options = _beacon_options(sys.argv[1:])
    try:
        wishes = from_environment(os.environ, map(address, options.listen))
    except ValueError as exc:
        _end(_BEACON, exc)
    _run(_BEACON, wishes, None)


def _beacon_options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_BEACON)
    parser.add_argument("--nofork", action="store_true", help="stays in the foreground, always")
    parser.add_argument("--tee", action="store_true", help="logs to standard error, always")
    parser.add_argument("--listen", action="append", required=True, metavar="IP")
    return parser.parse_args(argv)


def _run(name: str, wishes: Wishes, supervisor_socket: Path | None) -> NoReturn:
    logs.configure()
    settings = Settings(config=Path(os.devnull), runtime_dir=default_runtime_dir())
    try:
        asyncio.run(_serve(settings, wishes, supervisor_socket))
    except (VegdError, OSError) as exc:
        _end(name, exc)
    raise SystemExit(0)


async def _serve(settings: Settings, wishes: Wishes, supervisor_socket: Path | None) -> None:
    open_many_files()
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    settings.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    daemon = Daemon(settings, wishes)
    async with contextlib.AsyncExitStack() as stack:
        control = Path(client.control_socket(os.environ))
        await stack.enter_async_context(serve_lines(control, daemon.control))
        if supervisor_socket is not None:
            supervisor_socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            await stack.enter_async_context(serve_lines(supervisor_socket, daemon.supervision))
        await daemon.run(stop, stop_now)


def _end(name: str, exc: BaseException | str) -> NoReturn:
    sys.stderr.write(f"{name}: {exc}\n")
    raise SystemExit(1)
