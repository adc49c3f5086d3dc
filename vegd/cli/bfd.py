"""``vegd bfd`` as it shows in the overview; the command itself is dispatched in `vegd.cli`."""

import typer

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
"""The engine reads its own arguments."""


def bfd(context: typer.Context) -> None:
    """Run the BFD engine alone: standard library only, a process of its own."""
    from bfd.service import main  # noqa: PLC0415 - --help stays quick

    raise typer.Exit(main(context.args))
