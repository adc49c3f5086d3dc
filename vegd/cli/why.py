"""``vegd why``: what took a session down, or keeps it from coming up, in plain words."""

import json
import time
from collections.abc import Iterator

import typer

from bfd.client import Client
from bfd.fsm import State
from bfd.history import Transition
from bfd.snapshot import EngineSnapshot
from vegd.cli.engine import AnyPeer, ask, exit_by_state, sessions_with
from vegd.cli.options import RUNTIME_DIR, AsJson, RuntimeDir
from vegd.why import Explanation, Judgement, explain
from vegd.words import age, state_name


def why(
    peer: AnyPeer = None, as_json: AsJson = False, runtime_dir: RuntimeDir = RUNTIME_DIR
) -> None:
    """Explain why a session is Down, or was: the verdict first, then the evidence.

    Exit status: 0 all sessions asked about are Up, 1 one is not or there is none, 3 no engine
    answers.
    """
    engine, transitions = ask(runtime_dir / "bfd.sock", lambda client: _look(client, peer))
    sessions = engine.sessions if peer is None else sessions_with(engine, peer)
    explanations = [explain(each, transitions) for each in sessions]
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in explanations], indent=2))
    elif not sessions:
        typer.echo("there are no sessions")
    else:
        typer.echo("\n\n".join("\n".join(_lines(each)) for each in explanations))
    exit_by_state(tuple(sessions))


async def _look(client: Client, peer: str | None) -> tuple[EngineSnapshot, tuple[Transition, ...]]:
    return await client.snapshot(), await client.history(peer)


def _lines(told: Explanation) -> Iterator[str]:
    session = told.session
    since = ""
    if session.last_change is not None:
        since = f" for {age(time.time() - session.last_change.at)}"
    yield f"{session.key}: {state_name(session.state)}{since}"
    if told.now is not None:
        yield from _judged("now: ", told.now)
    if told.down is not None and told.last_down is not None:
        ago = age(time.time() - told.down.at)
        yield from _judged(f"went down {ago} ago: ", told.last_down)
    elif session.state is State.UP:
        yield "  it has not gone down since the engine was started"


def _judged(label: str, judgement: Judgement) -> Iterator[str]:
    yield f"  {label}{judgement.verdict}"
    for text in judgement.advice:
        yield f"    -> {text}"
    for text in judgement.facts:
        yield f"    - {text}"
