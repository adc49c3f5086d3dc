"""``vegd drain`` and ``vegd undrain``: take a running gateway out of use by hand, and back in."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from vegd.cli.asking import ask
from vegd.cli.options import RUNTIME_DIR, RuntimeDir

if TYPE_CHECKING:
    from vegd.status import GatewayStatus

_LOOK_S = 0.5


def drain(
    runtime_dir: RuntimeDir = RUNTIME_DIR,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, help="Wait until nothing was forwarded for so long."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Give up waiting after so long.")
    ] = 60.0,
) -> None:
    """Announce AdminDown to all peers and forward on, until vegd undrain.

    It outlasts a restart of the daemon. Exit status: 0 drained, 1 traffic still came when the
    timeout was over, 3 no daemon answers.
    """
    status = _status(ask(runtime_dir, "POST", "/v1/drain"))
    if wait is None:
        typer.echo("draining: the sessions are AdminDown, forwarding goes on")
        return
    deadline = time.monotonic() + timeout
    while status.drain is not None and status.drain.quiet_s < wait:
        if time.monotonic() > deadline:
            typer.echo(f"after {timeout:g} s there is still traffic", err=True)
            raise typer.Exit(1)
        time.sleep(_LOOK_S)
        status = _status(ask(runtime_dir, "GET", "/v1/status"))
    typer.echo(f"drained: nothing was forwarded for {wait:g} s")


def undrain(runtime_dir: RuntimeDir = RUNTIME_DIR) -> None:
    """End a drain by hand: the sessions come up again.

    Exit status: 0 well, 3 no daemon answers.
    """
    ask(runtime_dir, "POST", "/v1/undrain")
    typer.echo("not draining any more")


def _status(body: bytes) -> "GatewayStatus":
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd.status import GatewayStatus  # noqa: PLC0415

    return msgspec.json.decode(body, type=GatewayStatus)
