"""``vegd sessions``: the BFD sessions, straight from the engine, and all that is about them."""

import json
import time
from collections.abc import Iterator

import typer

from bfd.auth import AuthConfig
from bfd.snapshot import SessionSnapshot, StateChange
from vegd.cli import follow, history, operate
from vegd.cli.engine import (
    Asked,
    OwnRuntimeDir,
    Peer,
    asked,
    exit_by_state,
    sessions_with,
    snapshot,
)
from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir, show, table
from vegd.words import age, moment, ms, override_text, plain, state_name

app = typer.Typer(invoke_without_command=True)
app.command("history")(history.history)
app.command("watch")(follow.watch)
app.command("events")(follow.events)
app.command("admin-down")(operate.admin_down)
app.command("admin-up")(operate.admin_up)
app.command("set")(operate.set_values)
app.command("unset")(operate.unset_values)
app.add_typer(operate.clear, name="clear")


@app.callback()
def sessions(
    context: typer.Context, runtime_dir: RuntimeDir = RUNTIME_DIR, as_json: AsJson = False
) -> None:
    """List the BFD sessions, or look at and change one of them.

    Exit status: 0 all are Up, 1 one is not or there is none, 3 no engine answers.
    """
    context.obj = Asked(runtime_dir, as_json)
    if context.invoked_subcommand is not None:
        return
    engine = snapshot(context.obj.socket)
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in engine.sessions], indent=2))
    else:
        show(follow.overview(engine))
    exit_by_state(engine.sessions)


@app.command("show")
def show_session(
    context: typer.Context,
    peer: Peer,
    as_json: AsJson = False,
    runtime_dir: OwnRuntimeDir = None,
) -> None:
    """Show everything about the sessions with one peer."""
    ours = asked(context, runtime_dir, as_json=as_json)
    found = sessions_with(snapshot(ours.socket), peer)
    if ours.as_json:
        typer.echo(json.dumps([each.to_json() for each in found], indent=2))
    else:
        for each in found:
            rows = table("", "")
            rows.show_header = False
            for label, text in _details(each):
                rows.add_row(label, text)
            show(rows)
    exit_by_state(found)


def _details(each: SessionSnapshot) -> Iterator[tuple[str, str]]:
    config = each.config
    yield "session", str(each.key)
    yield "state", f"{state_name(each.state)}, the peer says {state_name(each.remote_state)}"
    if each.last_change:
        yield "last change", _change(each.last_change)
    yield (
        "diagnostics",
        f"ours {plain(each.local_diag.name)}, theirs {plain(each.remote_diag.name)}",
    )
    yield "discriminators", f"ours {each.local_discr:#010x}, theirs {each.remote_discr:#010x}"
    timers = _timers(config.desired_min_tx_us, config.required_min_rx_us, config.detect_mult)
    role = "passive" if config.passive else "active"
    if config.unsolicited:
        role = "unsolicited"
    enabled = "enabled" if config.enabled else "disabled"
    yield "configured", f"{timers}, TTL from {config.min_ttl}, {role}, {enabled}"
    yield "authentication", _authentication(config.auth, in_use=each.auth_in_use)
    if not each.override.is_empty:
        yield "override", override_text(each.override)
    yield (
        "peer announces",
        _timers(each.remote_desired_min_tx_us, each.remote_min_rx_us, each.remote_detect_mult),
    )
    poll = ", poll sequence running" if each.polling else ""
    detection = ms(each.detection_time_us)
    yield "in use", f"transmit {ms(each.tx_interval_us)} ms, detection {detection} ms{poll}"
    heard = "never" if each.heard_us_ago is None else f"{ms(each.heard_us_ago)} ms ago"
    yield "packets", f"{each.rx_packets} received (last {heard}), {each.tx_packets} sent"
    for reason, count in sorted(each.discards.items()):
        yield "dropped", f"{count} ({plain(reason)})"
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
    when = moment(change.at)
    states = f"{state_name(change.old)} to {state_name(change.new)}"
    return f"{states} at {when} ({age(time.time() - change.at)} ago): {change.reason}"


def _timers(tx_us: int, rx_us: int, multiplier: int) -> str:
    return f"transmit {ms(tx_us)} ms, receive {ms(rx_us)} ms, multiplier {multiplier}"
