"""``vegd status``: the gateway at a glance."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir, show, table
from vegd.errors import Unreachable

if TYPE_CHECKING:
    from vegd.status import GatewayStatus

_ANSWER_S = 10.0


def status(runtime_dir: RuntimeDir = RUNTIME_DIR, as_json: AsJson = False) -> None:
    """Show how the gateway is.

    Exit status: 0 ready, 1 not ready, 3 no daemon answers.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd.status import GatewayStatus  # noqa: PLC0415

    body = asyncio.run(_ask(runtime_dir / "agent.sock"))
    gateway = msgspec.json.decode(body, type=GatewayStatus)
    if as_json:
        typer.echo(msgspec.json.format(body, indent=2).decode())
    else:
        _print(gateway)
    raise typer.Exit(0 if gateway.is_ready else 1)


async def _ask(path: Path) -> bytes:
    import aiohttp  # noqa: PLC0415 - --help stays quick

    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://vegd/v1/status", raise_for_status=True) as answer,
        ):
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise Unreachable(
            f"no daemon answers at {path} ({str(exc) or 'no answer in time'}); is vegd running, "
            "and is --runtime-dir the one it was started with?"
        ) from exc


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
    rows.add_row("dataplane", gateway.dataplane)
    rows.add_row("gate", gateway.gate)
    if gateway.engine is None:
        rows.add_row("engine", "does not answer")
    else:
        engine = gateway.engine
        rows.add_row("engine", f"process {engine.pid}, {engine.scheduling}, stalls {engine.stalls}")
    rows.add_row("sessions", f"{up} of {len(gateway.sessions)} Up")
    if gateway.conntrack_entries is not None:
        rows.add_row("conntrack", f"{gateway.conntrack_entries} of {gateway.conntrack_maximum}")
    show(rows)
