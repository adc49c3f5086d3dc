"""``vegd plan``: what the daemon would change."""

import asyncio
from pathlib import Path
from typing import Any

import typer

from vegd.cli.in_force import in_force
from vegd.cli.looking import open_kernel
from vegd.cli.options import RUNTIME_DIR, AsJson, Config, RuntimeDir


def plan(
    config: Config = None, as_json: AsJson = False, runtime_dir: RuntimeDir = RUNTIME_DIR
) -> None:
    """Print what would change in the kernel, and change nothing: by the configuration that is in
    force, or by the file that is given.

    Exit status: 0 nothing to change, 1 something (also if it has to wait for an interface), 2 bad
    configuration, 3 the kernel could not be looked at.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    document = asyncio.run(_plan(in_force(config, runtime_dir)))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        lines: list[str] = [f"waiting: {reason}" for reason in document["waiting"]]
        lines += [f"note: {note}" for note in document["notes"]]
        lines += [line for each in document["operations"] for line in each["lines"]]
        typer.echo("\n".join(lines) or "nothing to change")
    raise typer.Exit(1 if document["operations"] or document["waiting"] else 0)


async def _plan(config: Path) -> dict[str, list[Any]]:
    from dataplane.diff import diff  # noqa: PLC0415 - --help stays quick
    from dataplane.render import render  # noqa: PLC0415
    from vegd.compile import Waiting, compile  # noqa: A004, PLC0415
    from vegd.facts import NodeFacts  # noqa: PLC0415
    from vegd.spec import load  # noqa: PLC0415

    spec = load(config)
    async with open_kernel() as kernel:
        compiled = compile(spec, NodeFacts(await kernel.interfaces(), await kernel.tracking()))
        if isinstance(compiled, Waiting):
            return {"waiting": list(compiled.reasons), "notes": [], "operations": []}
        desired = render(compiled.dataplane)
        plan = diff(await kernel.observe(desired), desired)
        return {"waiting": [], "notes": list(compiled.notes), "operations": plan.to_json()}
