"""What a successor of the engine must know, as text: on disk after a crash, else by `bfd.handover`.

A head, one line per session, and a last line with a digest of all before it. Whoever reads it
trusts nothing: what was cut off, was written by another version, on another boot, in another
network namespace or with another discriminator key, or belongs to somebody else is refused as a
whole, with the reason.

Times are those of the monotonic clock, which is the same for all processes of one boot. That is
also why nobody waits for the disk when a journal is written: after a loss of power it would be
refused anyway.
"""

import json
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bfd.config import SessionKey
from bfd.engine import Remembered
from bfd.memory import Memory
from bfd.override import Override
from bfd.snapshot import config_from_json, config_to_json, key_from_json
from bfd.unsolicited import Invitation

FORMAT = "vegd BFD journal"
VERSION = 1
_LONGEST_BYTES = 64 << 20
_SO_NETNS_COOKIE = 71
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class JournalRefused(Exception):
    """A journal that is there and cannot be trusted; the message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a journal is good: outside of it neither its times nor its addresses mean anything."""

    boot: str
    netns: str
    key: str
    """Fingerprint of the discriminator key."""

    @classmethod
    def here(cls, key: bytes) -> "Identity":
        """Of this process."""
        return cls(
            boot=_BOOT_ID.read_text().strip() + _namespace("time"),
            netns=_namespace("net") + _netns_cookie(),
            key=blake2b(b"vegd journal", digest_size=8, key=key).hexdigest(),
        )


def _namespace(kind: str) -> str:
    try:
        status = Path(f"/proc/self/ns/{kind}").stat()
    except FileNotFoundError:  # time namespaces came with Linux 5.6
        return ""
    return f" {kind}:{status.st_dev:x}:{status.st_ino}"


def _netns_cookie() -> str:
    # The number of the file above is given to another namespace when this one has gone, the
    # cookie (Linux 5.14) never is.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            return " " + any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8).hex()
        except OSError:
            return ""


_OTHERS = {
    "boot": "it is of another boot of this machine",
    "netns": "it is of another network namespace",
    "key": "it was written with another discriminator key",
}


@dataclass(frozen=True, slots=True)
class Head:
    """What a journal says about the engine as a whole."""

    generation: int
    agent_left_us: int | None
    """When the last agent hung up; None while one was there."""
    marks: int
    """The name of the marks (`bfd.marks`) that go with it."""
    overrides: Mapping[SessionKey, Override]
    invitations: tuple[Invitation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "generation": self.generation,
            "agent_left_us": self.agent_left_us,
            "marks": self.marks,
            "overrides": [[k._asdict(), o.to_json()] for k, o in self.overrides.items()],
            "invitations": [each.to_json() for each in self.invitations],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Head":
        """Read back what `to_json` made. Raises KeyError, TypeError or ValueError."""
        return cls(
            document["generation"],
            document["agent_left_us"],
            document["marks"],
            {key_from_json(k): Override.from_json(o) for k, o in document["overrides"]},
            tuple(map(Invitation.from_json, document["invitations"])),
        )


@dataclass(frozen=True, slots=True)
class Journal:
    """The contents of a journal. `port` is where a session sent from, 0 if it never sent."""

    head: Head
    sessions: tuple[tuple[Remembered, int], ...]


def session_line(remembered: Remembered, port: int) -> bytes:
    """The line of one session."""
    return _line(
        {
            "config": config_to_json(remembered.config),
            "discr": remembered.discr,
            "port": port,
            "memory": remembered.memory.to_json(),
        }
    )


def head_line(identity: Identity, head: Head) -> bytes:
    """The first line."""
    return _line({"format": FORMAT, "version": VERSION} | asdict(identity) | head.to_json())


def compose(first: bytes, lines: Iterable[bytes]) -> bytes:
    """The whole, from its lines."""
    text = first + b"".join(lines)
    return text + _digest(text)


def parse(text: bytes, identity: Identity) -> Journal:
    """Read what `compose` made. Raises JournalRefused."""
    body, _, last = text.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    if not text or last + b"\n" != _digest(body):
        raise JournalRefused("it is damaged: its end is missing or its digest does not fit")
    try:
        first, *lines = body.splitlines()
        head = json.loads(first)
        if (head["format"], head["version"]) != (FORMAT, VERSION):
            raise JournalRefused(f"it has version {head['version']}, this engine reads {VERSION}")
        for name, why in _OTHERS.items():
            if head[name] != getattr(identity, name):
                raise JournalRefused(why)
        sessions = tuple(_session(json.loads(line)) for line in lines)
        _check_distinct([remembered for remembered, _ in sessions])
        return Journal(Head.from_json(head), sessions)
    except (KeyError, TypeError, ValueError) as exc:
        raise JournalRefused(f"it is not understood: {type(exc).__name__}: {exc}") from exc


def load(path: Path, identity: Identity) -> Journal | None:
    """The journal in a file; None if there is none. Raises JournalRefused."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise JournalRefused(f"it cannot be opened: {exc.strerror}") from exc
    with os.fdopen(file, "rb") as reader:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise JournalRefused("it is not a plain file")
        if status.st_uid != os.geteuid():
            raise JournalRefused(f"it belongs to user {status.st_uid}")
        if status.st_mode & 0o022:
            raise JournalRefused("others may write to it")
        try:
            text = reader.read(_LONGEST_BYTES)
        except OSError as exc:
            raise JournalRefused(f"it cannot be read: {exc.strerror}") from exc
    return parse(text, identity)


def _session(document: dict[str, Any]) -> tuple[Remembered, int]:
    return (
        Remembered(
            config_from_json(document["config"]),
            document["discr"],
            Memory.from_json(document["memory"]),
        ),
        document["port"],
    )


def _check_distinct(sessions: list[Remembered]) -> None:
    discrs = {each.discr for each in sessions}
    if len({each.config.key for each in sessions}) < len(sessions) or len(discrs) < len(sessions):
        raise ValueError("a session or a discriminator is there twice")
    if not all(type(each) is int and 0 < each < 1 << 32 for each in discrs):
        raise ValueError("a discriminator is no 32-bit number above 0")


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).hexdigest().encode() + b"\n"
