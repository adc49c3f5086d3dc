"""``vegd policies``: what was forwarded under each policy, from the kernel."""

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from vegd.cli.in_force import in_force
from vegd.cli.looking import open_kernel
from vegd.cli.options import RUNTIME_DIR, AsJson, Config, RuntimeDir, show, table

if TYPE_CHECKING:
    from dataplane.kernel import PolicyCounter
    from vegd.spec import GatewaySpec

_WAYS = ("out", "in")


def policies(
    config: Config = None, as_json: AsJson = False, runtime_dir: RuntimeDir = RUNTIME_DIR
) -> None:
    """Show the policies with packets and bytes, out of the VPC and back, since the kernel has them.

    Exit status: 0 the kernel has all of them, 1 it lacks one, 2 bad configuration, 3 the kernel
    could not be looked at.
    """
    from vegd.spec import load  # noqa: PLC0415 - --help stays quick

    spec = load(in_force(config, runtime_dir))
    found = rows(spec, asyncio.run(_counters()))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    raise typer.Exit(0 if all(each["out"] and each["in"] for each in found) else 1)


async def _counters() -> "tuple[PolicyCounter, ...]":
    async with open_kernel() as kernel:
        return await kernel.counters()


def rows(spec: "GatewaySpec", counters: "tuple[PolicyCounter, ...]") -> list[dict[str, object]]:
    """Each policy and family, with the counters of each direction, None for what is not there."""
    figures = {(each.policy, each.family, each.direction): each for each in counters}
    found: list[dict[str, object]] = []
    for policy in spec.policies:
        for version in (4, 6):
            sources = sum(1 for block in policy.ip_blocks if block.version == version)
            if not sources:
                continue
            row: dict[str, object] = {
                "policy": policy.name,
                "snat": policy.snat,
                "family": f"ipv{version}",
                "sources": sources,
            }
            for way in _WAYS:
                each = figures.get((policy.name, version, way))
                row[way] = each and {"packets": each.packets, "bytes": each.bytes}
            found.append(row)
    return found


def _print(found: list[dict[str, object]]) -> None:
    if not found:
        typer.echo("no policy lists a source")
        return
    made = table(
        "POLICY", "FAMILY", "SNAT", "SOURCES", "PACKETS OUT", "BYTES OUT", "PACKETS IN", "BYTES IN"
    )
    for each in found:
        cells: list[str] = []
        for way in _WAYS:
            figures = each[way]
            cells += map(str, figures.values()) if isinstance(figures, dict) else ("-", "-")
        snat = "yes" if each["snat"] else "no"
        made.add_row(str(each["policy"]), str(each["family"]), snat, str(each["sources"]), *cells)
    show(made)
    if any(each["out"] is None for each in found):
        typer.echo("-: not in the kernel; 'vegd plan' says what is missing")
