"""``vegd status``: the gateway at a glance."""

from typing import TYPE_CHECKING

import typer

from vegd.cli.asking import ask
from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir, show, table

if TYPE_CHECKING:
    from vegd.status import GatewayStatus


def status(runtime_dir: RuntimeDir = RUNTIME_DIR, as_json: AsJson = False) -> None:
    """Show how the gateway is.

    Exit status: 0 ready, 1 not ready, 3 no daemon answers.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd.status import GatewayStatus  # noqa: PLC0415

    body = ask(runtime_dir, "GET", "/v1/status")
    gateway = msgspec.json.decode(body, type=GatewayStatus)
    if as_json:
        typer.echo(msgspec.json.format(body, indent=2).decode())
    else:
        _print(gateway)
    raise typer.Exit(0 if gateway.is_ready else 1)


def _print(gateway: "GatewayStatus") -> None:
    rows = table("", "")
    rows.show_header = False
    up = sum(1 for each in gateway.sessions if each.state == "Up")
    rows.add_row("gateway", gateway.name)
    rows.add_row("state", gateway.state.value)
    for label, texts in (
        ("reason", gateway.reasons),
        ("fault", gateway.config_faults),
        ("note", gateway.notes),
    ):
        for text in texts:
            rows.add_row(label, text)
    rows.add_row("config", f"{gateway.config} (generation {gateway.generation})")
    rows.add_row("dataplane", f"{gateway.dataplane} (generation {gateway.dataplane_generation})")
    if gateway.revision is not None:
        rows.add_row("revision", f"{gateway.revision} is carried out")
    rows.add_row("gate", gateway.gate)
    for path in gateway.paths:
        rows.add_row(f"path {path.family}", path.state)
    if gateway.drain is not None:
        lasts, quiet = gateway.drain.lasts_s, gateway.drain.quiet_s
        rows.add_row("drain", f"for {lasts:g} s, the last packet {quiet:g} s ago")
    if gateway.engine is None:
        rows.add_row("engine", "does not answer")
    else:
        engine = gateway.engine
        rows.add_row("engine", f"process {engine.pid}, {engine.scheduling}, stalls {engine.stalls}")
    rows.add_row("sessions", f"{up} of {len(gateway.sessions)} Up")
    if gateway.conntrack_entries is not None:
        rows.add_row("conntrack", f"{gateway.conntrack_entries} of {gateway.conntrack_maximum}")
    if gateway.watcher_contact_s is not None:
        rows.add_row("watcher", f"heard the API server {gateway.watcher_contact_s:.0f} s ago")
    show(rows)
