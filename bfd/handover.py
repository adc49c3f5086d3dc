"""A running engine hands over to a successor, one of a newer version perhaps, between two packets.

The old engine starts the new one and goes on as if nothing were. The new one loads its program and
the history, takes its scheduling class and says that it is ready. Only then the old one stops,
and gives away in one message what cannot be there twice: the receiving sockets with whatever has
arrived in them, the control socket, and the sessions as a journal (`bfd.journal`). The new one says
when it has them all. One that fails before, ends or takes too long is killed, and the old one goes
on: it has lost nothing but that time.

Messages have a length before them and go over a pair of Unix sockets.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bfd.history import Transition
from bfd.receiver import Receiver

_READY, _RUNNING = b"ready", b"running"
_START_S = 30.0
_TAKE_S = 2.0
_LENGTH = struct.Struct("!Q")
_MOST_SOCKETS = 16


class HandoverError(Exception):
    """There is no handover; the message says why. The engine of before goes on."""


class Parcel(NamedTuple):
    """What is handed over."""

    journal: bytes
    transitions: tuple[Transition, ...]
    """Those that came after the history was sent."""
    control: socket.socket
    receivers: tuple[Receiver, ...]


class Successor:
    """The new engine, as the old one sees it. Its methods block."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket) -> None:
        self._process = process
        self._channel = channel

    @classmethod
    def start(cls, command: Sequence[str], history: Iterable[Transition]) -> "Successor":
        """Start it, and return when it is ready; `command` is completed. Raises HandoverError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    [*command, "--successor-of", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError as exc:
                ours.close()
                raise HandoverError(f"{command[0]}: {exc.strerror}") from exc
        successor = cls(process, ours)
        with successor._alive_within(_START_S):
            _send(ours, _lines(history))
            successor._expect(_READY)
        return successor

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def give(self, parcel: Parcel) -> None:
        """Hand over, and return when it has everything. Raises HandoverError."""
        sockets = [parcel.control, *(each.sock for each in parcel.receivers)]
        with self._alive_within(_TAKE_S):
            heads = [each.to_json() for each in parcel.receivers]
            _send(self._channel, json.dumps(heads).encode(), sockets)
            _send(self._channel, parcel.journal)
            _send(self._channel, _lines(parcel.transitions))
            self._expect(_RUNNING)
        self._channel.close()

    def kill(self) -> None:
        """End it. When this returns it has no socket of ours any more."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def _alive_within(self, seconds: float) -> Iterator[None]:
        """What it is told and asked inside; whatever goes wrong, it is ended."""
        self._channel.settimeout(seconds)
        try:
            yield
        except TimeoutError as exc:
            self.kill()
            raise HandoverError("the new engine takes too long and was ended") from exc
        except OSError as exc:
            self.kill()
            raise HandoverError("the new engine has ended; the log says why") from exc
        except BaseException:
            self.kill()
            raise

    def _expect(self, word: bytes) -> None:
        answer, _ = _receive(self._channel)
        if answer != word:
            raise HandoverError(f"the new engine says {answer!r} instead of {word!r}")


def run(argv: Sequence[str], default_dir: Path) -> int:
    """``vegd bfd handover``: ask a running engine for it; the exit status."""
    from bfd.client import Client, ControlError  # noqa: PLC0415 - the engine itself never asks

    parser = argparse.ArgumentParser(
        prog="vegd bfd handover",
        description="Exchange the running BFD engine for what is installed now, between two "
        "packets: no session goes down. If the new one does not start, the running one goes on.",
    )
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=default_dir,
        metavar="DIR",
        help="directory of bfd.sock (default: %(default)s)",
    )
    path = parser.parse_args(argv).runtime_dir / "bfd.sock"

    async def ask() -> tuple[int, int]:
        async with Client(path) as client:
            return client.pid, await client.hand_over()

    try:
        before, after = asyncio.run(ask())
    except OSError as exc:
        sys.stderr.write(
            f"vegd bfd handover: no BFD engine answers at {path} ({exc}); is it running, and is "
            "--runtime-dir the one it was started with?\n"
        )
        return 3
    except ControlError as exc:
        sys.stderr.write(f"vegd bfd handover: {exc}\n")
        return 1
    sys.stdout.write(f"the BFD engine, process {before}, has handed over to process {after}\n")
    return 0


class Predecessor:
    """The old engine, as the new one sees it: the other end of the pair, a file descriptor.

    Its methods block and raise HandoverError.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            self._channel = socket.socket(fileno=descriptor)
        except OSError as exc:
            raise HandoverError("--successor-of is for the engine itself, not for people") from exc

    def history(self) -> list[Transition]:
        """What happened so far; to be asked first."""
        return _transitions(self._receive()[0])

    def take(self) -> Parcel:
        """Say that we are ready, and wait for everything."""
        self._send(_READY)
        heads, (control, *received) = self._receive()
        receivers = tuple(
            Receiver.from_json(document, sock)
            for document, sock in zip(json.loads(heads), received, strict=True)
        )
        journal = self._receive()[0]
        return Parcel(journal, tuple(_transitions(self._receive()[0])), control, receivers)

    def confirm(self) -> None:
        """Say that we have everything: the old engine is free to go."""
        self._send(_RUNNING)
        self._channel.close()

    def _send(self, word: bytes) -> None:
        try:
            _send(self._channel, word)
        except OSError as exc:
            raise HandoverError("the engine that started this one has gone") from exc

    def _receive(self) -> tuple[bytes, list[socket.socket]]:
        try:
            return _receive(self._channel)
        except OSError as exc:
            raise HandoverError("the engine that started this one has gone") from exc


def _send(channel: socket.socket, data: bytes, sockets: Sequence[socket.socket] = ()) -> None:
    socket.send_fds(channel, [_LENGTH.pack(len(data))], [each.fileno() for each in sockets])
    channel.sendall(data)


def _receive(channel: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """A message and the sockets that came with it. Raises OSError, also at the end of all."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, _MOST_SOCKETS)
    sockets = [socket.socket(fileno=each) for each in descriptors]
    head += _exactly(channel, _LENGTH.size - len(head))
    (length,) = _LENGTH.unpack(head)
    return _exactly(channel, length), sockets


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 1 << 20))
        if not part:
            raise ConnectionResetError
        data += part
    return bytes(data)


def _lines(transitions: Iterable[Transition]) -> bytes:
    return b"\n".join(json.dumps(each.to_json()).encode() for each in transitions)


def _transitions(lines: bytes) -> list[Transition]:
    return [Transition.from_json(json.loads(line)) for line in lines.splitlines()]
