"""``vegd sessions history``: the last transitions, with their evidence."""

import json
import time
from typing import Annotated, Any

import typer

from bfd.history import Transition
from vegd.cli.engine import AnyPeer, OwnRuntimeDir, ask, asked, peer_text
from vegd.cli.options import AsJson, show, table
from vegd.why import judge_down
from vegd.words import age, duration, moment, state_name

Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, help="Show the newest so many.", show_default=True)
]


def history(
    context: typer.Context,
    peer: AnyPeer = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    runtime_dir: OwnRuntimeDir = None,
) -> None:
    """Show the last transitions of the sessions with a peer, or of all, oldest first.

    Kept are 64 per session (fewer with very many sessions), as long as the engine runs.
    Exit status: 0, also when there is none; 3 no engine answers.
    """
    ours = asked(context, runtime_dir, as_json=as_json)
    transitions = ask(ours.socket, lambda client: client.history(peer))[-limit:]
    if ours.as_json:
        typer.echo(json.dumps([document(each) for each in transitions], indent=2))
        return
    rows = table("WHEN", "AGO", "PEER", "FROM", "TO", "SILENT", "WHY")
    now = time.time()
    for each in transitions:
        silent_us = each.session.silent_us
        rows.add_row(
            moment(each.at, fractions=True),
            age(now - each.at),
            peer_text(each.key),
            state_name(each.old),
            state_name(each.new),
            "-" if silent_us is None else duration(silent_us),
            judge_down(each).verdict if each.ended_up else each.reason,
        )
    show(rows)


def document(transition: Transition) -> dict[str, Any]:
    """A transition as a JSON object, with its judgement if it ended Up."""
    made = transition.to_json()
    if transition.ended_up:
        judgement = judge_down(transition)
        made |= {"cause": judgement.cause.value, "verdict": judgement.verdict}
    return made
