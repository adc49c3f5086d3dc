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

from bfd import logs
from bfd.control import ControlServer, ControlSocketError
from bfd.discriminators import KEY_LENGTH, Discriminators
from bfd.driver import Driver
from bfd.engine import Engine
from bfd.realtime import Scheduling, lock_memory, stop_collecting
from bfd.recorder import Recorder
from bfd.selector import MillisecondSelector
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


async def serve(runtime_dir: Path, key_file: Path, hold_s: float) -> None:
    """Run the engine until it has drained. Raises StartError."""
    # Jitter only has to differ between sessions and from run to run; nothing is guarded by it.
    draw = random.Random().random  # noqa: S311
    engine = Engine(Discriminators(load_key(key_file)), draw, socket.if_indextoname)
    scheduling = Scheduling()
    transport = UdpTransport(monotonic_us)
    vitals = VitalsReader()
    recorder = Recorder(engine, time.time, vitals.read, transport.count_overflows)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    driver: Driver[Receiver] = Driver(engine, transport, loop, monotonic_us, ended.set, recorder)
    views = ProcessViews(driver, monotonic_us, scheduling, vitals)
    control = ControlServer(runtime_dir / "bfd.sock", driver, views, hold_s)
    try:
        await control.start()
        transport.open()
        scheduling.acquire()
        views.memory = lock_memory()
        stop_collecting()
        driver.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, driver.drain)
        log.info(
            "the BFD engine is ready (pid %d, scheduling %s, memory %s)",
            os.getpid(),
            scheduling,
            views.memory,
        )
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(control.keep_hold_time()),
                tasks.create_task(driver.follow_key_files()),
            ]
            await ended.wait()
            for task in background:
                task.cancel()
    except (ControlSocketError, TransportError) as exc:
        raise StartError(str(exc)) from exc
    finally:
        driver.stop()
        transport.close()
        await control.close()
    log.info("the BFD engine has drained")


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
    runtime_dir: Path = options.runtime_dir
    try:
        handler = logs.configure(options.log_level, options.log_format)
    except ValueError as exc:
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 2
    try:
        _make_directory(runtime_dir)
        key_file = options.key_file or runtime_dir / "discriminator.key"
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(runtime_dir, key_file, options.hold_time))
    except StartError as exc:
        handler.close()
        sys.stderr.write(f"vegd bfd: {exc}\n")
        return 1
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(MillisecondSelector())


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, exist_ok=True)
    except OSError as exc:
        raise StartError(f"runtime directory {path}: {exc.strerror}") from exc
