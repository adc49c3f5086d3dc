"""``vegd sessions``: the BFD sessions, straight from the engine."""

import asyncio
import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from bfd.auth import AuthConfig
from bfd.client import Client, ControlError
from bfd.config import SessionKey
from bfd.fsm import State
from bfd.snapshot import EngineSnapshot, SessionSnapshot, StateChange
from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir, show, table
from vegd.errors import Unreachable, VegdError
from vegd.status import state_name

app = typer.Typer(invoke_without_command=True)


@app.callback()
def sessions(
    context: typer.Context, runtime_dir: RuntimeDir = RUNTIME_DIR, as_json: AsJson = False
) -> None:
    """List the BFD sessions, or show one (vegd sessions show PEER).

    Exit status: 0 all are Up, 1 one is not or there is none, 3 no engine answers.
    """
    context.obj = (runtime_dir, as_json)
    if context.invoked_subcommand is not None:
        return
    engine = _ask(runtime_dir)
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in engine.sessions], indent=2))
    else:
        rows = table(
            "LOCAL", "PEER", "STATE", "REMOTE", "FOR", "TX ms", "DETECT ms", "CHANGES", "WHY"
        )
        for each in engine.sessions:
            rows.add_row(*_row(each))
        show(rows)
    _exit(engine.sessions)


@app.command("show")
def show_session(
    context: typer.Context,
    peer: Annotated[str, typer.Argument(help="Address of the peer.")],
    as_json: AsJson = False,
) -> None:
    """Show everything about the sessions with one peer."""
    runtime_dir, json_before = context.obj
    try:
        wanted = str(ip_address(peer))
    except ValueError as exc:
        raise typer.BadParameter(f"{peer!r} is not an IP address", param_hint="PEER") from exc
    found = tuple(each for each in _ask(runtime_dir).sessions if each.key.peer == wanted)
    if not found:
        raise VegdError(f"there is no session with {wanted}; 'vegd sessions' lists them all")
    if as_json or json_before:
        typer.echo(json.dumps([each.to_json() for each in found], indent=2))
    else:
        for each in found:
            rows = table("", "")
            rows.show_header = False
            for label, text in _details(each):
                rows.add_row(label, text)
            show(rows)
    _exit(found)


def _exit(sessions: tuple[SessionSnapshot, ...]) -> None:
    all_up = sessions and all(each.state is State.UP for each in sessions)
    raise typer.Exit(0 if all_up else 1)


def _ask(runtime_dir: Path) -> EngineSnapshot:
    async def ask() -> EngineSnapshot:
        async with Client(runtime_dir / "bfd.sock") as client:
            return await client.snapshot()

    try:
        return asyncio.run(ask())
    except (OSError, ControlError) as exc:
        raise Unreachable(
            f"no BFD engine answers at {runtime_dir / 'bfd.sock'} ({exc}); is it running, "
            "and is --runtime-dir the one it was started with?"
        ) from exc


def _row(each: SessionSnapshot) -> tuple[str, ...]:
    change = each.last_change
    return (
        each.key.local,
        _peer(each.key),
        state_name(each.state),
        state_name(each.remote_state),
        _age(change.at) if change else "-",
        _ms(each.tx_interval_us),
        _ms(each.detection_time_us),
        str(each.transitions),
        change.reason if change else "-",
    )


def _peer(key: SessionKey) -> str:
    zone = f"%{key.interface}" if key.interface else ""
    return f"{key.peer}{zone}" + (" multihop" if key.multihop else "")


def _details(each: SessionSnapshot) -> Iterator[tuple[str, str]]:
    config = each.config
    yield "session", str(each.key)
    yield "state", f"{state_name(each.state)}, the peer says {state_name(each.remote_state)}"
    if each.last_change:
        yield "last change", _change(each.last_change)
    yield (
        "diagnostics",
        f"ours {_words(each.local_diag.name)}, theirs {_words(each.remote_diag.name)}",
    )
    yield "discriminators", f"ours {each.local_discr:#010x}, theirs {each.remote_discr:#010x}"
    timers = _timers(config.desired_min_tx_us, config.required_min_rx_us, config.detect_mult)
    role = "passive" if config.passive else "active"
    enabled = "enabled" if config.enabled else "disabled"
    yield "configured", f"{timers}, TTL from {config.min_ttl}, {role}, {enabled}"
    yield "authentication", _authentication(config.auth, in_use=each.auth_in_use)
    yield (
        "peer announces",
        _timers(each.remote_desired_min_tx_us, each.remote_min_rx_us, each.remote_detect_mult),
    )
    poll = ", poll sequence running" if each.polling else ""
    detection = _ms(each.detection_time_us)
    yield "in use", f"transmit {_ms(each.tx_interval_us)} ms, detection {detection} ms{poll}"
    heard = "never" if each.heard_us_ago is None else f"{_ms(each.heard_us_ago)} ms ago"
    yield "packets", f"{each.rx_packets} received (last {heard}), {each.tx_packets} sent"
    for reason, count in sorted(each.discards.items()):
        yield "dropped", f"{count} ({_words(reason)})"
    for error, count in sorted(each.send_errors.items()):
        yield "not sent", f"{count} ({error})"
    yield "changes", str(each.transitions)
    if each.back_off > 1:
        yield "slowed down", f"{each.back_off} times, because packets were lost"
    if each.holds or each.held_us_left:
        left = f", {each.held_us_left / 1_000_000:.0f} s to go" if each.held_us_left else ""
        yield "held down", f"{each.holds} times{left}"


def _authentication(auth: AuthConfig | None, *, in_use: bool) -> str:
    if auth is None:
        return "none"
    keys = ", ".join(f"key {key.key_id} {key.type.label} ({key.file})" for key in auth.keys)
    text = f"sent with key {auth.send}, accepted: {keys}"
    if auth.transition is None:
        return text
    return f"{text}; {auth.transition}, at present {'in use' if in_use else 'not in use'}"


def _change(change: StateChange) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at))
    states = f"{state_name(change.old)} to {state_name(change.new)}"
    return f"{states} at {when} ({_age(change.at)} ago): {change.reason}"


def _timers(tx_us: int, rx_us: int, multiplier: int) -> str:
    return f"transmit {_ms(tx_us)} ms, receive {_ms(rx_us)} ms, multiplier {multiplier}"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _ms(us: int) -> str:
    return f"{us / 1000:g}"


def _age(at: float) -> str:
    seconds = max(0, int(time.time() - at))
    if seconds < 60:
        return f"{seconds}s"
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if seconds >= unit_s:
            return f"{seconds // unit_s}{unit}{seconds % unit_s // part_s:02d}{part}"
    return f"{seconds // 60}m{seconds % 60:02d}s"
