"""What the commands about BFD sessions share: asking the engine, and naming a peer.

A group's options may stand before or after the subcommand: ``vegd sessions --json show PEER`` and
``vegd sessions show PEER --json`` are the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer

from bfd.client import Client, ControlError
from bfd.config import SessionKey
from bfd.fsm import State
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from vegd.cli.options import RUNTIME_DIR
from vegd.errors import Unreachable, VegdError

T = TypeVar("T")

_COMPLETE_WITHIN_S = 0.5


class Asked(NamedTuple):
    """What the user asked of a command, options of its group included."""

    runtime_dir: Path
    as_json: bool

    @property
    def socket(self) -> Path:
        """The engine's control socket."""
        return self.runtime_dir / "bfd.sock"


def asked(context: typer.Context, runtime_dir: Path | None, *, as_json: bool = False) -> Asked:
    """The options of a subcommand over those of its group."""
    group: Asked = context.obj
    return Asked(runtime_dir or group.runtime_dir, as_json or group.as_json)


def away(socket: Path, exc: BaseException) -> Unreachable:
    """The error for an engine that does not answer."""
    return Unreachable(
        f"no BFD engine answers at {socket} ({str(exc) or 'no answer in time'}); is it running, "
        "and is --runtime-dir the one it was started with?"
    )


def ask(socket: Path, question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask the engine. Raises Unreachable, and VegdError when it refuses."""

    async def connect_and_ask() -> T:
        client = Client(socket)
        try:
            await client.connect()
        except ControlError as exc:
            raise away(socket, exc) from exc
        async with client:
            return await question(client)

    try:
        return asyncio.run(connect_and_ask())
    except OSError as exc:
        raise away(socket, exc) from exc
    except ControlError as exc:
        raise VegdError(f"the BFD engine refuses: {exc}") from exc


def snapshot(socket: Path) -> EngineSnapshot:
    """The engine and its sessions."""
    return ask(socket, lambda client: client.snapshot())


def sessions_with(engine: EngineSnapshot, peer: str) -> tuple[SessionSnapshot, ...]:
    """The sessions with a peer. Raises VegdError when there is none."""
    found = tuple(each for each in engine.sessions if each.key.peer == peer)
    if not found:
        raise no_session(peer)
    return found


def no_session(peer: str) -> VegdError:
    """The error for a peer that is unknown."""
    return VegdError(f"there is no session with {peer}; 'vegd sessions' lists them all")


def exit_by_state(sessions: tuple[SessionSnapshot, ...]) -> None:
    """End with status 0 when there are sessions and all are Up, else 1."""
    all_up = sessions and all(each.state is State.UP for each in sessions)
    raise typer.Exit(0 if all_up else 1)


def peer_text(key: SessionKey) -> str:
    """The peer of a session as the tables show it."""
    zone = f"%{key.interface}" if key.interface else ""
    return f"{key.peer}{zone}" + (" multihop" if key.multihop else "")


def _peer(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not an IP address") from exc


def _complete_peer(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Peers of the running engine, for the shell; quick, and silent when there is none."""

    async def peers() -> list[SessionSnapshot]:
        async with asyncio.timeout(_COMPLETE_WITHIN_S), Client(_socket(context)) as client:
            return list((await client.snapshot()).sessions)

    with contextlib.suppress(Exception):
        seen: dict[str, str] = {}
        for session in asyncio.run(peers()):
            seen.setdefault(session.key.peer, f"{session.state.name}, from {session.key.local}")
        yield from ((peer, text) for peer, text in seen.items() if peer.startswith(incomplete))


def _socket(context: typer.Context) -> Path:
    """Where the engine listens, by the command line as far as it has been typed."""
    each: typer.Context | None = context
    while each is not None:
        if each.params.get("runtime_dir"):
            return Path(each.params["runtime_dir"]) / "bfd.sock"
        each = each.parent  # type: ignore[assignment]  # click's own class above the first
    return RUNTIME_DIR / "bfd.sock"


Peer = Annotated[
    str,
    typer.Argument(
        metavar="PEER", help="Address of the peer.", parser=_peer, autocompletion=_complete_peer
    ),
]
AnyPeer = Annotated[
    str | None,
    typer.Argument(
        metavar="[PEER]",
        help="Address of the peer; all without it.",
        parser=_peer,
        autocompletion=_complete_peer,
    ),
]
OwnRuntimeDir = Annotated[
    Path | None,
    typer.Option(
        "--runtime-dir",
        help="Directory of the control sockets.",
        show_default=False,
    ),
]
