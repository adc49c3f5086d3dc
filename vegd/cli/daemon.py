"""``vegd run`` and ``vegd agent``: the daemon. Its command line is read by argparse, because what
the other commands need for that would stay in its memory: typer, pydantic and rich, 15 MB.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from bfd import logs
from vegd.agent import run_agent
from vegd.cli.complaints import complaining
from vegd.errors import UsageError
from vegd.settings import RUNTIME_DIR_VARIABLE, Settings, default_runtime_dir

_ABOUT = {
    "run": """Run the gateway: the agent, and the BFD engine as its child.

SIGTERM drains (AdminDown first, forwarding goes on), a second one ends at once. SIGHUP or a change
of the file reloads the configuration without touching what did not change.""",
    "agent": """Run the agent only; the BFD engine runs on its own (vegd bfd).

It can be stopped, restarted and upgraded with the sessions Up: the engine keeps them.""",
}


def main(command: str, arguments: Sequence[str]) -> None:
    """Run the daemon until a signal. Raises SystemExit with a complaint on standard error."""
    options = _parser(command).parse_args(arguments)
    with complaining():
        try:
            logs.configure(options.log_level, options.log_format)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        settings = Settings(
            # Other processes are told of it, which may be elsewhere.
            config=options.config.absolute(),
            runtime_dir=options.runtime_dir,
            log_level=options.log_level,
            log_format=options.log_format,
        )
        asyncio.run(
            run_agent(
                settings,
                with_engine=command == "run",
                followed=options.followed,
                with_watcher=options.kube,
            )
        )


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"vegd {command}",
        description=_ABOUT[command],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        type=Path,
        default=Path("/etc/vegd/gateway.yaml"),
        help="the gateway's configuration (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime-dir",
        metavar="DIR",
        type=Path,
        default=default_runtime_dir(),
        help=f"directory of the control sockets (default: ${RUNTIME_DIR_VARIABLE} or /run/vegd)",
    )
    parser.add_argument(
        "--followed",
        action="store_true",
        help="heed what a watcher (vegd watch) leaves in the runtime directory, too: of the two "
        "configurations the one with the higher revision counts",
    )
    parser.set_defaults(kube=False)
    if command == "run":
        parser.add_argument(
            "--kube",
            action="store_true",
            help="have a watcher as a child, and heed what it brings; it takes its options from "
            "the environment (vegd watch --help)",
        )
    parser.add_argument(
        "--log-level", metavar="LEVEL", default="info", help="debug, info, warning or error"
    )
    parser.add_argument(
        "--log-format",
        metavar="FORMAT",
        default="auto",
        help="auto (text on a terminal, JSON otherwise), text or json",
    )
    return parser
