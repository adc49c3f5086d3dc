"""The engine as a process: from options to exit status.

``python -m bfd`` (or ``vegd bfd``) opens port 3784 in the network namespace that it is started in
and listens on ``DIR/bfd.sock``; without an agent it has no sessions and waits. SIGTERM drains:
AdminDown on every session, for as long as the peers need to notice, then exit 0. What keeps it
from starting is one line on standard error and exit 1; a wrong option is exit 2.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bfd import logs, recovery
from bfd.control import ControlServer, ControlSocketError
from bfd.discriminators import KEY_LENGTH, Discriminators
from bfd.driver import Driver
from bfd.engine import Engine
from bfd.fsm import State
from bfd.journal import Head, Identity, Journal, JournalRefused
from bfd.keeper import Keeper
from bfd.realtime import Scheduling, lock_memory, open_many_files, stop_collecting
from bfd.recorder import Recorder
from bfd.recovery import recover
from bfd.selector import MicrosecondSelector
from bfd.shared_marks import SharedMarks
from bfd.transport import Receiver, TransportError, UdpTransport
from bfd.views import ProcessViews
from bfd.vitals import VitalsReader

log = logging.getLogger(__name__)


class StartError(Exception):
    """The engine cannot start; the message says why and what to do."""


def monotonic_us() -> int:
    """The clock of the event loop, in whole microseconds."""
    return time.monotonic_ns() // 1000


def load_key(path: Path) -> bytes:
    """The discriminator key in a file, made (mode 0600) if the file is not there.

    Raises StartError.
    """
    try:
        with contextlib.suppress(FileExistsError):
            # Written under another name first: no reader ever sees half a key.
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_LENGTH))
            try:
                os.link(fresh, path)
            finally:
                fresh.unlink()
        key = path.read_bytes()
    except OSError as exc:
        raise StartError(f"discriminator key {path}: {exc.strerror}") from exc
    if len(key) != KEY_LENGTH:
        raise StartError(
            f"discriminator key {path}: {len(key)} bytes instead of {KEY_LENGTH}; remove the file"
        )
    return key


class Service:
    """One engine, from its parts. Raises StartError."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._directory: Path = options.runtime_dir
        self._hold_s: float = options.hold_time
        key = load_key(options.key_file or self._directory / "discriminator.key")
        self._identity = Identity.here(key)
        # Jitter only has to differ between sessions and from run to run; nothing is guarded by it.
        draw = random.Random().random  # noqa: S311
        self._engine = Engine(Discriminators(key), draw, socket.if_indextoname)
        self._scheduling = Scheduling()
        self._transport = UdpTransport(monotonic_us)
        self._ended = asyncio.Event()
        self._keeper: Keeper | None = None
        vitals = VitalsReader()
        self._driver: Driver[Receiver] = Driver(
            self._engine,
            self._transport,
            asyncio.get_running_loop(),
            monotonic_us,
            self._ended.set,
            Recorder(self._engine, time.time, vitals.read, self._transport.count_overflows),
            self._wake_keeper,
        )
        self._views = ProcessViews(self._driver, monotonic_us, self._scheduling, vitals)
        self._control = ControlServer(
            self._directory / "bfd.sock",
            self._driver,
            self._views,
            self._hold_s,
            on_news=self._wake_keeper,
        )

    async def run(self) -> None:
        """Serve until the engine has drained."""
        open_many_files()
        try:
            await self._control.start()
            self._transport.open()
            self._scheduling.acquire()
            self._resume(self._recover())
            self._views.memory = lock_memory()
            stop_collecting()
            self._driver.start()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._driver.drain)
            log.info(
                "the BFD engine is ready (pid %d, scheduling %s, memory %s)",
                os.getpid(),
                self._scheduling,
                self._views.memory,
            )
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._control.hold.keep()),
                    tasks.create_task(self._driver.follow_key_files()),
                ]
                await self._ended.wait()
                for task in background:
                    task.cancel()
        except (ControlSocketError, TransportError) as exc:
            raise StartError(str(exc)) from exc
        finally:
            self._driver.stop()
            self._transport.close()
            await self._control.close()
            if self._keeper is not None:
                self._keeper.close()
                self._engine.marks.close()
        log.info("the BFD engine has drained")

    def _recover(self) -> Journal | None:
        try:
            journal = recover(self._directory, self._identity, self._hold_s, monotonic_us())
        except JournalRefused as exc:
            log.warning(
                "the journal %s is refused: %s; the engine starts without sessions",
                self._directory / recovery.NAME,
                exc,
            )
            return None
        return journal

    def _resume(self, journal: Journal | None) -> None:
        try:
            self._engine.marks = SharedMarks(self._directory)
        except OSError as exc:
            log.warning(
                "no shared memory (%s): after a crash the sessions will start Down", exc.strerror
            )
        if journal is not None:
            self._engine.generation = journal.head.generation
            self._engine.overrides.update(journal.head.overrides)
            for remembered, port in journal.sessions:
                self._transport.keep_port(remembered.discr, port)
            self._driver.restore([remembered for remembered, _ in journal.sessions])
            if journal.head.agent_left_us is not None:
                self._control.hold.went_at(journal.head.agent_left_us)
            up = sum(each.state is State.UP for each in self._engine.sessions())
            log.info("resumed %d sessions, %d of them Up", len(journal.sessions), up)
        self._keeper = Keeper(
            self._directory / recovery.NAME,
            self._identity,
            self._engine,
            self._head,
            lambda session: self._transport.port_of(session.local_discr),
        )
        self._keeper.wake()

    def _head(self) -> Head:
        engine = self._engine
        return Head(
            engine.generation, self._control.hold.left_us, engine.marks.name, engine.overrides
        )

    def _wake_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.wake()


async def serve(options: argparse.Namespace) -> None:
    """Run the engine until it has drained. Raises StartError."""
    await Service(options).run()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options; exits with status 2 on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="vegd bfd",
        description="The BFD engine: a process of its own, told what to do by vegd.",
    )
    default_dir = os.environ.get("VEGD_RUNTIME_DIR") or "/run/vegd"
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=Path(default_dir),
        metavar="DIR",
        help="directory of bfd.sock and of the discriminator key (default: %(default)s)",
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="discriminator key, made if absent (default: DIR/discriminator.key)",
    )
    parser.add_argument(
        "--hold-time",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds without an agent after which sessions are disabled; "
        "0 is never (default: %(default)g)",
    )
    parser.add_argument("--log-level", default="info", help="debug, info, warning or error")
    parser.add_argument("--log-format", default="auto", help="auto, text or json")
    options = parser.parse_args(argv)
    if not 0 <= options.hold_time < float("inf"):
        parser.error(f"--hold-time: {options.hold_time} is not a number of seconds, 0 or more")
    return options


def main(argv: Sequence[str]) -> int:
    """Run the engine; the exit status."""
    options = parse(argv)
    try:
        handler = logs.configure(options.log_level, options.log_format)
    except ValueError as exc:
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 2
    try:
        _make_directory(options.runtime_dir)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(options))
    except StartError as exc:
        handler.close()
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 1
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(MicrosecondSelector())


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, exist_ok=True)
    except OSError as exc:
        raise StartError(f"runtime directory {path}: {exc.strerror}") from exc
