"""The command line as a whole: which commands there are, and how errors reach the user.

Commands are named here with the module that defines them; the module is imported when the command,
or the overview of all of them, is asked for.
"""

import importlib
import sys
from typing import Annotated

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from vegd import __version__
from vegd.errors import VegdError

_COMMANDS = ("run", "agent", "bfd", "check", "plan", "status", "sessions", "lab")


class LazyGroup(TyperGroup):
    """Finds a command in ``vegd.cli.NAME``, attribute ``app``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order a newcomer meets them."""
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        app: typer.Typer = importlib.import_module(f"vegd.cli.{cmd_name}").app
        command = get_group(app) if app.registered_callback else get_command(app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the value
    if asked:
        typer.echo(f"vegd {__version__}")
        raise typer.Exit


@app.callback()
def vegd(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """The VPC egress gateway: native BFD, SNAT, and a kernel that stays as it was asked to be.

    Exit status: 0 well, 1 not well, 2 bad usage or configuration, 3 the daemon could not be asked.
    """


def run() -> None:
    """Run the command line; an expected error is one line on standard error."""
    try:
        app(prog_name="vegd")
    except VegdError as exc:
        _complain(exc)
    except BaseExceptionGroup as group:
        expected, unexpected = group.split(VegdError)
        if unexpected is not None or expected is None:
            raise
        _complain(_first(expected))
    except BrokenPipeError:
        # The reader has gone (| head); what it has not read is not missed.
        sys.stderr.close()
        raise SystemExit(0) from None


def _first(group: BaseExceptionGroup[VegdError]) -> VegdError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _complain(error: VegdError) -> None:
    for line in str(error).splitlines():
        typer.echo(f"vegd: {line}", err=True)
    raise SystemExit(error.exit_status)
