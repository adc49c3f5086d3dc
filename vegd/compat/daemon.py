"""The process that the commands ask: the BFD engine as its child, and what is wanted of it.

``kube-ovn-bfdd-supervisor run`` takes all sessions from the pod's environment. ``bfdd-beacon`` is
told its own addresses by options; peers and values come from the environment as well, where they
are, and from ``bfdd-control``. Nothing here forwards packets; that is the dataplane's.
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bfd import logs
from bfd.config import SessionConfig
from bfd.realtime import open_many_files
from vegd.compat import client
from vegd.compat.answers import Answers
from vegd.compat.lines import serve_lines
from vegd.compat.wishes import Wishes, address, from_environment
from vegd.errors import VegdError
from vegd.sessions import Sessions
from vegd.settings import Settings, default_runtime_dir
from vegd.supervise import Supervisor

log = logging.getLogger(__name__)

_SUPERVISOR, _BEACON = "kube-ovn-bfdd-supervisor", "bfdd-beacon"

_METRICS_ADDRESS = ":10669"
_DRAIN_S = 60.0
_FORWARD_S = 6.0
"""OVN may act on an AdminDown up to 5 s late, and the pod's network goes when we do."""


class Daemon:
    """The engine, and who answers about it."""

    def __init__(self, settings: Settings, wishes: Wishes) -> None:
        self._engine = Supervisor(settings)
        self._sessions = Sessions(settings, self._on_change)
        self._generation = itertools.count(1)
        self.answers = Answers(wishes, self._sessions, self._engine, self._want)

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """Serve until `stop`, then leave. Raises EngineError."""
        await self._engine.start()
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._sessions.run()),
                tasks.create_task(self.answers.watch()),
            ]
            watchdog = tasks.create_task(self._engine.run())
            await stop.wait()
            watchdog.cancel()
            await self._leave(stop_now)
            for task in background:
                task.cancel()

    def _on_change(self) -> None:
        self.answers.on_change()

    def _want(self, configs: tuple[SessionConfig, ...]) -> None:
        self._sessions.want(configs, next(self._generation))

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
        await stack.enter_async_context(serve_lines(control, daemon.answers.control))
        if supervisor_socket is not None:
            supervisor_socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            await stack.enter_async_context(
                serve_lines(supervisor_socket, daemon.answers.supervision)
            )
            from vegd.compat.pages import serve_pages  # noqa: PLC0415 - the beacon goes without

            listen = os.environ.get("BFDD_METRICS_ADDRESS") or _METRICS_ADDRESS
            await stack.enter_async_context(serve_pages(listen, daemon.answers.status))
        await daemon.run(stop, stop_now)


def _end(name: str, exc: BaseException | str) -> NoReturn:
    sys.stderr.write(f"{name}: {exc}\n")
    raise SystemExit(1)
