"""``vegd ports``: how many ports SNAT has in use, and for whom they run out."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vegd.cli.in_force import in_force
from vegd.cli.looking import open_gateway
from vegd.cli.options import RUNTIME_DIR, AsJson, Config, RuntimeDir, show, table
from vegd.words import endpoint

if TYPE_CHECKING:
    from dataplane.model import GatewayIntent
    from dataplane.portuse import Census

_SCARCE = 0.8
_SHOWN = 3


def ports(
    config: Config = None, as_json: AsJson = False, runtime_dir: RuntimeDir = RUNTIME_DIR
) -> None:
    """Show the ports in use of each external address and protocol, and the busiest destinations.

    Connections may share a port if they lead to different places, so ports run out for one
    destination at a time: USED is the share that the busiest one has taken.

    Exit status: 0 well, 1 a destination has 80 % of the ports or more, 2 bad configuration, 3 the
    kernel could not be looked at.
    """
    found = asyncio.run(_rows(in_force(config, runtime_dir)))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    raise typer.Exit(1 if any((each["used_ratio"] or 0) >= _SCARCE for each in found) else 0)


Row = dict[str, Any]


async def _rows(config: Path) -> list[Row]:
    async with open_gateway(config) as (kernel, intent):
        return rows(intent, await kernel.census())


def rows(intent: "GatewayIntent", census: "Census") -> list[Row]:
    """Each external address and protocol in use, the busiest first."""
    from dataplane.portuse import ports_available  # noqa: PLC0415 - --help stays quick

    found = []
    for use in census.uses:
        available = ports_available(intent, use.address)
        found.append(
            {
                "external": str(use.address),
                "protocol": use.protocol,
                "connections": use.connections,
                "ports_in_use": use.ports,
                "ports_available": available,
                "used_ratio": use.busiest[0].connections / available if available else None,
                "busiest": [
                    {"address": str(e.address), "port": e.port, "connections": e.connections}
                    for e in use.busiest
                ],
            }
        )
    return found


def _print(found: list[Row]) -> None:
    if not found:
        typer.echo("SNAT has no connection with ports")
        return
    made = table(
        "EXTERNAL", "PROTOCOL", "CONNECTIONS", "PORTS", "OF", "USED", "BUSIEST DESTINATIONS"
    )
    for each in found:
        ratio = each["used_ratio"]
        busiest = [
            f"{endpoint(to['address'], to['port'])} {to['connections']}"
            for to in each["busiest"][:_SHOWN]
        ]
        made.add_row(
            each["external"],
            each["protocol"],
            str(each["connections"]),
            str(each["ports_in_use"]),
            str(each["ports_available"] or "-"),
            "-" if ratio is None else f"{ratio:.1%}",
            ", ".join(busiest),
        )
    show(made)
    if any(not each["ports_available"] for each in found):
        typer.echo("-: SNAT shows this address no more; its connections end by themselves")
