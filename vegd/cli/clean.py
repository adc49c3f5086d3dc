"""``vegd clean``: take everything of ours out of the kernel, and nothing else."""

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegd.cli.looking import open_kernel
from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir
from vegd.errors import VegdError

if TYPE_CHECKING:
    from dataplane.plan import Plan


def clean(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed; remove nothing.")
    ] = False,
    as_json: AsJson = False,
    runtime_dir: RuntimeDir = RUNTIME_DIR,
) -> None:
    """Remove every object of ours from this network namespace, and print the plan of it.

    Ours is what bears our mark: table inet vegd, routes, rules and addresses of protocol 86, the
    macvlan. Kernel parameters get back what they had before, if they are still as vegd set them.

    Exit status: 0 removed, or nothing there; 1 a daemon runs, something could not be removed, or,
    with --dry-run, something is there; 3 the kernel could not be looked at.
    """
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd import lock  # noqa: PLC0415

    with contextlib.closing(lock.hold(remedy="stop it first, it would put everything back")):
        plan = asyncio.run(_clean(runtime_dir, dry_run=dry_run))
    if as_json:
        body = msgspec.json.encode({"removed": not dry_run, "plan": plan.to_json()})
        typer.echo(msgspec.json.format(body, indent=2).decode())
    else:
        typer.echo("\n".join(plan.lines()) or "nothing to remove")
    raise typer.Exit(1 if dry_run and plan else 0)


async def _clean(runtime_dir: Path, *, dry_run: bool) -> "Plan":
    from dataplane.diff import diff  # noqa: PLC0415 - --help stays quick
    from dataplane.model import DataplaneState  # noqa: PLC0415
    from vegd.originals import Originals  # noqa: PLC0415

    originals = Originals(runtime_dir)
    async with open_kernel() as kernel:
        observed = await kernel.observe(DataplaneState(sysctls=originals.named()))
        plan = diff(observed, DataplaneState(sysctls=originals.to_restore(observed)))
        if dry_run:
            return plan
        await _refuse_beside_engine(runtime_dir)
        report = await kernel.apply(plan)
    if not report.ok:
        raise VegdError("\n".join(f"not removed: {error}" for _, error in report.failed))
    originals.forget()
    return plan


async def _refuse_beside_engine(runtime_dir: Path) -> None:
    """An engine that outlives its agent keeps the sessions: the router would send into a hole."""
    from bfd.client import Client, ControlError  # noqa: PLC0415 - --help stays quick

    try:
        async with Client(runtime_dir / "bfd.sock") as client:
            engine = await client.snapshot()
    except (OSError, ControlError):
        return
    if any(each.config.enabled for each in engine.sessions):
        raise VegdError(
            f"a BFD engine (process {engine.pid}) still has sessions, so the router would go on "
            "sending here; stop it first (SIGTERM), it tells the peers"
        )
