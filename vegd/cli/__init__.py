"""The ``vegd`` command: one module per command, imported when it is used.

``vegd bfd`` is dispatched before anything else is imported, so that the engine carries nothing but
the standard library. Exit status of every command: 0 well, 1 not well, 2 bad usage or bad
configuration, 3 the daemon could not be asked.
"""

import sys


def main() -> None:
    """Run the command line; never returns."""
    if sys.argv[1:2] == ["bfd"]:
        from bfd.__main__ import main as serve  # noqa: PLC0415 - the engine stays light

        raise SystemExit(serve(sys.argv[2:]))
    from vegd.cli.app import run_command_line  # noqa: PLC0415 - and so does its start

    run_command_line()
