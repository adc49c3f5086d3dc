"""The control socket in the file system: made, and taken over from an engine that is gone."""

import errno
import os
import socket
import stat
from pathlib import Path


class ControlSocketError(Exception):
    """The control socket cannot be opened; the message says why."""


def listen(path: Path) -> socket.socket:
    """A Unix socket with this name and mode 0600. Raises OSError, and ControlSocketError where
    another engine listens there, or the name is that of something else."""
    _make_room(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen()
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _make_room(path: Path) -> None:
    """Remove the socket of an engine that is gone; refuse if one answers, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlSocketError(f"control socket {path}: something else has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError as exc:
            if exc.errno == errno.ECONNREFUSED:
                path.unlink()
                return
    raise ControlSocketError(f"another BFD engine is using {path}; stop it first")
