"""Key files: the secrets of authentication, read by the engine itself and shown to nobody.

Configurations name files; here the secrets come in. A file holds one key, as plain text or as
hexadecimal digits after ``0x``; the end of the line is not part of it. Files are read whenever a
set is committed, and looked at every second, so that a changed file (or a mounted Secret) is taken
without being told. A session whose files cannot be used keeps the keys that it has, and the fault
is told by field, value and remedy; only a session that never had keys has to wait.
"""

import logging
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from bfd.auth import AuthConfig, AuthType
from bfd.config import SessionConfig, SessionKey

log = logging.getLogger(__name__)

_MOST_BYTES = 4096
_MOST_FAULTS = 16
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_OTHERS = stat.S_IROTH | stat.S_IWOTH


class KeyFileError(ValueError):
    """A key file cannot be used; the message has problem and remedy, and nothing of the key."""


def read_secret(path: str, kind: AuthType) -> bytes:
    """The key in a file. Raises KeyFileError."""
    content = _content(path)
    if content.lower().startswith(b"0x"):
        if _HEXADECIMAL.fullmatch(content, 2) is None:
            raise KeyFileError(
                "begins with 0x, but pairs of hexadecimal digits do not follow; correct them "
                "(a text that begins with 0x has to be written in hexadecimal, too)"
            )
        secret = bytes.fromhex(content[2:].decode())
    elif not (content.isascii() and content.decode().isprintable()):
        raise KeyFileError(
            "holds more than one line of plain text; write other bytes as hexadecimal digits "
            "after 0x"
        )
    else:
        secret = content
    if not secret:
        raise KeyFileError("is empty; write the key into it")
    if len(secret) > kind.longest_secret:
        raise KeyFileError(
            f"holds {len(secret)} bytes, and a {kind.label} key has at most "
            f"{kind.longest_secret}; write a shorter one"
        )
    return secret


def _content(path: str) -> bytes:
    try:
        # Without waiting for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeyFileError("is not a file; name one that holds a key")
            if mode & _OTHERS:
                raise KeyFileError(
                    f"is open to everybody (mode {stat.S_IMODE(mode):04o}); "
                    "close it with chmod o-rw, or defaultMode: 0440 for a mounted Secret"
                )
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:
        if isinstance(exc, KeyFileError):
            raise
        reason = exc.strerror if isinstance(exc, OSError) else "there can be no such file"
        raise KeyFileError(
            f"cannot be read: {reason}; the user that the BFD engine runs as must be able to"
        ) from exc
    if len(content) > _MOST_BYTES:
        raise KeyFileError(f"is larger than {_MOST_BYTES} bytes; name a file that holds one key")
    return content.removesuffix(b"\n").removesuffix(b"\r")


def with_secrets(auth: AuthConfig) -> AuthConfig:
    """The same keys, each with what its file holds. Raises KeyFileError, naming the field."""
    keys = []
    for index, key in enumerate(auth.keys):
        try:
            keys.append(replace(key, secret=read_secret(key.file, key.type)))
        except KeyFileError as exc:
            raise KeyFileError(f"auth.keys[{index}].file: {key.file!r} {exc}") from exc
    return replace(auth, keys=tuple(keys))


class KeyFiles:
    """The key files of a session set. Its methods touch files: call them in a thread."""

    def __init__(self) -> None:
        self.faults: tuple[str, ...] = ()
        """Which files cannot be used, and why."""
        self._taken: object = None
        self._seen: object = None

    def load(
        self, wanted: Iterable[SessionConfig], in_force: Mapping[SessionKey, SessionConfig]
    ) -> list[SessionConfig]:
        """The wanted sessions with their secrets.

        Where a file cannot be used, the session goes on as `in_force` has it, and is only enabled
        or disabled as wanted; one that is not in force is left out.
        """
        loaded = []
        faulty: dict[str, list[SessionKey]] = {}
        for config in wanted:
            if config.auth is None:
                loaded.append(config)
                continue
            try:
                loaded.append(replace(config, auth=with_secrets(config.auth)))
            except KeyFileError as exc:
                faulty.setdefault(str(exc), []).append(config.key)
                if (before := in_force.get(config.key)) is not None:
                    loaded.append(_instead(config, before))
        self._tell(tuple(_fault(*each) for each in faulty.items())[:_MOST_FAULTS])
        return loaded

    def have_changed(self, configs: Collection[SessionConfig]) -> bool:
        """Whether a file looks different from when this was last true.

        That has to be seen twice, because a file that is being written would be read half.
        """
        names = {key.file for config in configs if config.auth for key in config.auth.keys}
        looks = {name: _look(name) for name in names}
        changed = looks == self._seen and looks != self._taken
        self._seen = looks
        if changed:
            self._taken = looks
        return changed

    def _tell(self, faults: tuple[str, ...]) -> None:
        for fault in faults:
            if fault not in self.faults:
                log.error("%s", fault)
        if self.faults and not faults:
            log.info("all key files can be used again")
        self.faults = faults


def _instead(config: SessionConfig, before: SessionConfig) -> SessionConfig:
    if config.auth is not None and before.auth is not None:
        described = replace(
            before.auth, keys=tuple(replace(key, secret=b"") for key in before.auth.keys)
        )
        if described == config.auth:
            # The same keys, which are known, though their files have gone bad.
            return replace(config, auth=before.auth)
    return replace(before, enabled=config.enabled, disabled_diag=config.disabled_diag)


def _fault(problem: str, keys: list[SessionKey]) -> str:
    others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"session {keys[0]}{others}: {problem}"


def _look(path: str) -> tuple[int, ...]:
    """What changes when a file does, or is replaced, or goes; symlinks are followed."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - a Path for each look would cost more than the look
    except (OSError, ValueError):
        return ()
    return (
        seen.st_dev,
        seen.st_ino,
        seen.st_size,
        seen.st_mode,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
    )
