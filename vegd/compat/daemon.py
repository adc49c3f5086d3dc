"""The process that the commands ask: the gateway that the init container has made, kept as it is,
and the BFD engine as its child.

``kube-ovn-bfdd-supervisor run`` takes all sessions from the pod's environment. ``bfdd-beacon`` is
told its own addresses by options; peers and values come from the environment as well, where they
are, and from ``bfdd-control``. The gateway is the agent of ``vegd run``; where the init container
has left none that could be kept (`vegd.compat.keeper`), only the sessions are there.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from bfd import logs
from bfd.realtime import open_many_files
from vegd import limits
from vegd.compat import client
from vegd.compat.answers import Answers
from vegd.compat.keeper import pod_gateway
from vegd.compat.lines import serve_lines
from vegd.compat.pages import serve_pages
from vegd.compat.wishes import Wishes, address, from_environment, number
from vegd.errors import VegdError, first_of
from vegd.settings import RUNTIME_DIR_VARIABLE, Settings, default_runtime_dir
from vegd.sources.saved import saved_file
from vegd.supervise import Supervisor

_SUPERVISOR, _BEACON = "kube-ovn-bfdd-supervisor", "bfdd-beacon"
_METRICS_ADDRESS = ":10669"
_GRACE = "VEGD_DRAIN_GRACE"
_GRACE_S, _LONGEST_GRACE_S = 25, 3_600
"""Kube-OVN gives 30 s, and nobody tells the process."""


def supervise() -> NoReturn:
    """``kube-ovn-bfdd-supervisor run``."""
    _run(_SUPERVISOR, (), Path(client.supervisor_socket(os.environ)))


def beacon() -> NoReturn:
    """``bfdd-beacon``."""
    _run(_BEACON, _beacon_options(sys.argv[1:]).listen, None)


def _beacon_options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_BEACON)
    parser.add_argument("--nofork", action="store_true", help="stays in the foreground, always")
    parser.add_argument("--tee", action="store_true", help="logs to standard error, always")
    parser.add_argument("--listen", action="append", required=True, metavar="IP")
    return parser.parse_args(argv)


def _run(name: str, listen: Sequence[str], supervisor_socket: Path | None) -> NoReturn:
    try:
        wishes = from_environment(os.environ, map(address, listen))
        grace_s = number(os.environ, _GRACE, _GRACE_S, most=_LONGEST_GRACE_S, least=0)
    except ValueError as exc:
        _end(name, exc)
    if supervisor_socket is not None and not wishes.sessions:
        _end(name, "POD_IPS, BFD_PEER_IPS: there are no two addresses of one family")
    logs.configure()
    trouble: BaseException | None = None
    try:
        asyncio.run(_serve(os.environ, wishes, grace_s, supervisor_socket))
    except* (VegdError, OSError) as group:
        trouble = first_of(group)
    if trouble is not None:
        _end(name, trouble)
    raise SystemExit(0)


async def _serve(
    environ: Mapping[str, str], wishes: Wishes, grace_s: int, supervisor_socket: Path | None
) -> None:
    open_many_files()
    limits.complain()
    settings = Settings(saved_file(environ), default_runtime_dir())
    _make(settings.runtime_dir, RUNTIME_DIR_VARIABLE)
    engine = Supervisor(settings)
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(pod_gateway(settings, engine, grace_s))
        answers = Answers(wishes, gateway.sessions, engine, gateway.choose_sessions)
        control = Path(client.control_socket(environ))
        await stack.enter_async_context(serve_lines(control, answers.control))
        if supervisor_socket is not None:
            _make(supervisor_socket.parent, "BFDD_SUPERVISOR_SOCKET")
            await stack.enter_async_context(serve_lines(supervisor_socket, answers.supervision))
        listen = environ.get("BFDD_METRICS_ADDRESS") or _METRICS_ADDRESS
        await stack.enter_async_context(serve_pages(listen, answers.status, gateway.pages))
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(answers.watch())
            await gateway.run()
            watch.cancel()


def _make(directory: Path, variable: str) -> None:
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as exc:
        raise VegdError(
            f"{variable}: {directory} cannot be made ({exc.strerror}); "
            "name a place that this user may write to"
        ) from exc


def _end(name: str, exc: BaseException | str) -> NoReturn:
    sys.stderr.write(f"{name}: {exc}\n")
    raise SystemExit(1)
