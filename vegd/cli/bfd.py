"""``vegd bfd`` as it shows in the overview; the command itself is dispatched in `vegd.cli`."""

import typer

from bfd.service import main

app = typer.Typer()


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def bfd(context: typer.Context) -> None:
    """Run the BFD engine alone: standard library only, a process of its own."""
    raise typer.Exit(main(context.args))
