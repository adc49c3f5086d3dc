"""The engine as a process: from options to exit status.

``python -m bfd`` (or ``vegd bfd``) opens port 3784 in the network namespace that it is started in
and listens on ``DIR/bfd.sock``; without an agent it has no sessions and waits. SIGTERM drains:
AdminDown on every session, for as long as the peers need to notice, then exit 0. ``python -m bfd
handover`` has the running engine exchange itself for what is installed now (`bfd.handover`). What
keeps it from starting is one line on standard error and exit 1; a wrong option is exit 2.
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
from dataclasses import replace
from pathlib import Path

from bfd import handover, journal, logs, recovery
from bfd.control import ControlServer, ControlSocketError
from bfd.discriminators import KEY_LENGTH, Discriminators
from bfd.driver import Draining, Driver
from bfd.engine import Engine
from bfd.fsm import State
from bfd.handover import HandoverError, Parcel, Predecessor, Successor
from bfd.history import Transition
from bfd.journal import Head, Identity, Journal, JournalRefused
from bfd.keeper import Keeper
from bfd.notify import notify
from bfd.realtime import Scheduling, lock_memory, open_many_files, stop_collecting
from bfd.receiver import Receiver
from bfd.recorder import Recorder
from bfd.recovery import recover
from bfd.selector import EngineLoop, EngineSelector, monotonic_us
from bfd.shared_marks import SharedMarks
from bfd.transport import TransportError, UdpTransport
from bfd.views import ProcessViews
from bfd.vitals import VitalsReader

log = logging.getLogger(__name__)


class StartError(Exception):
    """The engine cannot start; the message says why and what to do."""


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

    def __init__(self, options: argparse.Namespace, selector: EngineSelector) -> None:
        self._directory: Path = options.runtime_dir
        self._hold_s: float = options.hold_time
        key = load_key(options.key_file or self._directory / "discriminator.key")
        self._identity = Identity.here(key)
        # Jitter only has to differ between sessions and from run to run; nothing is guarded by it.
        draw = random.Random().random  # noqa: S311
        self._engine = Engine(Discriminators(key), draw, socket.if_indextoname)
        self._scheduling = Scheduling()
        self._predecessor = (
            None if options.successor_of is None else Predecessor(options.successor_of)
        )
        self._handed_over = False
        self._options = options
        self._transport = UdpTransport(monotonic_us)
        self._ended = asyncio.Event()
        self._keeper: Keeper | None = None
        vitals = VitalsReader()
        self._recorder = Recorder(
            self._engine, time.time, vitals.read, self._transport.count_overflows
        )
        self._driver: Driver[Receiver] = Driver(
            self._engine,
            self._transport,
            selector,
            monotonic_us,
            self._ended.set,
            self._recorder,
            self._wake_keeper,
        )
        self._views = ProcessViews(self._driver, monotonic_us, self._scheduling, vitals)
        self._control = ControlServer(
            self._directory / "bfd.sock",
            self._driver,
            self._views,
            self._hold_s,
            on_news=self._wake_keeper,
            successions=self,
        )

    async def run(self) -> None:
        """Serve until the engine has drained."""
        open_many_files()
        try:
            if self._predecessor is None:
                await self._begin()
            else:
                await self._succeed(self._predecessor)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._driver.drain)
            log.info(
                "the BFD engine is ready (pid %d, scheduling %s, memory %s)",
                os.getpid(),
                self._scheduling,
                self._views.memory,
            )
            notify("READY=1")
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._control.hold.keep()),
                    tasks.create_task(self._driver.follow_key_files()),
                ]
                await self._ended.wait()
                for task in background:
                    task.cancel()
        except (ControlSocketError, TransportError, HandoverError) as exc:
            raise StartError(str(exc)) from exc
        finally:
            self._driver.stop()
            self._transport.close()
            await self._control.close()
            if self._keeper is not None and not self._handed_over:
                self._keeper.close()
                self._engine.marks.close()
        if not self._handed_over:
            log.info("the BFD engine has drained")

    async def _begin(self) -> None:
        await self._control.start()
        self._transport.open()
        self._scheduling.acquire()
        self._resume(self._recover())
        self._scheduling.include_threads()
        self._views.memory = lock_memory()
        stop_collecting()
        self._driver.start()

    async def _succeed(self, predecessor: Predecessor) -> None:
        for transition in predecessor.history():
            self._recorder.history.add(transition)
        self._scheduling.acquire()
        self._views.memory = lock_memory()
        stop_collecting()
        # From here to the end of `confirm` nobody serves the sessions.
        parcel = predecessor.take()
        self._transport.adopt(parcel.receivers)
        for transition in parcel.transitions:
            self._recorder.history.add(transition)
        try:
            found = journal.parse(parcel.journal, self._identity)
        except JournalRefused as exc:
            raise StartError(f"what the engine before hands over is refused: {exc}") from exc
        if found.sessions and found.head.agent_left_us is None:
            # The agent was connected to the engine before, and has to come to this one.
            head = replace(found.head, agent_left_us=monotonic_us())
            found = replace(found, head=head)
        self._resume(found)
        predecessor.confirm()
        self._driver.start()
        await self._control.start(parcel.control)
        self._scheduling.include_threads()
        stop_collecting()

    async def hand_over(self) -> int:
        """Exchange this engine for a new one from what is installed now; its process.

        Raises HandoverError, and then goes on; Draining.
        """
        async with self._driver.settled():
            log.info("a new engine is started to take over")
            history = self._recorder.history
            seq = history.seq
            successor = await asyncio.to_thread(
                Successor.start, _command(self._options), history.of()
            )
            if self._engine.draining:
                # Told to end while the new one was started: there is nothing to go on with.
                successor.kill()
                raise Draining("the engine is draining")
            _, newer = history.after(seq)
            began_us = monotonic_us()
            self._give(successor, newer)
        log.info(
            "the BFD engine has handed over to process %d in %.1f ms",
            successor.pid,
            (monotonic_us() - began_us) / 1000,
        )
        notify(f"MAINPID={successor.pid}")
        return successor.pid

    def _give(self, successor: Successor, transitions: tuple[Transition, ...]) -> None:
        """Without a pause of ours in between. Raises HandoverError."""
        self._driver.stop()
        self._transport.close_senders()
        try:
            with self._engine.marks.lent():
                successor.give(
                    Parcel(
                        journal=self._journal(),
                        transitions=transitions,
                        control=self._control.listener,
                        receivers=self._transport.receivers,
                    )
                )
        except BaseException:
            self._driver.start()
            raise
        self._handed_over = True
        self._driver.leave()
        if self._keeper is not None:
            self._keeper.leave()
        self._transport.close()
        self._control.release()

    def _journal(self) -> bytes:
        remembered = [self._engine.remembered(each.key) for each in self._engine.sessions()]
        return journal.compose(
            journal.head_line(self._identity, self._head()),
            [
                journal.session_line(each, self._transport.port_of(each.discr))
                for each in remembered
                if each is not None
            ],
        )

    def end(self) -> None:
        """End, once the engine is handed over and that was told."""
        self._ended.set()

    def _recover(self) -> Journal | None:
        try:
            return recover(self._directory, self._identity, self._hold_s, monotonic_us())
        except JournalRefused as exc:
            log.warning(
                "the journal %s is refused: %s; the engine starts without sessions",
                self._directory / recovery.NAME,
                exc,
            )
            return None

    def _resume(self, found: Journal | None) -> None:
        try:
            self._engine.marks = SharedMarks(self._directory)
        except OSError as exc:
            log.warning(
                "no shared memory (%s): after a crash the sessions will start Down", exc.strerror
            )
        if found is not None:
            self._engine.generation = found.head.generation
            self._engine.overrides.update(found.head.overrides)
            self._engine.guests.invitations = found.head.invitations
            for remembered, port in found.sessions:
                self._transport.keep_port(remembered.discr, port)
            self._driver.restore([remembered for remembered, _ in found.sessions])
            if found.head.agent_left_us is not None:
                self._control.hold.went_at(found.head.agent_left_us)
            up = sum(each.state is State.UP for each in self._engine.sessions())
            log.info("resumed %d sessions, %d of them Up", len(found.sessions), up)
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
            generation=engine.generation,
            agent_left_us=self._control.hold.left_us,
            marks=engine.marks.name,
            overrides=engine.overrides,
            invitations=engine.guests.invitations,
        )

    def _wake_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.wake()


def _command(options: argparse.Namespace) -> list[str]:
    """What starts an engine like this one, from what is installed now."""
    command = [sys.executable, "-m", "bfd"]
    for name in ("runtime_dir", "key_file", "hold_time", "log_level", "log_format"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return command


async def serve(options: argparse.Namespace, selector: EngineSelector) -> None:
    """Run the engine until it has drained. Raises StartError."""
    await Service(options, selector).run()


def default_runtime_dir() -> Path:
    """$VEGD_RUNTIME_DIR, else /run/vegd."""
    return Path(os.environ.get("VEGD_RUNTIME_DIR") or "/run/vegd")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options; exits with status 2 on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="vegd bfd",
        description="The BFD engine: a process of its own, told what to do by vegd.",
        epilog="'vegd bfd handover' exchanges a running engine for what is installed now.",
    )
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=default_runtime_dir(),
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
    parser.add_argument("--successor-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not 0 <= options.hold_time < float("inf"):
        parser.error(f"--hold-time: {options.hold_time} is not a number of seconds, 0 or more")
    return options


def main(argv: Sequence[str]) -> int:
    """Run the engine; the exit status."""
    if argv[:1] == ["handover"]:
        return handover.run(argv[1:], default_runtime_dir())
    options = parse(argv)
    try:
        handler = logs.configure(options.log_level, options.log_format)
    except ValueError as exc:
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 2
    try:
        _make_directory(options.runtime_dir)
        loop = EngineLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(options, loop.selector))
    except StartError as exc:
        handler.close()
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 1
    return 0


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, exist_ok=True)
    except OSError as exc:
        raise StartError(f"runtime directory {path}: {exc.strerror}") from exc
