"""The ``vegd`` command: one module per command, imported when it is used.

The processes that stay, ``vegd bfd``, ``run``, ``agent``, ``watch`` and ``observe``, are dispatched
before anything else is imported, so that they carry only what they need: the engine nothing but the
standard library, the others no command line of the rest and, until it is needed, no OpenSSL.
Exit status of every command: 0 well, 1 not well, 2 bad usage or bad configuration, 3 the daemon
could not be asked.
"""

import sys


def main() -> None:
    """Run the command line."""
    command, arguments = "".join(sys.argv[1:2]), sys.argv[2:]
    if command == "bfd":
        from bfd.__main__ import main as engine  # noqa: PLC0415 - see above

        raise SystemExit(engine(arguments))
    if command in {"run", "agent"}:
        from bfd.lean import without_openssl  # noqa: PLC0415 - see above

        without_openssl()
        from vegd.cli.daemon import main as daemon  # noqa: PLC0415 - only now

        daemon(command, arguments)
        return
    if command == "watch":
        from vegd.cli.watch import main as watcher  # noqa: PLC0415 - see above

        watcher(arguments)
        return
    if command == "observe":
        from vegd.observer.client import main as observer  # noqa: PLC0415 - see above

        observer(arguments)
    from vegd.cli.complaints import complaining  # noqa: PLC0415 - see above
    from vegd.limits import spare_the_daemon  # noqa: PLC0415

    with complaining():
        spare_the_daemon()
        from vegd.cli.app import run_command_line  # noqa: PLC0415 - only now

        run_command_line()
