"""The command line as a whole: which commands there are.

Importing this module is cheap: each command imports what it needs when it runs.
"""

from typing import Annotated

import typer

from vegd import __version__
from vegd.cli import (
    adopt,
    capture,
    check,
    clean,
    crds,
    doctor,
    drain,
    flows,
    init,
    lab,
    plan,
    policies,
    ports,
    processes,
    sessions,
    status,
    support_bundle,
    why,
)
from vegd.cli.complaints import complaining

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
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


for process in (
    processes.run,
    processes.agent,
    processes.bfd,
    processes.observe,
    processes.watch,
    processes.controller,
):
    app.command(add_help_option=False, context_settings=processes.PASS_ON)(process)
app.command()(check.check)
app.command()(adopt.adopt)
app.command()(crds.crds)
app.command()(plan.plan)
app.command()(init.init)
app.command()(status.status)
app.command()(policies.policies)
app.command()(ports.ports)
app.command()(flows.flows)
app.command()(doctor.doctor)
app.command()(support_bundle.support_bundle)
app.command()(capture.capture)
app.command()(drain.drain)
app.command()(drain.undrain)
app.command()(clean.clean)
app.command()(why.why)
app.add_typer(sessions.app, name="sessions")
app.add_typer(lab.app, name="lab")


def run_command_line() -> None:
    """Run the command line; an expected error is one line on standard error."""
    with complaining():
        app(prog_name="vegd")
