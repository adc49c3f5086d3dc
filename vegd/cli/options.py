"""Options that several commands share, and the way they print."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vegd.settings import RUNTIME_DIR_VARIABLE

RuntimeDir = Annotated[
    Path,
    typer.Option(
        "--runtime-dir",
        envvar=RUNTIME_DIR_VARIABLE,
        help="Directory of the control sockets.",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The gateway's configuration. Default: the file that is in force, as the daemon says; "
        "while none answers, /etc/vegd/gateway.yaml, or followed.yaml of the runtime directory if "
        "its revision is higher.",
    ),
]
LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
LogFormat = Annotated[
    str,
    typer.Option("--log-format", help="auto (text on a terminal, JSON otherwise), text or json."),
]

RUNTIME_DIR = Path("/run/vegd")
CONFIG = Path("/etc/vegd/gateway.yaml")
"""Of a daemon that is told no other."""


def table(*columns: str) -> Table:
    """A table without lines, that can be piped into other programs."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made


def show(what: object) -> None:
    """Print to standard output; colours on a terminal only, never cut where it is piped."""
    # Without markup: "[fd00::1]:53" is no style.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=400)
    console.print(what)
