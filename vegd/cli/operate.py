"""What an operator may do to sessions: hold them down, lay other values over them, clear counters.

These are overrides held by the engine (`bfd.override`). They stay when the agent commits again or
is restarted, and when a killed engine resumes from its journal; they end with ``admin-up`` and
``unset``, or when the engine is stopped in order.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bfd.client import Client
from bfd.config import SessionKey
from bfd.override import Override
from vegd.cli.engine import (
    AnyPeer,
    OwnRuntimeDir,
    Peer,
    ask,
    asked,
    no_session,
)
from vegd.errors import UsageError
from vegd.words import override_text

clear = typer.Typer(no_args_is_help=True)


@clear.callback()
def clear_group() -> None:
    """Let counters start from zero."""


@clear.command("counters")
def clear_counters(
    context: typer.Context, peer: AnyPeer = None, runtime_dir: OwnRuntimeDir = None
) -> None:
    """Let the counters of the sessions with a peer, or all of the engine, start from zero.

    The history stays. Prometheus sees a counter that starts anew, as after a restart.
    """
    ours = asked(context, runtime_dir)
    ask(ours.socket, lambda client: client.clear_counters(peer))


def admin_down(context: typer.Context, peer: Peer, runtime_dir: OwnRuntimeDir = None) -> None:
    """Hold the sessions with a peer in AdminDown, until admin-up.

    The peer is told at once (diagnostic 7, administratively down), and stops sending traffic here.
    """
    _change(asked(context, runtime_dir).socket, peer, lambda old: replace(old, admin_down=True))


def admin_up(context: typer.Context, peer: Peer, runtime_dir: OwnRuntimeDir = None) -> None:
    """End admin-down: the sessions with a peer run again as the configuration says."""
    _change(asked(context, runtime_dir).socket, peer, lambda old: replace(old, admin_down=False))


MinTx = Annotated[
    int | None, typer.Option("--min-tx", metavar="MS", help="Desired Min TX Interval.")
]
MinRx = Annotated[
    int | None,
    typer.Option("--min-rx", metavar="MS", help="Required Min RX Interval; 0: send nothing."),
]
Multiplier = Annotated[int | None, typer.Option("--multiplier", help="Detect Mult, 1 to 255.")]
MinTtl = Annotated[
    int | None, typer.Option("--min-ttl", help="Least TTL or hop limit to accept, 1 to 255.")
]


def set_values(
    context: typer.Context,
    peer: Peer,
    min_tx: MinTx = None,
    min_rx: MinRx = None,
    multiplier: Multiplier = None,
    min_ttl: MinTtl = None,
    runtime_dir: OwnRuntimeDir = None,
) -> None:
    """Lay other values over the sessions with a peer, at once and without a flap, until unset."""
    values: dict[str, Any] = {
        "desired_min_tx_us": None if min_tx is None else min_tx * 1000,
        "required_min_rx_us": None if min_rx is None else min_rx * 1000,
        "detect_mult": multiplier,
        "min_ttl": min_ttl,
    }
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise UsageError("nothing to set; give --min-tx, --min-rx, --multiplier or --min-ttl")
    try:
        Override(**given)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    _change(asked(context, runtime_dir).socket, peer, lambda old: replace(old, **given))


def unset_values(
    context: typer.Context,
    peer: Peer,
    min_tx: Annotated[bool, typer.Option("--min-tx", help="Only this value.")] = False,
    min_rx: Annotated[bool, typer.Option("--min-rx", help="Only this value.")] = False,
    multiplier: Annotated[bool, typer.Option("--multiplier", help="Only this value.")] = False,
    min_ttl: Annotated[bool, typer.Option("--min-ttl", help="Only this value.")] = False,
    runtime_dir: OwnRuntimeDir = None,
) -> None:
    """Take back what was set, all of it unless values are named; admin-down stays."""
    chosen = {
        "desired_min_tx_us": min_tx,
        "required_min_rx_us": min_rx,
        "detect_mult": multiplier,
        "min_ttl": min_ttl,
    }
    everything = not any(chosen.values())
    gone: dict[str, Any] = {name: None for name, named in chosen.items() if named or everything}
    _change(asked(context, runtime_dir).socket, peer, lambda old: replace(old, **gone))


def _change(socket: Path, peer: str, change: Callable[[Override], Override]) -> None:
    async def carry_out(client: Client) -> list[tuple[SessionKey, Override]]:
        engine = await client.snapshot()
        before = {each.key: each.override for each in engine.sessions if each.key.peer == peer}
        # Of a session that is not in the set now no more is known than that there is something.
        before |= {key: Override() for key in engine.idle_overrides if key.peer == peer}
        if not before:
            raise no_session(peer)
        after = {key: change(old) for key, old in before.items()}
        for key, override in after.items():
            await client.override(key, override)
        return list(after.items())

    for key, override in ask(socket, carry_out):
        typer.echo(f"{key}: override {override_text(override)}")
