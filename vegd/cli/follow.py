"""``vegd sessions watch`` and ``events``: what happens, while it happens."""

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bfd.client import Client, ControlError, Event, Joined, Lost
from bfd.history import Transition
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from vegd.cli.engine import OwnRuntimeDir, asked, away, peer_text
from vegd.cli.history import document
from vegd.cli.options import AsJson, table
from vegd.words import age, count, ms, override_text, state_name

_AGAIN_S = 1.0

Interval = Annotated[
    float,
    typer.Option("--interval", min=0.1, metavar="S", help="Seconds between looks."),
]


def overview(engine: EngineSnapshot) -> Table:
    """The table of all sessions."""
    rows = table("LOCAL", "PEER", "STATE", "REMOTE", "FOR", "TX ms", "DETECT ms", "CHANGES", "WHY")
    for each in engine.sessions:
        rows.add_row(*_row(each))
    return rows


def _row(each: SessionSnapshot) -> tuple[str, ...]:
    change = each.last_change
    why = change.reason if change else "-"
    if each.override.values():
        why += f"; override: {override_text(each.override)}"
    return (
        each.key.local,
        peer_text(each.key),
        state_name(each.state),
        state_name(each.remote_state),
        age(time.time() - change.at) if change else "-",
        ms(each.tx_interval_us),
        ms(each.detection_time_us),
        str(each.transitions),
        why,
    )


# watch ----------------------------------------------------------------------------------------


def watch(
    context: typer.Context,
    interval: Interval = 1.0,
    as_json: AsJson = False,
    runtime_dir: OwnRuntimeDir = None,
) -> None:
    """Show the table of sessions and keep it current; Ctrl-C ends it.

    Only lines that have changed are drawn again, so a slow terminal will do. With --json, or where
    the output is no terminal: one JSON line for each session, and again whenever it changes.
    """
    ours = asked(context, runtime_dir, as_json=as_json)
    if ours.as_json or not sys.stdout.isatty():
        follower = _print_changes(ours.socket)
    else:
        follower = _keep_table(ours.socket, interval)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follower)


async def _print_changes(socket: Path) -> None:
    try:
        async with Client(socket) as client, contextlib.aclosing(client.watch()) as changes:
            async for session in changes:
                _print(session.to_json())
    except (OSError, ControlError) as exc:
        raise away(socket, exc) from exc
    raise away(socket, ConnectionResetError("it has ended"))


async def _keep_table(socket: Path, interval_s: float) -> None:
    client = Client(socket)
    shown: list[str] | None = None
    lines: list[str] = []
    try:
        while True:
            try:
                await client.connect()
                lines = _screen(await client.snapshot())
            except (OSError, ControlError) as exc:
                if shown is None:
                    raise away(socket, exc) from exc
                lines = [f"no BFD engine answers ({exc}); what follows is old", *lines[1:]]
            size = shutil.get_terminal_size()
            wanted = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
            sys.stdout.write(repaint(shown, wanted))
            sys.stdout.flush()
            shown = wanted
            await asyncio.sleep(interval_s)
    finally:
        await client.aclose()


def _screen(engine: EngineSnapshot) -> list[str]:
    up = sum(1 for each in engine.sessions if state_name(each.state) == "Up")
    head = (
        f"{up} of {count(len(engine.sessions), 'session')} Up; engine {engine.pid}, "
        f"{engine.scheduling}, {count(engine.stalls, 'stall')}"
    )
    console = Console(width=400, force_terminal=False, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(overview(engine))
    return [head, *(line.rstrip() for line in capture.get().splitlines())]


def repaint(old: list[str] | None, new: list[str]) -> str:
    """What to send to a terminal that shows `old`, from its top, so that it shows `new`.

    Unchanged lines are not sent again; `old` is None when the terminal shows something else. The
    cursor is left below the last line.
    """
    parts = []
    if old is None:
        parts.append("\x1b[H\x1b[2J")
        old = []
    padding = [""] * (len(old) - len(new))
    for number, line in enumerate([*new, *padding]):
        if number >= len(old) or old[number] != line:
            parts.append(f"\x1b[{number + 1};1H{line}\x1b[K")
    if parts:
        parts.append(f"\x1b[{len(new) + 1};1H")
    return "".join(parts)


# events ---------------------------------------------------------------------------------------


def events(context: typer.Context, runtime_dir: OwnRuntimeDir = None) -> None:
    """Print every transition of every session as a JSON line, while it happens; Ctrl-C ends it.

    First comes a line for each session as it is. When the engine goes away, so says a line, and
    the stream goes on as soon as it can; what was missed meanwhile is fetched, or reported as a
    gap. The field "event" is connected, session, transition, gap or disconnected.
    """
    ours = asked(context, runtime_dir)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(ours.socket))


async def _follow(socket: Path) -> None:
    place: Joined | None = None
    told_away = False
    while True:
        reason = "it has ended"
        try:
            async with contextlib.aclosing(Client(socket).events(place)) as stream:
                async for event in stream:
                    told_away = False
                    _print_all(_event_lines(event, place))
                    place = _place(event, place)
        except (OSError, ControlError) as exc:
            if place is None:
                raise away(socket, exc) from exc
            reason = str(exc) or "no answer in time"
        if not told_away:
            _print({"event": "disconnected", "reason": reason})
            told_away = True
        await asyncio.sleep(_AGAIN_S)


def _place(event: Event, before: Joined | None) -> Joined | None:
    if isinstance(event, Joined):
        return event
    if isinstance(event, Transition) and before is not None:
        return before._replace(seq=event.seq)
    return before


def _event_lines(event: Event, before: Joined | None) -> Iterable[dict[str, Any]]:
    match event:
        case Joined():
            yield {"event": "connected", **event._asdict()}
            if before is not None and not event.resumed:
                yield {"event": "gap", "lost": None, "reason": "this is another engine"}
        case Lost(transitions):
            yield {"event": "gap", "lost": transitions, "reason": "not kept any more"}
        case Transition():
            yield {"event": "transition", **document(event)}
        case SessionSnapshot():
            yield {"event": "session", **event.to_json()}


def _print_all(lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        _print(line)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
